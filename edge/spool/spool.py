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
from edge.spool import carry, expiry, files, records, recovery
from edge.spool.chain import Position
from edge.spool.disk import Disk
from edge.spool.files import GapName
from edge.spool.lanes import Lanes
from edge.spool.reader import Chunk, Fresh
from edge.spool.records import Gap, Record, StorageClass
from wire.malformed import Reason

_DETAILS: Final = {
    Reason.EVICTED: "the spool reached its limit, the oldest of the lowest class went",
    Reason.EXPIRED: "older than its class is kept",
    Reason.CORRUPT: "the spool's files were damaged or incomplete",
}
_FRESH_READS_MAX: Final = 2
"""A block that is so many times larger than what is read at once is not kept in memory for the next read."""
_CARRY_TRIES_MAX: Final = 10
"""So often a segment that is to be given up is read for gap records; then what the disk cannot read goes unread."""


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
        self.lost: Counter[tuple[StorageClass, Reason]] = Counter()
        """Records that are gone, since the start."""
        self._disk = disk
        self._limits = limits
        self._clock = clock
        self._chains = state.chains
        self._lanes = {
            each: Lanes(disk, chain, state.spans[each], limits.read_bytes) for each, chain in state.chains.items()
        }
        self._next_sequence = state.next_sequence
        self._staged: list[_Part] = []
        self._owed: list[GapName] = []
        self._leftovers: list[GapName] = []
        self._carry_tries = 0
        self._checkpoint = state.checkpoint
        self._start = dict(state.spans)
        for lost in state.lost:
            self._owe(lost)

    @classmethod
    def open(cls, disk: Disk, limits: Limits, clock: Clock, new_epoch: Callable[[int], bytes] = os.urandom) -> Self:
        """Recover and go on. Raises OSError when the directory cannot be read or cleaned up."""
        assert limits.bytes_max >= 4 * limits.segment_bytes
        return cls(disk, limits, clock, recovery.recover(disk, limits.segment_bytes, new_epoch))

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
        return bool(self._staged or self._owed or self._leftovers)

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
            self._leftovers += part.gaps
            del self._staged[0]
        with contextlib.suppress(OSError):  # what was staged is durable; the leftovers are tried again
            self._delete_leftovers()

    def _make_room(self, needed_bytes: int) -> None:
        if self.size_bytes + needed_bytes <= self._limits.bytes_max:
            return
        self._checkpoint_both()
        self.trim()
        while self.size_bytes + needed_bytes > self._limits.bytes_max:
            crowded = [each for each in StorageClass if len(self._chains[each].segments) > 1]
            if not crowded:
                return  # two segments larger than an earlier configuration allowed; the next ones are not
            self._evict(min(crowded))

    def _evict(self, storage_class: StorageClass) -> None:
        """Give up the oldest segment of a class. The rename is the moment that its records count as lost."""
        chain, lanes = self._chains[storage_class], self._lanes[storage_class]
        oldest, boundary = chain.segments[0], chain.start_of(1)
        lost = lanes.lost_before(boundary)
        if lost is None:
            self._disk.delete(str(oldest.name))
        else:
            self._carry(self._gaps_in(storage_class, 1))
            gap = GapName(*lost, Reason.EVICTED)
            self._disk.rename(str(oldest.name), str(gap))
            self._owe(gap)
        chain.forget(0)
        lanes.skip_to(boundary)
        if lost is not None:
            self._disk.sync_directory()
            self._disk.create(str(gap)).close()  # empties it: the name says all, and the space is needed

    def _gaps_in(self, storage_class: StorageClass, segment_count: int) -> list[GapName]:
        """Losses that nobody has heard of, named in the oldest segments of a class. Raises OSError, not for ever."""
        if storage_class is not StorageClass.EVENTS:
            return []
        chain, spans = self._chains[storage_class], self._lanes[storage_class].spans
        self._carry_tries += 1
        found = carry.undelivered(self._disk, chain, segment_count, spans, self._carry_tries >= _CARRY_TRIES_MAX)
        self._carry_tries = 0
        return found

    def _carry(self, gaps: list[GapName]) -> None:
        """Name losses anew whose records go. Files of their names tell a start after a crash."""
        for gap in gaps:
            self._disk.create(str(gap)).close()
        if gaps:
            self._disk.sync_directory()
            self._owed += gaps

    def expire(self) -> None:
        """Give up what is older than its class is kept, by whole segments. Raises OSError; another try may succeed.

        The files stay until the gap record is durable and the checkpoint has passed them, as if all were delivered.
        """
        for storage_class, chain in self._chains.items():
            age_s_max = self._limits.age_s(storage_class)
            count = 0 if age_s_max is None else expiry.expired_count(self._disk, chain, age_s_max, self._clock)
            if count:
                boundary = chain.start_of(count)
                lost = self._lanes[storage_class].lost_before(boundary)
                if lost is not None:
                    self._owed += self._gaps_in(storage_class, count)
                    self._lanes[storage_class].skip_to(boundary)
                    self._owe(GapName(*lost, Reason.EXPIRED))

    def _owe(self, gap: GapName) -> None:
        self._owed.append(gap)
        self.lost[gap.storage_class, gap.reason] += gap.record_count

    def _stage_gaps(self) -> None:
        if self._owed:
            now_ms = self._clock.now_ms()
            gaps: list[Record] = [Gap(now_ms, *gap, _DETAILS[gap.reason]) for gap in self._owed]
            self._stage(StorageClass.EVENTS, gaps, tuple(self._owed))
            self._owed.clear()

    def _delete_leftovers(self) -> None:
        if not self._leftovers:
            return
        self._checkpoint_both()  # else a start after a crash would find the same loss again
        for gap in self._leftovers:
            self._disk.delete(str(gap))
        self._leftovers.clear()

    def read(self, storage_class: StorageClass, backlog: bool = False) -> Chunk | None:
        """The next records of a class, or None when all were read. Raises OSError; another try may succeed.

        After a `split` there is a `backlog` to read beside what came since.
        """
        lanes = self._lanes[storage_class]
        try:
            return lanes.read(backlog)
        finally:
            for lost in lanes.take_lost():
                self._owe(GapName(*lost, Reason.CORRUPT))

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
        if self._owed or any(part.gaps for part in self._staged):
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
