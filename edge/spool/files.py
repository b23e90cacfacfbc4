"""The spool's files, byte by byte.

A spool is one directory:

    lock                                   locked (flock) by the one agent that may write here
    checkpoint.0, checkpoint.1             how far Kafka has confirmed each class; see `checkpoint`
    <class>-<sequence>-<ordinal>.seg       a segment; the numbers, in 20 digits, are those of its first record
    <class>-<first>-<last>-<count>.evicted what is left of a segment whose records are lost, until a gap record that
                        (.corrupt, .expired) says so is durable; emptied, the name says it all. Also a loss that was
                                           recorded in such a segment, until it is recorded anew

Each class has a chain of segments in the order of these numbers. A segment is the 8 bytes `FLTSPL02` (the last two
are the format's version), then blocks. A block is what one turn of the agent's loop made durable for one class.
Its header has 56 bytes, little-endian:

    offset  0   4 bytes  F1 42 4C 4B, to find the next block behind damaged bytes
            4   u32      length of the body in bytes
            8   8 bytes  epoch: names one life of a spool directory
           16   u64      sequence of the first record; the others follow without gap
           24   u64      ordinal of the first record: how many records its class had before it
           32   i64      when the first record was received, ms since the Unix epoch as the gateway's clock showed it
           40   u32      number of records
           44   u8       class, see `records.StorageClass`; a zero byte follows
           46   u16      stream, see below
           48   u32      CRC32C of the body
           52   u32      CRC32C of the 52 bytes before

then the body, the records of `records`.

Rules:

* Sequences rise over all classes of a spool and never name two records. They may jump: an agent that opens a
  spool goes on at the next multiple of 2**20 behind everything it can see, so that a disk that lost a tail it had
  called durable cannot make a number stand twice.
* Ordinals rise by one per record of a class. Where they jump, exactly that many records are lost.
* Streams count the times that a class was split into a backlog and what came after it, see `lanes`: order is kept
  within a stream, and all blocks of a stream are older than those of the next.
* A block whose ordinals were read already is a second copy (an append was repeated after a failed sync) and
  is skipped.
* A header that fails its checksum, or names another epoch or class, is no block: the search goes on at the next
  `F1 42 4C 4B`. The epoch is random and devices do not know it, so no payload can pretend to be a block.
* Only the newest segment of a chain is written to. It is never deleted nor evicted: it holds epoch, sequence and
  ordinal for the next start. Every other is deleted as a whole, when all its records are confirmed and both
  checkpoint files say so.
* A crash can leave at most one unfinished block at the end of each chain: a block is synced before the next is
  written. What follows the last whole block is cut off at the next start.
"""

import re
import struct
from typing import Final, NamedTuple

import google_crc32c

from edge.spool.records import StorageClass
from wire.malformed import Reason

FILE_MAGIC: Final = b"FLTSPL02"
BLOCK_MAGIC: Final = b"\xf1BLK"
_HEADER: Final = struct.Struct("<4sI8sQQqIBxHI")
_CHECKSUM: Final = struct.Struct("<I")
HEADER_BYTES: Final = _HEADER.size + _CHECKSUM.size
EPOCH_BYTES: Final = 8
STREAM_MAX: Final = 2**16 - 1
SEQUENCE_STEP: Final = 2**20
"""More records than one turn of the loop can append."""

_SEGMENT_NAME: Final = re.compile(r"(signals|events)-([0-9]{20})-([0-9]{20})\.seg")
_GAP_NAME: Final = re.compile(r"(signals|events)-([0-9]{20})-([0-9]{20})-([0-9]{20})\.(evicted|corrupt|expired)")


class Header(NamedTuple):
    """A block's header, its checksum verified."""

    length: int
    epoch: bytes
    first_sequence: int
    first_ordinal: int
    received_ms: int
    record_count: int
    storage_class: int
    stream: int
    body_checksum: int

    @property
    def end_sequence(self) -> int:
        """One behind the last."""
        return self.first_sequence + self.record_count

    @property
    def end_ordinal(self) -> int:
        """One behind the last."""
        return self.first_ordinal + self.record_count


class BlockId(NamedTuple):
    """What a header says of a block beside its body."""

    epoch: bytes
    first_sequence: int
    first_ordinal: int
    received_ms: int
    record_count: int
    storage_class: StorageClass
    stream: int


def encode_block(block: BlockId, body: bytes) -> bytes:
    """Header and body."""
    checksum = google_crc32c.value(body)
    header = _HEADER.pack(BLOCK_MAGIC, len(body), *block, checksum)
    return b"".join((header, _CHECKSUM.pack(google_crc32c.value(header)), body))


def decode_header(buffer: bytes, offset: int) -> Header | None:
    """The header at `offset`, or None when the bytes there are none."""
    if len(buffer) - offset < HEADER_BYTES or not buffer.startswith(BLOCK_MAGIC, offset):
        return None
    (checksum,) = _CHECKSUM.unpack_from(buffer, offset + _HEADER.size)
    if google_crc32c.value(buffer[offset : offset + _HEADER.size]) != checksum:
        return None
    return Header._make(_HEADER.unpack_from(buffer, offset)[1:])


def body_is_whole(header: Header, body: bytes) -> bool:
    """Whether these are the bytes that were written."""
    checksum: int = google_crc32c.value(body)
    return checksum == header.body_checksum


class SegmentName(NamedTuple):
    """What a segment's file name says."""

    storage_class: StorageClass
    first_sequence: int
    first_ordinal: int

    def __str__(self) -> str:
        return f"{self.storage_class.label}-{self.first_sequence:020d}-{self.first_ordinal:020d}.seg"

    @classmethod
    def parse(cls, name: str) -> "SegmentName | None":
        """None for any other file."""
        match = _SEGMENT_NAME.fullmatch(name)
        return None if match is None else cls(StorageClass[match[1].upper()], int(match[2]), int(match[3]))


class GapName(NamedTuple):
    """What the file name of a lost segment says: the records that went with it, and why."""

    storage_class: StorageClass
    first_sequence: int
    last_sequence: int
    record_count: int
    reason: Reason

    def __str__(self) -> str:
        numbers = f"{self.first_sequence:020d}-{self.last_sequence:020d}-{self.record_count:020d}"
        return f"{self.storage_class.label}-{numbers}.{self.reason}"

    @classmethod
    def parse(cls, name: str) -> "GapName | None":
        """None for any other file."""
        match = _GAP_NAME.fullmatch(name)
        if match is None:
            return None
        return cls(StorageClass[match[1].upper()], int(match[2]), int(match[3]), int(match[4]), Reason(match[5]))
