"""Reads one class of the spool in order and keeps account of what Kafka has confirmed."""

from collections import deque
from dataclasses import dataclass
from typing import Final, NamedTuple

from edge.spool import records
from edge.spool.chain import Chain, Position, Segment
from edge.spool.disk import Disk
from edge.spool.records import Bundle, Record, StorageClass
from edge.spool.scanner import Block, Scanner
from wire.malformed import Malformed

_READ_ATTEMPTS_MAX: Final = 5
"""A disk that cannot read a page so often in a row has lost it."""


class Lost(NamedTuple):
    """Records that are missing from a chain, by sequences, both included."""

    storage_class: StorageClass
    first_sequence: int
    last_sequence: int
    record_count: int


@dataclass(slots=True, eq=False)
class Chunk:
    """Records that were read together, of one stream.

    `entries` (first sequence, record) are the consumer's to clear when it took them; `count` and `remaining` count
    each payload of a bundle.
    """

    storage_class: StorageClass
    entries: list[tuple[int, Record]]
    received_ms: int
    """Of the first record."""
    count: int
    remaining: int
    """Not confirmed yet."""
    end: Position
    stream: int = 0
    reader: "Reader | None" = None
    """Which keeps account of it; None once it was taken out: it was evicted or will be read again."""

    def confirm(self, count: int) -> None:
        """`count` more of its records are in Kafka."""
        assert 0 <= count <= self.remaining, "confirmed twice"
        self.remaining -= count
        if self.reader is not None:
            self.reader.confirmed(count)


class Fresh(NamedTuple):
    """A block that was appended just now: durable, and still in memory."""

    start: Position
    end: Position
    stream: int
    records: list[Record]


