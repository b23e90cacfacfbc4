"""The spool against a model, with a crash at any operation of the disk.

Laws, per class: what `commit` returned for is read after every start, once, until it is confirmed; what is not, is
named by a gap record; nothing is read that was never staged. A record belongs to one stream for ever, and each stream
is read in order.
"""

import contextlib
import errno
import itertools
import random
from collections import defaultdict
from collections.abc import Callable

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from edge.spool.files import GapName
from edge.spool.reader import Chunk
from edge.spool.records import Bundle, Gap, Record, StorageClass
from edge.spool.spool import Limits, Spool
from tests.edge_disk import Crash, MemoryDisk, bundle, numbers_of, open_spool
from wire.topics import Channel

_CHANNELS = st.sampled_from([Channel.SIGNALS, Channel.EVENTS])
_BATCHES = st.lists(st.tuples(_CHANNELS, st.integers(0, 300), st.integers(1, 3)), min_size=1, max_size=6)
"""Channel, size and number of the payloads of a bundle."""
_CLASS_OF = {Channel.SIGNALS: StorageClass.SIGNALS, Channel.EVENTS: StorageClass.EVENTS}


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


class SpoolModel(RuleBasedStateMachine):
    """Keeps what was staged, committed, confirmed and read, by number of message."""

    limits = Limits(bytes_max=100_000_000, segment_bytes=700, read_bytes=300)
    evicts = False

    @initialize(seed=st.integers(0, 2**32))
    def start(self, seed: int) -> None:
        self.disk = MemoryDisk(chance=random.Random(seed))
        self.sequence_of: dict[int, int] = {}
        self.class_of: dict[int, StorageClass] = {}
        self.committed: set[int] = set()
        self.confirmed: set[int] = set()
        self.stream_of: dict[int, int] = {}
        self.gaps: set[Gap] = set()
        self.staged_gaps: dict[Record, int] = {}
        self.open()

    def open(self) -> None:
        self.spool: Spool = open_spool(self.disk, self.limits)
        self.watch_gaps()
        self.read_now: defaultdict[tuple[StorageClass, int], list[int]] = defaultdict(list)
        self.due = self.committed - self.confirmed
        self.chunks: list[Chunk] = []

    def watch_gaps(self) -> None:
        """Note each gap record with the sequence that it gets: gap records can be evicted as well."""
        stage = self.spool._stage

        def watching(storage_class: StorageClass, members: list[Record], gaps: tuple[GapName, ...] = ()) -> None:
            if gaps:
                self.staged_gaps.update(zip(members, itertools.count(self.spool._next_sequence), strict=False))
            stage(storage_class, members, gaps)

        self.spool._stage = watching  # type: ignore[method-assign] # only to look on

    def guarded(self, action: Callable[[], object], crash_in: int | None = None) -> bool:
        """Run until the end or until a crash `crash_in` operations ahead; after a crash, start again."""
        self.disk.crash_at = None if crash_in is None else self.disk.operations + crash_in
        try:
            action()
        except Crash:
            self.disk = self.disk.after_crash()
            self.open()
            return False
        self.disk.crash_at = None
        return True

    def stage(self, batch: list[tuple[Channel, int, int]]) -> list[int]:
        first = len(self.class_of)
        bundles: dict[StorageClass, list[Bundle]] = {each: [] for each in StorageClass}
        for channel, size, count in batch:
            numbers = list(range(len(self.class_of), len(self.class_of) + count))
            self.class_of.update(dict.fromkeys(numbers, _CLASS_OF[channel]))
            bundles[_CLASS_OF[channel]].append(bundle(numbers, channel, size=size))
        self.spool.stage([each for members in bundles.values() for each in members])
        for part in self.spool._staged:
            members = [number for each in bundles[part.storage_class] for number in numbers_of(each)]
            self.sequence_of.update(zip(members, range(part.first_sequence, part.first_sequence + 999), strict=False))
        return list(range(first, len(self.class_of)))

    @rule(batch=_BATCHES, crash_in=st.none() | st.integers(1, 12))
    def append(self, batch: list[tuple[Channel, int, int]], crash_in: int | None) -> None:
        numbers = self.stage(batch)
        if self.guarded(self.spool.commit, crash_in):
            self.committed.update(numbers)
            self.due.update(numbers)

    @rule(batch=_BATCHES, fail_in=st.integers(1, 10), failures=st.integers(1, 3))
    def append_with_disk_errors(self, batch: list[tuple[Channel, int, int]], fail_in: int, failures: int) -> None:
        numbers = self.stage(batch)
        failing = itertools.count(1 - fail_in)

        def fault(operation: str, name: str) -> None:
            if 0 <= next(failing) < failures:
                raise OSError(errno.EIO, operation, name)

        self.disk.fault = fault
        while self.spool.is_staged:
            with contextlib.suppress(OSError):
                self.spool.commit()
        self.disk.fault = None
        self.committed.update(numbers)
        self.due.update(numbers)

    @rule(storage_class=st.sampled_from(StorageClass), backlog=st.booleans(), crash_in=st.none() | st.integers(1, 4))
    def read(self, storage_class: StorageClass, backlog: bool, crash_in: int | None) -> None:
        self.guarded(lambda: self.take(storage_class, backlog), crash_in)

    @rule(storage_class=st.sampled_from(StorageClass))
    def split(self, storage_class: StorageClass) -> None:
        self.spool.split(storage_class)

    def take(self, storage_class: StorageClass, backlog: bool) -> bool:
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

    @precondition(lambda self: self.chunks)
    @rule(data=st.data())
    def confirm(self, data: st.DataObject) -> None:
        chunk = self.chunks.pop(data.draw(st.integers(0, len(self.chunks) - 1)))
        part = data.draw(st.integers(0, chunk.remaining))
        start = chunk.count - chunk.remaining
        self.confirmed.update(each for _, each in flat(chunk)[start : start + part] if isinstance(each, int))
        self.spool.confirm(chunk, part)
        if chunk.remaining:
            self.chunks.append(chunk)

    @rule(storage_class=st.sampled_from(StorageClass))
    def deliver_all(self, storage_class: StorageClass) -> None:
        while self.take(storage_class, True) or self.take(storage_class, False):
            pass
        for chunk in [each for each in self.chunks if each.storage_class is storage_class]:
            self.confirmed.update(each for _, each in flat(chunk) if isinstance(each, int))
            self.spool.confirm(chunk, chunk.remaining)
            self.chunks.remove(chunk)

    @rule(crash_in=st.none() | st.integers(1, 8))
    def checkpoint(self, crash_in: int | None) -> None:
        def upkeep() -> None:
            if self.spool.must_commit:
                self.spool.commit()
            self.spool.checkpoint()
            self.spool.trim()

        self.guarded(upkeep, crash_in)

    @rule()
    def trim(self) -> None:
        self.spool.trim()

    @rule()
    def rewind(self) -> None:
        self.spool.rewind()
        self.read_now.clear()
        self.due = self.committed - self.confirmed
        self.chunks.clear()

    @rule(crash_in=st.none() | st.integers(1, 20))
    def restart(self, crash_in: int | None) -> None:
        self.spool.close()
        self.guarded(self.open, crash_in)

    @rule()
    def power_cut(self) -> None:
        self.disk = self.disk.after_crash()
        self.open()

    def is_named(self, number: int) -> bool:
        return self.in_a_gap(self.class_of[number], self.sequence_of[number], set(self.gaps))

    def in_a_gap(self, storage_class: StorageClass, sequence: int, gaps: set[Gap]) -> bool:
        """Whether a gap record names it that was read, or one that is itself named by such a record."""
        if any(g.storage_class is storage_class and g.first_sequence <= sequence <= g.last_sequence for g in gaps):
            return True
        return any(
            gap.storage_class is storage_class
            and gap.first_sequence <= sequence <= gap.last_sequence
            and gap not in gaps
            and at > sequence
            and self.in_a_gap(StorageClass.EVENTS, at, gaps)
            for gap, at in self.staged_gaps.items()
            if isinstance(gap, Gap)
        )

    @invariant()
    def undelivered_is_what_is_durable_and_unconfirmed_at_least(self) -> None:
        if not self.evicts:
            assert self.spool.undelivered >= len(self.committed - self.confirmed)

    def teardown(self) -> None:
        if not hasattr(self, "spool"):
            return
        self.drain()
        missing = {n for n in self.due - set().union(*self.read_now.values()) if not self.is_named(n)}
        assert not missing, f"neither read nor named: {missing}"
        self.check_losses()
        for chunk in self.chunks:
            self.spool.confirm(chunk, chunk.remaining)
        assert self.spool.undelivered == 0
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
        assert not self.gaps, "nothing is lost without a limit"


class EvictingModel(SpoolModel):
    """As above with so little space that segments are evicted all the time."""

    limits = Limits(bytes_max=2_800, segment_bytes=700, read_bytes=300)
    evicts = True

    def check_losses(self) -> None:
        signals = [gap for gap in self.gaps if gap.storage_class is StorageClass.SIGNALS]
        events = [gap for gap in self.gaps if gap.storage_class is StorageClass.EVENTS]
        assert all(gap.record_count > 0 for gap in signals + events)


TestSpool = SpoolModel.TestCase
TestSpool.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestEvictingSpool = EvictingModel.TestCase
TestEvictingSpool.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
