"""A batch as the value of a Kafka record."""

from typing import Final

from wire import codec, limits, quick
from wire.malformed import Malformed, Reason
from wire.messages import Batch, plain, shaped

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