class Reader:
    """A cursor over a chain up to `limit`, if there is one. Nothing before `position` is needed any more."""

    def __init__(
        self, disk: Disk, chain: Chain, position: Position, buffer_bytes: int, limit: Position | None = None
    ) -> None:
        self.position = position
        self.limit = limit
        """Where another reader begins: always where a segment does."""
        self.lost: list[Lost] = []
        """Found missing while reading; the owner takes them from here."""
        self._disk = disk
        self._chain = chain
        self._buffer_bytes = buffer_bytes
        self._next = position
        self._stream = 0
        self._outstanding: deque[Chunk] = deque()
        self._confirmed_ahead = 0
        self._segment: Segment | None = None
        self._scanner: Scanner | None = None
        self._failures = 0
        self._fresh: Fresh | None = None

    @property
    def undelivered(self) -> int:
        """Durable records that are not confirmed."""
        return max(0, self.end.ordinal - self.position.ordinal - self._confirmed_ahead)

    @property
    def end(self) -> Position:
        """Behind the last record."""
        return self._chain.end if self.limit is None else self.limit

    def upto(self, position: Position) -> Position:
        """`position`, or the limit if that comes first."""
        return position if self.limit is None else min(position, self.limit)

    @property
    def is_done(self) -> bool:
        """Whether all up to the limit is confirmed."""
        return self.limit is not None and self.position.ordinal >= self.limit.ordinal

    @property
    def oldest_received_ms(self) -> int | None:
        """When the oldest record that is not confirmed was received, if it was read already. For any thread."""
        try:
            return self._outstanding[0].received_ms
        except IndexError:
            return None

    def read(self) -> Chunk | None:
        """About `buffer_bytes` of records, or None when all was read. Raises OSError; another try may succeed."""
        try:
            chunk = self._read()
        except OSError:
            self._failures += 1
            if self._failures >= _READ_ATTEMPTS_MAX:
                self._give_up()
            raise
        self._failures = 0
        return chunk

    def offer(self, fresh: Fresh) -> None:
        """What follows on all that was read need not be read from the disk. At most one block is kept for that."""
        if fresh.start.ordinal == self._next.ordinal:
            self._fresh = fresh

    def _take_fresh(self) -> Chunk | None:
        fresh, self._fresh = self._fresh, None
        if fresh is None or fresh.start.ordinal != self._next.ordinal:
            return None
        if self._segment is not None and self._segment is not self._chain.segments[-1]:
            self._go_to(None)  # a segment that is kept open needs its space after it was deleted
        self._next = fresh.end
        self._stream = fresh.stream
        return self._chunk(_numbered(fresh.records, fresh.start.sequence), fresh.end.ordinal - fresh.start.ordinal)

    def _chunk(self, entries: list[tuple[int, Record]], count: int) -> Chunk:
        received_ms = records.received_ms_of(entries[0][1])
        chunk = Chunk(self._chain.storage_class, entries, received_ms, count, count, self._next, self._stream, self)
        self._outstanding.append(chunk)
        return chunk

    def _read(self) -> Chunk | None:
        return self._take_fresh() or self._read_disk()

    def _read_disk(self) -> Chunk | None:
        if self._next.ordinal >= self.end.ordinal:
            self._settle()
            return None
        entries: list[tuple[int, Record]] = []
        size_bytes = count = 0
        while size_bytes < self._buffer_bytes:
            try:
                block = self._next_block()
            except OSError:
                if entries:
                    break  # these are good; the next read meets the error again
                raise
            if block is not None:
                read = self._take(block)
                if read:
                    entries += read
                    size_bytes += block.header.length
                    count += block.header.record_count
            elif entries or not self._advance():
                break
        if not entries:
            self._notice_lost_end()
            return None
        return self._chunk(entries, count)

    def _next_block(self) -> Block | None:
        self._segment = self._segment or self._first_segment()
        if self._segment is None:
            return None
        if self._scanner is None:
            file = self._disk.open(str(self._segment.name))
            self._scanner = Scanner(file, self._chain.epoch, self._chain.storage_class, self._buffer_bytes)
        return self._scanner.next(self._segment.size_bytes)

    def _give_up(self) -> None:
        """Go on behind what the disk cannot read; the ordinals will tell what that was."""
        if self._scanner is not None:
            self._scanner.tolerant = True
        else:
            self._advance()

    def _first_segment(self) -> Segment | None:
        for index, segment in enumerate(self._chain.segments):
            if self._chain.end_ordinal_of(index) > self._next.ordinal:
                return segment if self._is_ours(segment) else None
        return None

    def _is_ours(self, segment: Segment) -> bool:
        return self.limit is None or segment.name.first_ordinal < self.limit.ordinal

    def _advance(self) -> bool:
        """Go to the next segment; False at the end of the chain."""
        if self._segment is None:
            return False
        name = self._segment.name
        following = next((segment for segment in self._chain.segments if segment.name > name), None)
        if following is None or not self._is_ours(following):
            return False
        self._go_to(following)
        return True

    def _go_to(self, segment: Segment | None) -> None:
        if self._scanner is not None:
            self._scanner.close()
        self._scanner = None
        self._segment = segment

    def _take(self, block: Block) -> list[tuple[int, Record]]:
        """The records of a block that were not read before; notes what is missing before them."""
        header = block.header
        if header.first_ordinal < self._next.ordinal or block.body is None:
            return []  # positions lie between blocks: it was read whole or not at all
        decoded = records.decode(block.body, header.record_count)
        if isinstance(decoded, Malformed):
            return []
        self._notice_lost(header.first_sequence, header.first_ordinal)
        self._next = Position(header.end_sequence, header.end_ordinal)
        self._stream = header.stream  # the same for all blocks of a segment, and a chunk is of one segment
        return _numbered(decoded, header.first_sequence)

    def _notice_lost_end(self) -> None:
        self._notice_lost(*self.end)
        self._settle()

    def _notice_lost(self, sequence: int, ordinal: int) -> None:
        count = ordinal - self._next.ordinal
        if count > 0:
            self.lost.append(Lost(self._chain.storage_class, self._next.sequence, sequence - 1, count))
            self._next = Position(sequence, ordinal)

    def confirmed(self, count: int) -> None:
        """`count` records more of a chunk in the account are in Kafka."""
        self._confirmed_ahead += count
        self._settle()

    def _settle(self) -> None:
        while self._outstanding and self._outstanding[0].remaining == 0:
            chunk = self._outstanding.popleft()
            self._confirmed_ahead -= chunk.count
            self.position = chunk.end
        if not self._outstanding:
            self.position = self._next

    def rewind(self) -> None:
        """Read everything again that is not confirmed up to `position`."""
        self._uncount(len(self._outstanding))
        self._next = self.position
        self._go_to(None)

    def unconfirmed_before(self, position: Position) -> int:
        """How many records before `position` are not known to be in Kafka."""
        leaving = [chunk for chunk in self._outstanding if chunk.end.ordinal <= position.ordinal]
        confirmed = sum(chunk.count - chunk.remaining for chunk in leaving)
        return max(0, position.ordinal - self.position.ordinal - confirmed)

    def skip_to(self, position: Position) -> None:
        """Forget what lies before `position`: it is no longer on disk."""
        if position.ordinal <= self.position.ordinal:
            return
        self._uncount(sum(1 for chunk in self._outstanding if chunk.end.ordinal <= position.ordinal))
        self.position = position
        if self._next.ordinal < position.ordinal:
            self._next = position
            self._go_to(None)

    def _uncount(self, count: int) -> None:
        """Take the oldest chunks out of the account."""
        for _ in range(count):
            chunk = self._outstanding.popleft()
            chunk.reader = None
            self._confirmed_ahead -= chunk.count - chunk.remaining

    def close(self) -> None:
        """Close the file that is being read."""
        self._go_to(None)


def _numbered(decoded: list[Record], first_sequence: int) -> list[tuple[int, Record]]:
    entries: list[tuple[int, Record]] = []
    for record in decoded:
        entries.append((first_sequence, record))
        first_sequence += record.payload_count if type(record) is Bundle else 1
    return entries
