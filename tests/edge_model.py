"""What a spool owes, kept in memory beside a real spool on a disk that can crash at any operation."""

import contextlib
import errno
import itertools
import random
from collections import defaultdict
from collections.abc import Callable

import msgspec

from edge.spool.reader import Chunk
from edge.spool.records import Bundle, Gap, Run, StorageClass
from edge.spool.spool import Limits, Spool
from tests.edge_disk import Crash, ManualClock, MemoryDisk, bundle, numbers_of, open_spool
from wire.malformed import Reason
from wire.topics import Channel

Batch = list[tuple[Channel, int, int]]
"""Channel, size and number of the payloads of each bundle."""
CLASS_OF = {Channel.SIGNALS: StorageClass.SIGNALS, Channel.EVENTS: StorageClass.EVENTS}

ROOMY = Limits(bytes_max=100_000_000, segment_bytes=700, read_bytes=300)
CROWDED = Limits(bytes_max=2_800, segment_bytes=700, read_bytes=300)
"""Segments are evicted all the time."""
SHORT_LIVED = Limits(100_000_000, 700, 300, signals_age_s=100.0, events_age_s=300.0)
HARD_PRESSED = Limits(2_800, 700, 300, signals_age_s=100.0, events_age_s=300.0)
"""Both: records expire, and what names them is evicted."""


def flat(chunk: Chunk) -> list[tuple[int, int | Gap]]:
    """(sequence, number of the message, or gap) for each record."""
    found: list[tuple[int, int | Gap]] = []
    for sequence, record in chunk.entries:
        if isinstance(record, Gap):
            found.append((sequence, record))
        else:
            assert isinstance(record, Bundle)
            found += enumerate(numbers_of(record), sequence)
    return found


