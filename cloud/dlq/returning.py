"""How a dead letter goes back to where it came from. Pure.

The device's bytes are never changed. One device's message becomes a batch of one again, under the names that its
gateway gave it; a batch as a whole gets only the mark that it is a replay; any other record goes back as it was.
See `wire.messages.Batch` for what `replay` makes of sequences that were judged before.
"""

from typing import Final, NamedTuple

import msgspec

from cloud.dlq.letters import Buried
from wire import batches, codec, records, topics
from wire.malformed import Malformed, Reason
from wire.messages import Batch
from wire.records import DeadLetter, Headers
from wire.topics import Address

_SOURCE: Final = "/fleetfold/dlq"
_COUNTED: Final = frozenset({Reason.REJECTED_SAMPLES, Reason.REFUSED_BY_DATABASE})
"""Of one message: its twin has counted it, but not everything that it says could be kept."""


class Return(NamedTuple):
    """A record to write: the letter's way back."""

    topic: str
    key: bytes
    value: bytes
    headers: Headers


class Stuck(NamedTuple):
    """A letter that has no way back."""

    why: str


def way_back(buried: Buried) -> Return | Stuck:
    """The record that brings the message to be processed again."""
    letter = buried.letter
    if buried.tells_of_a_loss:
        return Stuck("it holds no message: it says which ones were lost")
    if letter.size > len(letter.value):
        return Stuck(f"only {len(letter.value)} of its {letter.size} bytes were kept")
    source = letter.source or (letter.origin if letter.origin.startswith("mqtt:") else "")
    return _message(buried, source) if source else _record(buried)


def _message(buried: Buried, source: str) -> Return | Stuck:
    """A batch of one, as its gateway would have sent it."""
    letter = buried.letter
    topic, _, place = source.removeprefix("mqtt:").partition("#")
    address = topics.parse_mqtt_topic(topic)
    if isinstance(address, Malformed):
        return Stuck(f"it was published where no asset publishes: {address.detail}")
    gateway, _, rest = place.partition("/")
    epoch, _, sequence = rest.rpartition("/")
    if not (gateway and epoch and sequence.isascii() and sequence.isdigit() and len(sequence) < 17):
        return Stuck(f"its place in a spool cannot be read: {place[:80]!r}")
    raw = batches.encode(_batch_of_one(address, gateway, epoch, int(sequence), letter))
    batch = batches.decode(raw)
    if isinstance(batch, Malformed):
        return Stuck(f"it does not fit a batch: {batch.detail}")
    return _returned(buried, topics.KAFKA_TOPIC_OF[address.channel], address.asset_id.encode(), raw, batch)


def _batch_of_one(address: Address, gateway: str, epoch: str, sequence: int, letter: DeadLetter) -> Batch:
    return Batch(
        v=1,
        kind=address.kind,
        asset_id=address.asset_id,
        channel=address.channel,
        gateway=gateway,
        epoch=epoch,
        first_sequence=sequence,
        sequence_offsets=[0],
        received_ms=[letter.time_ms],
        payloads=[letter.value],
        replay="values" if letter.reason in _COUNTED else "messages",
    )


def _record(buried: Buried) -> Return | Stuck:
    """A whole record. Its bytes stay as they are, but a batch that can be read says that it comes back."""
    letter = buried.letter
    topic = letter.origin.split("/", 1)[0]
    if topics.dead_letter_topic(topic) != buried.topic:
        return Stuck(f"its origin names no record of a topic: {letter.origin[:80]!r}")
    key, value = letter.asset_id.encode(), letter.value
    batch = batches.decode(value) if topic in topics.CHANNEL_OF else None
    if not isinstance(batch, Batch):
        return _returned(buried, topic, key, value, None)
    marked = batch if batch.replay else msgspec.structs.replace(batch, replay="messages")
    return _returned(buried, topic, key, batches.encode(marked), marked)


def _returned(buried: Buried, topic: str, key: bytes, value: bytes, batch: Batch | None) -> Return:
    kind = f"{batch.channel}.batch.v1" if batch is not None else "replay.v1"
    headers = records.cloud_event(
        type_=kind,
        id_=buried.place,
        source=_SOURCE,
        subject=buried.letter.asset_id,
        time_ms=buried.letter.time_ms,
        content_type=batches.CONTENT_TYPE if batch is not None else codec.CONTENT_TYPE_JSON,
    )
    return Return(topic, key, value, headers)
