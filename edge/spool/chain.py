"""The segments of one class, oldest first, and the one that is being written."""

import contextlib
from dataclasses import dataclass
from typing import Final, NamedTuple

from edge.spool import files
from edge.spool.disk import Disk, File
from edge.spool.records import StorageClass

PAGE_BYTES: Final = 4096


class Position(NamedTuple):
    """A place in a chain: of the next record, its sequence (or any between it and the one before) and ordinal."""

    sequence: int
    ordinal: int


@dataclass(slots=True)
class Segment:
    """One file. `size_bytes` is what of it is durable; its records end where the next segment's begin.

    Its times are on the monotonic clock and known only for what this process appended, or `expiry` estimated.
    """

    name: files.SegmentName
    size_bytes: int
    first_append_s: float | None = None
    last_append_s: float | None = None


class Chain:
    """Appends blocks. After an OSError nothing has changed, and the same block may be appended again."""

    def __init__(self, disk: Disk, epoch: bytes, storage_class: StorageClass, segment_bytes: int) -> None:
        self.storage_class = storage_class
        self.epoch = epoch
        self.segments: list[Segment] = []
        self.size_bytes = 0
        """Of all segments."""
        self.end_ordinal = 0
        """Of the records that are durable: one behind the last."""
        self.end_sequence = 0
        self.stream = 0
        """Of the blocks that are appended from now on."""
        self.written_bytes = 0
        """Since the start."""
        self.page_bytes = 0
        """Of the pages that appends wrote to."""
        self._disk = disk
        self._segment_bytes = segment_bytes
        self._file: File | None = None
        """Of the last segment, while it is the one being written."""

    @property
    def end(self) -> Position:
        """Behind the last durable record."""
        return Position(self.end_sequence, self.end_ordinal)

    def start_of(self, index: int) -> Position:
        """Of a segment's first record; behind the last segment, the end."""
        if index == len(self.segments):
            return self.end
        name = self.segments[index].name
        return Position(name.first_sequence, name.first_ordinal)

    def start_sequence(self, position: Position) -> int:
        """The sequence of the record at `position` if a segment begins there, else that of the position."""
        for segment in self.segments:
            if segment.name.first_ordinal >= position.ordinal:
                is_there = segment.name.first_ordinal == position.ordinal
                return segment.name.first_sequence if is_there else position.sequence
        return position.sequence

    def begin_stream(self) -> None:
        """What is appended from now on begins a segment and counts as of the next stream."""
        self.close()
        self.stream += 1

    def end_ordinal_of(self, index: int) -> int:
        """One behind the last record of a segment."""
        following = index + 1
        return self.segments[following].name.first_ordinal if following < len(self.segments) else self.end_ordinal

    def adopt(self, segment: Segment) -> None:
        """Take over a newer segment that is on disk."""
        self.segments.append(segment)
        self.size_bytes += segment.size_bytes

    def adopt_older(self, segments: list[Segment]) -> None:
        """Take over segments that come before the others."""
        self.segments[:0] = segments
        self.size_bytes += sum(segment.size_bytes for segment in segments)

    def forget(self, index: int) -> None:
        """A segment is no longer on disk. It is never the one being written."""
        assert index < len(self.segments) - 1
        self.size_bytes -= self.segments.pop(index).size_bytes

    def append(self, first_sequence: int, count: int, received_ms: int, body: bytes, now_s: float) -> None:
        """Append one block; it is durable on return."""
        assert first_sequence >= self.end_sequence, "sequences rise"
        block_id = files.BlockId(
            self.epoch, first_sequence, self.end_ordinal, received_ms, count, self.storage_class, self.stream
        )
        block = files.encode_block(block_id, body)
        try:
            if self._file is None or self.segments[-1].size_bytes + len(block) > self._segment_bytes:
                self._start_segment(first_sequence, block)
            else:
                self._file.append(block)
                self._file.sync()
                self.segments[-1].size_bytes += len(block)
                self.size_bytes += len(block)
        except OSError:
            self._abandon()
            raise
        self.end_ordinal += count
        self.end_sequence = first_sequence + count
        newest = self.segments[-1]
        first_byte = newest.size_bytes - len(block)
        self.page_bytes += (newest.size_bytes - 1) // PAGE_BYTES * PAGE_BYTES - first_byte // PAGE_BYTES * PAGE_BYTES
        self.page_bytes += PAGE_BYTES
        self.written_bytes += len(block)
        newest.last_append_s = now_s
        newest.first_append_s = newest.first_append_s or now_s

    def _start_segment(self, first_sequence: int, block: bytes) -> None:
        name = files.SegmentName(self.storage_class, first_sequence, self.end_ordinal)
        self.close()
        file = self._disk.create(str(name))
        try:
            file.append(files.FILE_MAGIC + block)
            file.sync()
            self._disk.sync_directory()
        except OSError:
            file.close()
            with contextlib.suppress(OSError):  # an empty file of this name may stay: the next try empties it again
                self._disk.delete(str(name))
            raise
        self._file = file
        self.written_bytes += len(files.FILE_MAGIC)
        self.adopt(Segment(name, len(files.FILE_MAGIC) + len(block)))

    def _abandon(self) -> None:
        """Write no more to a file of unknown state: after a failed sync the kernel may have dropped its pages."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # what stays behind the durable bytes is a second copy, or no block
                self._file.truncate(self.segments[-1].size_bytes)
        self.close()

    def close(self) -> None:
        """Stop writing to the last segment; the next append starts a new one."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # everything that counts is synced
                self._file.close()
            self._file = None
