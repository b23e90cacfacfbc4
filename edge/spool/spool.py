"""The spool: append, make durable, read back in order, forget what Kafka has.

The order is the caller's (`edge.agent`): `stage` → `commit` → (acknowledge) → `read` → (produce) → `confirm` →
`checkpoint` → `trim`. One thread uses it.
"""

import contextlib
import os
from collections import Counter
from collections.abc import Callable
from typing import Final, NamedTuple, Self

from edge.clock import Clock
from edge.spool import expiry, files, records, recovery
from edge.spool.chain import Position
from edge.spool.disk import Disk
from edge.spool.files import GapName
from edge.spool.lanes import Lanes
from edge.spool.losses import Losses
from edge.spool.reader import Chunk, Fresh
from edge.spool.records import Record, StorageClass
from edge.spool.surrender import Surrender
from wire.malformed import Reason

_FRESH_READS_MAX: Final = 2
"""A block that is so many times larger than what is read at once is not kept in memory for the next read."""


class Limits(NamedTuple):
    """`bytes_max`: of all segments, at least 4 × `segment_bytes`. `read_bytes`: of one chunk, about.

    `signals_age_s`, `events_age_s`: what waits longer for Kafka is given up; None: it waits as long as there is room.
    """

    bytes_max: int
    segment_bytes: int
    read_bytes: int
    signals_age_s: float | None = None
    events_age_s: float | None = None

    def age_s(self, storage_class: StorageClass) -> float | None:
        """Of a class."""
        return self.events_age_s if storage_class is StorageClass.EVENTS else self.signals_age_s


class _Part(NamedTuple):
    """A block that waits for the disk. `gaps`: the names of losses that it records."""

    storage_class: StorageClass
    first_sequence: int
    record_count: int
    received_ms: int
    body: bytes
    records: list[Record]
    """The same, for whoever reads next."""
    gaps: tuple[GapName, ...] = ()


