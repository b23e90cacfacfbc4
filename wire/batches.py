"""A batch as the value of a Kafka record."""

import functools
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from wire import codec, limits, quick
from wire.malformed import Malformed, Reason
from wire.messages import Batch, plain, shaped
from wire.topics import Channel, Kind

CONTENT_TYPE: Final = "application/vnd.fleetfold.batch.v1+msgpack"
_ENCODED_BYTES_MAX: Final = 2 * limits.BATCH_BYTES_MAX


def encode(batch: Batch) -> bytes:
    """The record value. The lists must have equal length within the limits: a batcher's bug otherwise."""
    assert 0 < len(batch.payloads) <= limits.BATCH_FRAMES_MAX, len(batch.payloads)
    assert len(batch.payloads) == len(batch.sequence_offsets) == len(batch.received_ms)
    return codec.to_msgpack(plain(batch))


def decode(raw: bytes) -> Batch | Malformed:
    """Read a record value."""
    batch: Batch | Malformed | None = quick.batch(raw, _ENCODED_BYTES_MAX)
    if batch is None:
        batch = shaped(codec.decode(raw, _ENCODED_BYTES_MAX), Batch)
    if isinstance(batch, Malformed):
        return batch
    if not len(batch.payloads) == len(batch.sequence_offsets) == len(batch.received_ms):
        return Malformed(Reason.WRONG_SHAPE, "payloads, sequence_offsets and received_ms differ in length")
    return batch


_pack: Final = msgspec.msgpack.Encoder().encode
_SHORT_TEXT: Final = 32
_TIMES_KEPT: Final = 64
"""Many batches share a time."""


def _fields(**values: Any) -> bytes:
    """Names and values of a map, without its length."""
    return b"".join(_pack(name) + _pack(value) for name, value in values.items())


_TEXT_HEADERS: Final = tuple(bytes([0xA0 | n]) if n < _SHORT_TEXT else bytes([0xD9, n]) for n in range(256))


def _packed_text(text: bytes) -> bytes:
    """[msgpack] fixstr or str 8: enough for an asset id."""
    return _TEXT_HEADERS[len(text)] + text


@functools.lru_cache(maxsize=limits.BATCH_FRAMES_MAX + 1)
def _offsets_without_gap(count: int) -> bytes:
    return _pack(list(range(count)))


@functools.lru_cache(maxsize=_TIMES_KEPT)
def _packed_time(time_ms: int) -> bytes:
    return _pack(time_ms)


def _list_header(count: int) -> bytes:
    """[msgpack] fixarray or array 16: enough for what a batch may hold."""
    return bytes([0x90 | count]) if count < 16 else b"\xdc" + count.to_bytes(2, "big")


_ONE: Final = _list_header(1)


class Around(NamedTuple):
    """What stands before and behind the asset id: the same for all batches of a kind, channel and epoch."""

    before: bytes
    behind: bytes


class Assembler:
    """Makes record values of payloads that are packed already: the same bytes as `encode`."""

    def __init__(self, gateway: str) -> None:
        required = len(Batch.__struct_fields__) - len(Batch.__struct_defaults__)
        self._header = bytes([0x80 | required])  # [msgpack] fixmap: up to 15 fields
        self._gateway = gateway
        self._first, self._offsets = map(_pack, ("first_sequence", "sequence_offsets"))
        self._times, self._payloads = map(_pack, ("received_ms", "payloads"))

    def around(self, kind: Kind, channel: Channel, epoch: str) -> Around:
        """For `assemble`; to be kept."""
        before = self._header + _fields(v=1, kind=kind) + _pack("asset_id")
        return Around(before, _fields(channel=channel, gateway=self._gateway, epoch=epoch) + self._first)

    def assemble(
        self,
        around: Around,
        asset_id: bytes,
        sequences: Sequence[range],
        runs: Sequence[tuple[int, int]],
        packed: Sequence[bytes],
    ) -> bytes:
        """`asset_id` in ASCII; `sequences` of the payloads in order; `runs`: (received ms, how many payloads in a row);
        `packed`: their msgpack `bin` values, joined in any way."""
        before, behind = around
        first = sequences[0].start
        count = sum(map(len, sequences))
        assert 0 < count <= limits.BATCH_FRAMES_MAX, count
        header = _list_header(count)
        times = [_packed_time(time_ms) * number for time_ms, number in runs]
        offsets = _packed_offsets(sequences, first, count)
        parts = (before, _packed_text(asset_id), behind, _pack(first), self._offsets, offsets, self._times, header)
        return b"".join((*parts, *times, self._payloads, header, *packed))

    def assemble_one(self, around: Around, asset_id: bytes, sequence: int, received_ms: int, packed: bytes) -> bytes:
        """`assemble` of one payload: what a fleet of devices that speak rarely sends."""
        before, behind = around
        return b"".join((before, _packed_text(asset_id), behind, _pack(sequence), _around_one(received_ms), packed))


@functools.lru_cache(maxsize=_TIMES_KEPT)
def _around_one(received_ms: int) -> bytes:
    """What stands between the sequence and the payload of a batch of one."""
    offsets, times, payloads = map(_pack, ("sequence_offsets", "received_ms", "payloads"))
    return b"".join((offsets, _offsets_without_gap(1), times, _ONE, _packed_time(received_ms), payloads, _ONE))


def _packed_offsets(sequences: Sequence[range], first: int, count: int) -> bytes:
    if sequences[-1].stop - first == count:
        return _offsets_without_gap(count)
    last = sequences[-1].stop - 1 - first
    if last >= _NUMBERS:
        return _pack([sequence - first for each in sequences for sequence in each])
    table = _packed_numbers()
    parts = [table[_place(each.start - first) : _place(each.stop - first)] for each in sequences]
    return b"".join((_list_header(count), *parts))


_NUMBERS: Final = 65_536


@functools.cache
def _packed_numbers() -> bytes:
    """[msgpack] All integers of at most two bytes, one behind the other: any run of offsets is a piece of it."""
    return b"".join(map(_pack, range(_NUMBERS)))


def _place(number: int) -> int:
    """Of a number in `_packed_numbers`: one byte each below 128, two below 256, three from there on."""
    if number >= 256:
        return 3 * number - 384
    return number if number < 128 else 2 * number - 128
