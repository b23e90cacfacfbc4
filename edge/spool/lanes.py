"""The cursors over one class: one as long as it is sent in the order received, more after a split.

`split` draws a line: what was received before it is backlog, what comes after it is live, and both can be read side
by side. The next block begins a new stream and a new segment, so that every record belongs to one stream for ever,
whatever becomes of the cursors. A lane that was delivered to its line is gone; with the last of these the split ends.
"""

from typing import Final, NamedTuple

from edge.spool import files
from edge.spool.chain import Chain, Position
from edge.spool.disk import Disk
from edge.spool.reader import Chunk, Fresh, Lost, Reader

LANES_MAX: Final = 8
"""Each costs a file handle, a buffer, and a line in the checkpoint."""


class Span(NamedTuple):
    """What a lane has to deliver still: from `position` to `limit`, or to the end of the chain."""

    position: Position
    limit: Position | None = None

    def needs(self, first_ordinal: int, end_ordinal: int) -> bool:
        """Whether records of this range are not delivered."""
        return self.position.ordinal < end_ordinal and (self.limit is None or first_ordinal < self.limit.ordinal)


class Lanes:
    """Oldest first; the last has no limit."""

    def __init__(self, disk: Disk, chain: Chain, spans: list[Span], buffer_bytes: int) -> None:
        assert [span.limit is None for span in spans] == [False] * (len(spans) - 1) + [True]
        self._disk = disk
        self._chain = chain
        self._buffer_bytes = buffer_bytes
        self._readers = [self._reader(span) for span in spans]

    def _reader(self, span: Span) -> Reader:
        return Reader(self._disk, self._chain, span.position, self._buffer_bytes, span.limit)

    @property
    def spans(self) -> list[Span]:
        """What is not delivered, for the checkpoint; the last may be empty."""
        self._drop_delivered()
        return [Span(reader.position, reader.limit) for reader in self._readers]

    @property
    def undelivered(self) -> int:
        """Durable records that are not confirmed. For any thread."""
        return sum(reader.undelivered for reader in list(self._readers))

    @property
    def backlog(self) -> int:
        """Of these, before the newest line. For any thread."""
        return sum(reader.undelivered for reader in self._readers[:-1])

    @property
    def oldest_received_ms(self) -> int | None:
        """When the oldest record that was read and is not confirmed was received. For any thread."""
        times_ms = [reader.oldest_received_ms for reader in list(self._readers)]
        return min((time_ms for time_ms in times_ms if time_ms is not None), default=None)

    @property
    def live_oldest_received_ms(self) -> int | None:
        """The same of the live lane alone."""
        return self._readers[-1].oldest_received_ms

    def read(self, backlog: bool) -> Chunk | None:
        """The next records of the live lane, or of the oldest one before it that has any. Raises OSError."""
        for reader in self._readers[:-1] if backlog else self._readers[-1:]:
            chunk = reader.read()
            if chunk is not None:
                return chunk
        return None

    def offer(self, fresh: Fresh) -> None:
        """A block that was appended just now, for the live lane."""
        self._readers[-1].offer(fresh)

    def split(self) -> bool:
        """Read from now on what is appended from now on beside what was there; False when that cannot be."""
        self._drop_delivered()
        live = self._readers[-1]
        if len(self._readers) >= LANES_MAX or self._chain.stream >= files.STREAM_MAX or live.undelivered == 0:
            return False
        line = self._chain.end
        live.limit = line
        self._readers.append(self._reader(Span(line)))
        self._chain.begin_stream()
        return True

    def _drop_delivered(self) -> None:
        while len(self._readers) > 1 and self._readers[0].is_done:
            self._readers.pop(0).close()

    def take_lost(self) -> list[Lost]:
        """What was found missing since the last call."""
        lost = [each for reader in self._readers for each in reader.lost]
        for reader in self._readers:
            reader.lost.clear()
        return lost

    def rewind(self) -> None:
        """Read everything again that is not confirmed."""
        for reader in self._readers:
            reader.rewind()

    def lost_before(self, boundary: Position) -> Lost | None:
        """What before `boundary` is not confirmed."""
        lost: list[Lost] = []
        for reader in self._readers:
            end = reader.upto(boundary)
            count = reader.unconfirmed_before(end)
            if count:
                first = self._chain.start_sequence(reader.position)
                lost.append(Lost(self._chain.storage_class, first, end.sequence - 1, count))
        if not lost:
            return None
        total = sum(each.record_count for each in lost)
        return Lost(self._chain.storage_class, lost[0].first_sequence, lost[-1].last_sequence, total)

    def skip_to(self, boundary: Position) -> None:
        """Forget what lies before `boundary`."""
        for reader in self._readers:
            reader.skip_to(reader.upto(boundary))
        self._drop_delivered()

    def close(self) -> None:
        """Close the files that are being read."""
        for reader in self._readers:
            reader.close()
