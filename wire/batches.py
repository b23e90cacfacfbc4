"""A batch as the value of a Kafka record."""

import functools
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from wire import codec, limits, quick
from wire.malformed import Malformed, Reason
from wire.messages import Batch, plain, shaped
from wire.topics import Address, Channel, Kind

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


def _fields(**values: Any) -> bytes:
    """Names and values of a map, without its length."""
    return b"".join(_pack(name) + _pack(value) for name, value in values.items())


@functools.lru_cache(maxsize=limits.BATCH_FRAMES_MAX + 1)
def _offsets_without_gap(count: int) -> bytes:
    return _pack(list(range(count)))


def _list_header(count: int) -> bytes:
    """[msgpack] fixarray or array 16: enough for what a batch may hold."""
    return bytes([0x90 | count]) if count < 16 else b"\xdc" + count.to_bytes(2, "big")


class Assembler:
    """Makes record values of payloads that are packed already: the same bytes as `encode`."""

    def __init__(self, gateway: str) -> None:
        required = len(Batch.__struct_fields__) - len(Batch.__struct_defaults__)
        header = bytes([0x80 | required])  # [msgpack] fixmap: up to 15 fields
        self._kind = {kind: header + _fields(v=1, kind=kind) + _pack("asset_id") for kind in Kind}
        rest = _fields(gateway=gateway) + _pack("epoch")
        self._channel = {channel: _fields(channel=channel) + rest for channel in Channel}
        self._first, self._offsets = map(_pack, ("first_sequence", "sequence_offsets"))
        self._times, self._payloads = map(_pack, ("received_ms", "payloads"))

    def assemble(
        self,
        address: Address,
        epoch: str,
        sequences: Sequence[range],
        runs: Iterable[tuple[int, int]],
        packed: Iterable[bytes],
    ) -> bytes:
        """`sequences` of the payloads in order; `runs`: (received ms, how many payloads in a row); `packed`: their
        msgpack `bin` values, joined in any way."""
        first = sequences[0].start
        count = sum(map(len, sequences))
        assert 0 < count <= limits.BATCH_FRAMES_MAX, count
        header = _list_header(count)
        parts = [self._kind[address.kind], _pack(address.asset_id), self._channel[address.channel], _pack(epoch)]
        parts += (self._first, _pack(first), self._offsets)
        if sequences[-1].stop - first == count:
            parts.append(_offsets_without_gap(count))
        else:
            parts.append(_pack([sequence - first for each in sequences for sequence in each]))
        parts += (self._times, header)
        parts += [_pack(time_ms) * number for time_ms, number in runs]
        parts += (self._payloads, header)
        parts += packed
        return b"".join(parts)