class Model:
    """Keeps what was staged, committed, confirmed and read, by number of message.

    Laws, per class: what `commit` returned for is read after every start, once, until it is confirmed; what is not,
    is named by a gap record; nothing is read that was never staged. A record belongs to one stream for ever, and each
    stream is read in order.
    """

    def __init__(self, limits: Limits, seed: int, crash_at: int | None = None) -> None:
        self.limits = limits
        self.clock = ManualClock()
        self.disk = MemoryDisk(chance=random.Random(seed), crash_at=crash_at)
        self.sequence_of: dict[int, int] = {}
        self.class_of: dict[int, StorageClass] = {}
        self.committed: set[int] = set()
        self.confirmed: set[int] = set()
        self.stream_of: dict[int, int] = {}
        self.gaps: set[Gap] = set()
        if not self.guarded(self.open):
            return

    def open(self) -> None:
        self.spool: Spool = open_spool(self.disk, self.limits, self.clock)
        self.read_now: defaultdict[tuple[StorageClass, int], list[int]] = defaultdict(list)
        self.due = self.committed - self.confirmed
        self.chunks: list[Chunk] = []

    def guarded(self, action: Callable[[], object], crash_in: int | None = None) -> bool:
        """Run until the end or until a crash, `crash_in` operations ahead if given; after a crash, start again."""
        if crash_in is not None:
            self.disk.crash_at = self.disk.operations + crash_in
        try:
            action()
        except Crash:
            self.disk = self.disk.after_crash()
            self.open()
            return False
        if crash_in is not None:
            self.disk.crash_at = None
        return True

    def stage(self, batch: Batch) -> list[int]:
        first = len(self.class_of)
        bundles: dict[StorageClass, list[Bundle]] = {each: [] for each in StorageClass}
        for channel, size, count in batch:
            numbers = list(range(len(self.class_of), len(self.class_of) + count))
            self.class_of.update(dict.fromkeys(numbers, CLASS_OF[channel]))
            runs = (Run(self.clock.wall_ms, count),)
            bundles[CLASS_OF[channel]].append(msgspec.structs.replace(bundle(numbers, channel, size=size), runs=runs))
        self.spool.stage([each for members in bundles.values() for each in members])
        for part in self.spool._staged:
            members = [number for each in bundles[part.storage_class] for number in numbers_of(each)]
            self.sequence_of.update(zip(members, range(part.first_sequence, part.first_sequence + 999), strict=False))
        return list(range(first, len(self.class_of)))

    def append(self, batch: Batch, crash_in: int | None = None) -> None:
        numbers = self.stage(batch)
        if self.guarded(self.spool.commit, crash_in):
            self.committed.update(numbers)
            self.due.update(numbers)

    def append_with_disk_errors(self, batch: Batch, fail_in: int, failures: int) -> None:
        numbers = self.stage(batch)
        failing = itertools.count(1 - fail_in)

        def fault(operation: str, name: str) -> None:
            if 0 <= next(failing) < failures:
                raise OSError(errno.EIO, operation, name)

        def commit_at_last() -> None:
            while self.spool.is_staged:
                with contextlib.suppress(OSError):
                    self.spool.commit()

        self.disk.fault = fault
        if self.guarded(commit_at_last):
            self.committed.update(numbers)
            self.due.update(numbers)
        self.disk.fault = None

    def take(self, storage_class: StorageClass, backlog: bool) -> bool:
        """Read a chunk and check it."""
        chunk = self.spool.read(storage_class, backlog)
        if chunk is None:
            return False
        self.chunks.append(chunk)
        of_stream = self.read_now[storage_class, chunk.stream]
        for sequence, each in flat(chunk):
            if isinstance(each, Gap):
                self.gaps.add(each)
                continue
            assert self.sequence_of[each] == sequence
            assert self.class_of[each] is storage_class
            assert self.stream_of.setdefault(each, chunk.stream) == chunk.stream, "one stream for ever"
            assert not of_stream or each > of_stream[-1], "order within a stream, once"
            of_stream.append(each)
        return True

    def confirm(self, chunk: Chunk, part: int) -> None:
        """The next `part` records of a chunk are in Kafka."""
        start = chunk.count - chunk.remaining
        self.confirmed.update(each for _, each in flat(chunk)[start : start + part] if isinstance(each, int))
        self.spool.confirm(chunk, part)
        if not chunk.remaining:
            self.chunks.remove(chunk)

    def deliver_all(self, storage_class: StorageClass) -> None:
        while self.take(storage_class, True) or self.take(storage_class, False):
            pass
        for chunk in [each for each in self.chunks if each.storage_class is storage_class]:
            self.confirm(chunk, chunk.remaining)

    def upkeep(self) -> None:
        """As the agent does it every second."""
        self.spool.expire()
        if self.spool.must_commit:
            self.spool.commit()
        self.spool.checkpoint()
        self.spool.trim()

    def rewind(self) -> None:
        self.spool.rewind()
        self.read_now.clear()
        self.due = self.committed - self.confirmed
        self.chunks.clear()

    def restart(self) -> None:
        self.spool.close()
        self.open()

    def power_cut(self) -> None:
        crash_at = None if self.disk.crash_at is None else self.disk.crash_at - self.disk.operations
        self.disk = self.disk.after_crash()
        self.disk.crash_at = crash_at
        self.open()

    def is_named(self, number: int) -> bool:
        """By a gap record that was read: one that was evicted or expired itself names nothing any more."""
        storage_class, sequence = self.class_of[number], self.sequence_of[number]
        return any(
            gap.storage_class is storage_class and gap.first_sequence <= sequence <= gap.last_sequence
            for gap in self.gaps
        )

    def finish(self) -> None:
        """Read everything and judge."""
        self.drain()
        missing = {n for n in self.due - set().union(*self.read_now.values()) if not self.is_named(n)}
        assert not missing, f"neither read nor named: {missing}"
        self.check_losses()
        for chunk in self.chunks:
            self.spool.confirm(chunk, chunk.remaining)
        assert self.spool.undelivered == 0
        self.spool.checkpoint()
        self.spool.checkpoint()
        self.spool.trim()
        segments = [name.partition("-")[0] for name in self.disk.names if name.endswith(".seg")]
        assert len(segments) == len(set(segments)), "of each class only the newest segment is left"

    def drain(self) -> None:
        for _ in range(3):  # a gap found in one round is recorded and read in the next
            if self.spool.must_commit:
                self.spool.commit()
            for storage_class in StorageClass:
                while self.take(storage_class, True) or self.take(storage_class, False):
                    pass

    def check_losses(self) -> None:
        """Nothing is given up but for space and age, and each loss says why and how much."""
        reasons = {Reason.CORRUPT}
        reasons |= {Reason.EVICTED} if self.limits.bytes_max < ROOMY.bytes_max else set()
        reasons |= {Reason.EXPIRED} if self.limits.signals_age_s is not None else set()
        assert {gap.reason for gap in self.gaps} <= reasons
        assert all(gap.record_count > 0 for gap in self.gaps if gap.reason is not Reason.CORRUPT)
        if reasons == {Reason.CORRUPT}:
            # an append that a power cut tore may look like damage; it names nothing that was acknowledged
            named = {number for number in self.committed if self.is_named(number)}
            assert not named, f"named as lost: {named}"
