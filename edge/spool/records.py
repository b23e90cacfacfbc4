"""What the spool stores, and the bytes of one record.

A block's body (see `files`) is its records, one after the other, little-endian:

    bundle    u8 tag 4 · u8 length of series · u16 number of runs · u32 count of payloads · u32 length of payloads
              · series · runs, each i64 received ms · u32 count · payloads
    refused   u8 tag 2 · u32 length · msgpack list of the fields of `Refused`
    gap       u8 tag 3 · u32 length · msgpack list of the fields of `Gap`

A bundle counts as so many records as it has payloads, each with a sequence and an ordinal. Its payloads are msgpack
`bin` values one after the other, as they will stand in a batch: nothing is touched again on the way to Kafka.

A series is one channel of one asset, see `edge.spool.series`.
"""

import itertools
import struct
from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from typing import Any, Final, NamedTuple

import msgpack
import msgspec

from edge.spool import series as names
from wire.malformed import Malformed, Reason
from wire.topics import Address


class StorageClass(IntEnum):
    """What is kept apart on disk. When space runs out the lowest number goes first."""

    SIGNALS = 0
    EVENTS = 1

    @property
    def label(self) -> str:
        """The name in files, metrics and gap records."""
        return self.name.lower()


class Run(msgspec.Struct, frozen=True, gc=False):
    """So many payloads in a row that were received at one time."""

    received_ms: int
    payload_count: int


class Bundle(msgspec.Struct, frozen=True, gc=False):
    """Payloads of one series in order, unread. `packed`: msgpack `bin` values one after the other.

    As with all that is made for each message, a struct: it costs a tenth of a named tuple.
    """

    series: bytes
    runs: tuple[Run, ...]
    payload_count: int
    packed: bytes

    @property
    def address(self) -> Address:
        """The asset and channel."""
        return names.address_of(self.series)


class Message(NamedTuple):
    """One payload of a bundle, for those who need them one by one."""

    received_ms: int
    address: Address
    payload: bytes


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


Record = Bundle | Refused | Gap

_BUNDLE: Final = struct.Struct("<BBHII")
_RUN: Final = struct.Struct("<qI")
_OTHER: Final = struct.Struct("<BI")
_TAG_REFUSED: Final = 2
_TAG_GAP: Final = 3
_TAG_BUNDLE: Final = 4
_RUNS_MAX: Final = 0xFFFF

_BIN_HEADER_BYTES_MAX: Final = 5
_pack: Final = msgspec.msgpack.Encoder().encode
_FIXED_LIST: Final = 16
_SHORT_LIST: Final = 65_536
"""[msgpack] Lists with fewer items have their length in the first byte, or in two bytes behind it."""


def bundle(series: bytes, runs: Sequence[Run], payloads: list[bytes]) -> Bundle:
    """Pack payloads."""
    assert 0 < len(runs) <= _RUNS_MAX
    count = len(payloads)
    if count == 1:
        return Bundle(series, tuple(runs), 1, _pack(payloads[0]))
    header_bytes = 1 if count < _FIXED_LIST else 3 if count < _SHORT_LIST else 5
    return Bundle(series, tuple(runs), count, _pack(payloads)[header_bytes:])


def messages(of: Bundle) -> list[Message]:
    """The payloads of a bundle, one by one."""
    times = itertools.chain.from_iterable(itertools.repeat(run.received_ms, run.payload_count) for run in of.runs)
    return [Message(ms, of.address, payload) for ms, payload in zip(times, _payloads(of), strict=True)]


def _payloads(of: Bundle) -> Iterator[bytes]:
    unpacker = msgpack.Unpacker(max_buffer_size=len(of.packed), raw=True)
    unpacker.feed(of.packed)
    return iter(unpacker)


def split(of: Bundle, payloads_max: int, bytes_max: int) -> list[Bundle]:
    """The same payloads in bundles of at most `payloads_max`, and packed `bytes_max` where one is not larger."""
    parts: list[Bundle] = []
    members: list[Message] = []
    size_bytes = 0
    for message in messages(of):
        packed_bytes = len(message.payload) + _BIN_HEADER_BYTES_MAX
        if members and (len(members) == payloads_max or size_bytes + packed_bytes > bytes_max):
            parts.append(_joined(of.series, members))
            members, size_bytes = [], 0
        members.append(message)
        size_bytes += packed_bytes
    parts.append(_joined(of.series, members))
    return parts


def _joined(series: bytes, members: list[Message]) -> Bundle:
    grouped = itertools.groupby(members, key=lambda message: message.received_ms)
    runs = [Run(received_ms, sum(1 for _ in same)) for received_ms, same in grouped]
    return bundle(series, runs, [message.payload for message in members])


def storage_class(record: Record) -> StorageClass:
    """Signals are most of the volume and the first to go; all else outlives them."""
    is_signals = type(record) is Bundle and names.is_signals(record.series)
    return StorageClass.SIGNALS if is_signals else StorageClass.EVENTS


def count_of(record: Record) -> int:
    """How many sequences and ordinals a record has."""
    return record.payload_count if type(record) is Bundle else 1


def received_ms_of(record: Record) -> int:
    """When the first of it was received."""
    return record.runs[0].received_ms if isinstance(record, Bundle) else record.received_ms


def encode(records: Iterable[Record]) -> bytes:
    """The body of a block."""
    parts: list[bytes] = []
    for record in records:
        if isinstance(record, Bundle):
            series, runs, packed = record.series, record.runs, record.packed
            head = _BUNDLE.pack(_TAG_BUNDLE, len(series), len(runs), record.payload_count, len(packed))
            times = [_RUN.pack(run.received_ms, run.payload_count) for run in runs]
            parts += (head, series, *times, packed)
        else:
            tag = _TAG_REFUSED if type(record) is Refused else _TAG_GAP
            encoded: bytes = msgpack.packb(tuple(record), use_bin_type=True)
            parts += (_OTHER.pack(tag, len(encoded)), encoded)
    return b"".join(parts)


def decode(body: bytes, count: int) -> list[Record] | Malformed:
    """The records of a block whose checksum was right; `Malformed` when a newer agent wrote what we do not know."""
    records: list[Record] = []
    offset = found = 0
    try:
        while offset < len(body):
            if body[offset] == _TAG_BUNDLE:
                bundle_, offset = _bundle(body, offset)
                found += bundle_.payload_count
                records.append(bundle_)
            else:
                other, offset = _other(body, offset)
                found += 1
                records.append(other)
    except (struct.error, ValueError, TypeError, IndexError) as error:
        return Malformed(Reason.CORRUPT, f"record {found} of {count}: {error}")
    if found != count:
        return Malformed(Reason.CORRUPT, f"{found} records where {count} are due")
    return records


def _bundle(body: bytes, offset: int) -> tuple[Bundle, int]:
    _, series_length, run_count, count, length = _BUNDLE.unpack_from(body, offset)
    series_start = offset + _BUNDLE.size
    runs_start = series_start + series_length
    packed_start = runs_start + run_count * _RUN.size
    end = packed_start + length
    if end > len(body):
        raise ValueError("ends early")
    series = body[series_start:runs_start]
    if not names.is_known(series):
        raise ValueError("unknown series")  # no agent of this version can have written it
    if run_count == 1:
        runs: tuple[Run, ...] = (Run(*_RUN.unpack_from(body, runs_start)),)
    else:
        runs = tuple(itertools.starmap(Run, _RUN.iter_unpack(body[runs_start:packed_start])))
    return Bundle(series, runs, count, body[packed_start:end]), end


def _other(body: bytes, offset: int) -> tuple[Refused | Gap, int]:
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