class Spool:
    """Opened by `open`, which recovers what is there."""

    def __init__(self, disk: Disk, limits: Limits, clock: Clock, state: recovery.Recovered) -> None:
        self.epoch = state.epoch.hex()
        """Names this life of the directory: (epoch, sequence) never names two records."""
        self.cut_bytes = state.cut_bytes
        """Unfinished appends that recovery cut off; nothing of them was acknowledged."""
        self._disk = disk
        self._limits = limits
        self._clock = clock
        self._chains = state.chains
        self._lanes = {
            each: Lanes(disk, chain, state.spans[each], limits.read_bytes) for each, chain in state.chains.items()
        }
        self._next_sequence = state.next_sequence
        self._staged: list[_Part] = []
        self._losses = Losses(disk)
        self._surrender = Surrender(disk, clock, self._chains, self._lanes, self._losses)
        self._checkpoint = state.checkpoint
        self._start = dict(state.spans)
        for lost in state.lost:
            self._losses.owe(lost)

    @classmethod
    def open(cls, disk: Disk, limits: Limits, clock: Clock, new_epoch: Callable[[int], bytes] = os.urandom) -> Self:
        """Recover and go on. Raises OSError when the directory cannot be read or cleaned up."""
        assert limits.bytes_max >= 4 * limits.segment_bytes
        return cls(disk, limits, clock, recovery.recover(disk, limits.segment_bytes, new_epoch))

    @property
    def lost(self) -> Counter[tuple[StorageClass, Reason]]:
        """Records that are gone, since the start."""
        return self._losses.counts

    @property
    def size_bytes(self) -> int:
        """Of all segments."""
        return sum(chain.size_bytes for chain in self._chains.values())

    @property
    def written_bytes(self) -> int:
        """To segments and checkpoints, since the start."""
        return sum(chain.written_bytes for chain in self._chains.values()) + self._checkpoint.written_bytes

    @property
    def flash_bytes(self) -> int:
        """What was written, in whole pages of 4 KiB: a flash card writes no less."""
        return sum(chain.page_bytes for chain in self._chains.values()) + self._checkpoint.page_bytes

    @property
    def backlog(self) -> int:
        """Undelivered records of before a split. For any thread."""
        return sum(lanes.backlog for lanes in self._lanes.values())

    @property
    def undelivered(self) -> int:
        """Records, staged or durable, that are not confirmed."""
        return sum(part.record_count for part in self._staged) + sum(self.undelivered_of(each) for each in StorageClass)

    def undelivered_of(self, storage_class: StorageClass) -> int:
        """Durable records of a class that are not confirmed."""
        return self._lanes[storage_class].undelivered

    def oldest_received_ms(self, storage_class: StorageClass) -> int | None:
        """When the oldest unconfirmed record of a class was received; None when there is none, or it is unread."""
        return self._lanes[storage_class].oldest_received_ms

    def live_oldest_received_ms(self, storage_class: StorageClass) -> int | None:
        """The same of what is no backlog."""
        return self._lanes[storage_class].live_oldest_received_ms

    def live_stream(self, storage_class: StorageClass) -> int:
        """What is appended now belongs to this stream; records of others are backlog."""
        return self._chains[storage_class].stream

    @property
    def is_staged(self) -> bool:
        """Whether a commit failed, or did not come yet: nothing more can be staged."""
        return bool(self._staged)

    @property
    def must_commit(self) -> bool:
        """Whether something waits for the disk."""
        return bool(self._staged or self._losses.are_owed or self._losses.are_settled)

    def stage(self, batch: list[Record]) -> None:
        """Number records for the next `commit`. Not before the last commit succeeded."""
        assert not self._staged, "commit first"
        by_class: dict[StorageClass, list[Record]] = {each: [] for each in StorageClass}
        for record in batch:
            by_class[records.storage_class(record)].append(record)
        for storage_class, members in reversed(by_class.items()):  # what a capture fetched goes before what set it off
            self._stage(storage_class, members)

    def _stage(self, storage_class: StorageClass, members: list[Record], gaps: tuple[GapName, ...] = ()) -> None:
        if members:
            body = records.encode(members)
            count = sum(map(records.count_of, members))
            received_ms = records.received_ms_of(members[0])
            self._staged.append(_Part(storage_class, self._next_sequence, count, received_ms, body, members, gaps))
            self._next_sequence += count

    def commit(self) -> None:
        """Make everything staged durable, and the gap records that are owed.

        Raises OSError; then what is staged stays so, and `commit` is called again. A part of it may be durable.
        """
        self._make_room(sum(len(part.body) + files.HEADER_BYTES for part in self._staged))
        self._stage_gaps()
        now_s = self._clock.monotonic_s()
        while self._staged:
            part = self._staged[0]
            chain = self._chains[part.storage_class]
            if expiry.must_close(chain, self._limits.age_s(part.storage_class), now_s):
                chain.close()
            start_ordinal = chain.end_ordinal
            chain.append(part.first_sequence, part.record_count, part.received_ms, part.body, now_s)
            if len(part.body) <= _FRESH_READS_MAX * self._limits.read_bytes:
                start = Position(part.first_sequence, start_ordinal)
                self._lanes[part.storage_class].offer(Fresh(start, chain.end, chain.stream, part.records))
            self._losses.settle(part.gaps)
            del self._staged[0]
        with contextlib.suppress(OSError):  # what was staged is durable; files of losses are tried again
            self._delete_settled()

    def _make_room(self, needed_bytes: int) -> None:
        if self.size_bytes + needed_bytes <= self._limits.bytes_max:
            return
        self._checkpoint_both()
        self.trim()
        while self.size_bytes + needed_bytes > self._limits.bytes_max:
            if not self._surrender.evict():
                return  # two segments larger than an earlier configuration allowed; the next ones are not

    def expire(self) -> None:
        """Give up what is older than its class is kept. Raises OSError; another try may succeed."""
        for storage_class in self._chains:
            age_s_max = self._limits.age_s(storage_class)
            if age_s_max is not None:
                self._surrender.expire(storage_class, age_s_max)

    def _stage_gaps(self) -> None:
        gaps, names = self._losses.gap_records(self._clock.now_ms())
        self._stage(StorageClass.EVENTS, [*gaps], names)

    def _delete_settled(self) -> None:
        if self._losses.are_settled:
            self._checkpoint_both()  # else a start after a crash would find the same loss again
            self._losses.delete_files()

    def read(self, storage_class: StorageClass, backlog: bool = False) -> Chunk | None:
        """The next records of a class, or None when all were read. Raises OSError; another try may succeed.

        After a `split` there is a `backlog` to read beside what came since.
        """
        lanes = self._lanes[storage_class]
        try:
            return lanes.read(backlog)
        finally:
            for lost in lanes.take_lost():
                self._losses.owe(GapName(*lost, Reason.CORRUPT))

    def split(self, storage_class: StorageClass) -> bool:
        """Make a backlog of what is there now; what comes from now on is of another stream. False: not now."""
        return not self._staged and self._lanes[storage_class].split()

    def confirm(self, chunk: Chunk, count: int) -> None:
        """`count` more records of a chunk are in Kafka."""
        chunk.confirm(count)

    def rewind(self) -> None:
        """Read again whatever is not confirmed: those who had it have lost it."""
        for lanes in self._lanes.values():
            lanes.rewind()

    def checkpoint(self) -> None:
        """Make the spans durable, if they moved. Raises OSError; another try may succeed."""
        if self._losses.are_owed or any(part.gaps for part in self._staged):
            return  # a position must not pass a loss whose record is not durable
        spans = {each: lanes.spans for each, lanes in self._lanes.items()}
        has_moved = spans != self._start or self._checkpoint.newest is not None
        if has_moved and not self._checkpoint.says(spans):
            self._checkpoint.save(spans)

    def _checkpoint_both(self) -> None:
        """Let a start that finds only the older file know the same."""
        self.checkpoint()
        self.checkpoint()

    def trim(self) -> None:
        """Delete segments that no start could need, never the newest of a class. Raises OSError."""
        for storage_class, chain in self._chains.items():
            is_split = len(self._lanes[storage_class].spans) > 1
            index = 0
            while index < len(chain.segments) - 1:
                first_ordinal, end_ordinal = chain.start_of(index).ordinal, chain.end_ordinal_of(index)
                if not self._checkpoint.needs(storage_class, first_ordinal, end_ordinal):
                    self._disk.delete(str(chain.segments[index].name))
                    chain.forget(index)
                elif is_split:
                    index += 1  # what is live can be delivered before what is older
                else:
                    break

    def close(self) -> None:
        """Write the last checkpoint if the disk lets us, and close the files."""
        with contextlib.suppress(OSError):  # records will be sent again instead
            self.checkpoint()
        for each in StorageClass:
            self._lanes[each].close()
            self._chains[each].close()
