"""What the spool stores, and the bytes of one record.

A block's body (see `files`) is its records, one after the other, little-endian:

    message   u8 tag 1 · i64 received ms · u8 kind · u8 channel · u8 length of asset id · u32 length of payload
              · asset id (ASCII) · payload as the device sent it
    urgent    u8 tag 4 · the rest as of a message: one that outlives the others of its channel
    refused   u8 tag 2 · u32 length · msgpack list of the fields of `Refused`
    gap       u8 tag 3 · u32 length · msgpack list of the fields of `Gap`

Kind and channel are numbers of `_KINDS` and `_CHANNELS`; these never change meaning.
"""

import struct
from collections.abc import Iterable
from enum import IntEnum
from typing import Any, Final, NamedTuple

import msgpack

from wire.malformed import Malformed, Reason
from wire.topics import Channel, Kind


class StorageClass(IntEnum):
    """What is kept apart on disk. When space runs out the lowest number goes first."""

    SIGNALS = 0
    EVENTS = 1

    @property
    def label(self) -> str:
        """The name in files, metrics and gap records."""
        return self.name.lower()


class Message(NamedTuple):
    """A device's payload, unread. `urgent`: signals that are kept as long as events are."""

    received_ms: int
    kind: Kind
    asset_id: str
    channel: Channel
    payload: bytes
    urgent: bool = False


class Refused(NamedTuple):
    """A message that is no device's payload: on its way to the dead-letter topic `kafka_topic`.

    `size` is the original's bytes; `payload` may be cut. `origin` is the cut MQTT topic.
    """

    received_ms: int
    kafka_topic: str
    origin: str
    asset_id: str
    reason: Reason
    detail: str
    size: int
    payload: bytes


class Gap(NamedTuple):
    """Records of one class that are gone: `record_count` of those between two sequences, both included.

    `record_count` 0: how many cannot be known.
    """

    received_ms: int
    storage_class: StorageClass
    first_sequence: int
    last_sequence: int
    record_count: int
    reason: Reason
    detail: str


Record = Message | Refused | Gap

_MESSAGE: Final = struct.Struct("<BqBBBI")
_OTHER: Final = struct.Struct("<BI")
_TAG_MESSAGE: Final = 1
_TAG_REFUSED: Final = 2
_TAG_GAP: Final = 3
_TAG_URGENT: Final = 4

_KINDS: Final = (Kind.VEHICLE, Kind.STATION)
_CHANNELS: Final = (Channel.SIGNALS, Channel.EVENTS, Channel.CONNECTION)
_KIND_NUMBER: Final = {kind: number for number, kind in enumerate(_KINDS)}
_CHANNEL_NUMBER: Final = {channel: number for number, channel in enumerate(_CHANNELS)}


def storage_class(record: Record) -> StorageClass:
    """Signals are most of the volume and the first to go; all else outlives them."""
    is_signals = type(record) is Message and record.channel is Channel.SIGNALS and not record.urgent
    return StorageClass.SIGNALS if is_signals else StorageClass.EVENTS


def encode(records: Iterable[Record]) -> bytes:
    """The body of a block."""
    parts: list[bytes] = []
    for record in records:
        if type(record) is Message:
            asset = record.asset_id.encode("ascii")
            head = _MESSAGE.pack(
                _TAG_URGENT if record.urgent else _TAG_MESSAGE,
                record.received_ms,
                _KIND_NUMBER[record.kind],
                _CHANNEL_NUMBER[record.channel],
                len(asset),
                len(record.payload),
            )
            parts += (head, asset, record.payload)
        else:
            tag = _TAG_REFUSED if type(record) is Refused else _TAG_GAP
            packed: bytes = msgpack.packb(tuple(record), use_bin_type=True)
            parts += (_OTHER.pack(tag, len(packed)), packed)
    return b"".join(parts)


def decode(body: bytes, count: int) -> list[Record] | Malformed:
    """The records of a block whose checksum was right; `Malformed` when a newer agent wrote what we do not know."""
    records: list[Record] = []
    offset = 0
    try:
        while offset < len(body):
            read = _message if body[offset] in (_TAG_MESSAGE, _TAG_URGENT) else _other
            record, offset = read(body, offset)
            records.append(record)
    except (struct.error, ValueError, TypeError, IndexError) as error:
        return Malformed(Reason.CORRUPT, f"record {len(records)} of {count}: {error}")
    if len(records) != count:
        return Malformed(Reason.CORRUPT, f"{len(records)} records where {count} are due")
    return records


def _message(body: bytes, offset: int) -> tuple[Record, int]:
    tag, received_ms, kind, channel, asset_length, payload_length = _MESSAGE.unpack_from(body, offset)
    asset_start = offset + _MESSAGE.size
    payload_start = asset_start + asset_length
    end = payload_start + payload_length
    if end > len(body):
        raise ValueError("ends early")
    asset_id = body[asset_start:payload_start].decode("ascii")
    payload = body[payload_start:end]
    return Message(received_ms, _KINDS[kind], asset_id, _CHANNELS[channel], payload, tag == _TAG_URGENT), end


def _other(body: bytes, offset: int) -> tuple[Record, int]:
    tag, length = _OTHER.unpack_from(body, offset)
    start = offset + _OTHER.size
    fields: list[Any] = msgpack.unpackb(body[start : start + length])
    if tag == _TAG_REFUSED:
        refused = Refused(*fields)
        return refused._replace(reason=Reason(refused.reason)), start + length
    if tag == _TAG_GAP:
        gap = Gap(*fields)
        gap = gap._replace(storage_class=StorageClass(gap.storage_class), reason=Reason(gap.reason))
        return gap, start + length
    raise ValueError(f"unknown tag {tag}")
