"""Kafka records to deliveries: what each asset said, judged, with its place in the log. Pure."""

from msgspec import Struct

from cloud.twin import Position
from wire import batches, codec, frames, records, topics
from wire.frames import Reading
from wire.malformed import Malformed, Reason
from wire.messages import AnyEvent, Batch, ConnectionState, Replay, shaped
from wire.records import DeadLetter
from wire.topics import CHANNEL_OF, Channel, Kind

Content = Reading | AnyEvent | ConnectionState | Malformed


class Record(Struct, frozen=True, gc=False):
    """A Kafka record. `generation` is the id of its topic."""

    topic: str
    generation: str
    partition: int
    offset: int
    key: bytes
    value: bytes | None
    timestamp_ms: int

    @property
    def place(self) -> str:
        """Where the record lies, for people and as an id."""
        return f"{self.topic}/{self.partition}/{self.offset}"


class Item(Struct, frozen=True, gc=False):
    """One message of a device. `gapless`: the device counted it itself, from 0."""

    session: str
    seq: int
    gapless: bool
    received_ms: int
    content: Content


class Delivery(Struct, frozen=True, gc=False):
    """What one record says about one asset. `replay`: from the dead letters, see `Batch`."""

    asset_id: str
    kind: Kind
    topic: str
    channel: Channel
    position: Position
    gateway: str
    items: list[Item]
    record: Record
    replay: Replay | None = None


class Opened(Struct, frozen=True, gc=False):
    """A record as far as it could be read."""

    delivery: Delivery | None
    dead_letters: list[DeadLetter]


def open_record(record: Record) -> Opened:
    """Read a record of a `fleet.*` topic: a delivery, and a dead letter for each part that cannot be used."""
    batch = batches.decode(record.value or b"")
    if not isinstance(batch, Malformed):
        batch = _consistent(batch, record)
    if isinstance(batch, Malformed):
        key = record.key.decode("utf-8", "replace")
        return Opened(None, [DeadLetter.of(record.value or b"", batch, record.place, record.timestamp_ms, key)])
    dead_letters: list[DeadLetter] = []
    items: list[Item] = []
    for index in range(len(batch.payloads)):
        item, faults = _item(batch, index)
        items.append(item)
        if faults is not None:
            dead_letters.append(_letter(record, batch, index, faults))
    position = Position(record.generation, record.partition, record.offset)
    delivery = Delivery(
        batch.asset_id, batch.kind, record.topic, batch.channel, position, batch.gateway, items, record, batch.replay
    )  # fmt: skip
    return Opened(delivery, dead_letters)


def _consistent(batch: Batch, record: Record) -> Batch | Malformed:
    if batch.asset_id.encode() != record.key:
        return Malformed(Reason.WRONG_ASSET, f"batch of {batch.asset_id} under key {record.key[:80]!r}")
    if batch.channel != CHANNEL_OF.get(record.topic):
        return Malformed(Reason.WRONG_SHAPE, f"batch of channel {batch.channel} on topic {record.topic}")
    return batch


def letter_of(record: Record, index: int, why: Malformed) -> DeadLetter:
    """The dead letter of one message of a record that could be opened."""
    batch = batches.decode(record.value or b"")
    assert isinstance(batch, Batch), record.place
    return _letter(record, batch, index, why)


def _letter(record: Record, batch: Batch, index: int, why: Malformed) -> DeadLetter:
    origin = f"{record.place}/{index}"
    letter = DeadLetter.of(batch.payloads[index], why, origin, batch.received_ms[index], batch.asset_id)
    topic = topics.mqtt_topic(batch.kind, batch.asset_id, batch.channel)
    sequence = batch.first_sequence + batch.sequence_offsets[index]
    return letter._replace(source=records.source(topic, batch.gateway, batch.epoch, sequence))


def _item(batch: Batch, index: int) -> tuple[Item, Malformed | None]:
    received_ms = batch.received_ms[index]
    content, session, seq = _content(batch, batch.payloads[index], received_ms)
    gapless = session is not None and seq is not None
    if session is None or seq is None:
        session = f"@{batch.gateway}/{batch.epoch}"
        if isinstance(content, Reading) and content.urgent:
            session += "/urgent"  # their spool numbers rise among themselves, not with the others'
        seq = batch.first_sequence + batch.sequence_offsets[index]
    return Item(session, seq, gapless, received_ms, content), _faults(content)


def _content(batch: Batch, payload: bytes, received_ms: int) -> tuple[Content, str | None, int | None]:
    if batch.channel is Channel.SIGNALS:
        reading = frames.open_payload(payload, received_ms, batch.kind)
        return (reading, None, None) if isinstance(reading, Malformed) else (reading, reading.session, reading.seq)
    if batch.channel is Channel.EVENTS:
        event: AnyEvent | Malformed = shaped(codec.decode(payload), AnyEvent)  # type: ignore[arg-type]  # a union is no class
        return (event, None, None) if isinstance(event, Malformed) else (event, event.session, event.seq)
    return shaped(codec.decode(payload), ConnectionState), None, None


def _faults(content: Content) -> Malformed | None:
    if isinstance(content, Reading) and content.rejected:
        return Malformed(Reason.REJECTED_SAMPLES, "; ".join(f"{why.reason}: {why.detail}" for why in content.rejected))
    return content if isinstance(content, Malformed) else None
