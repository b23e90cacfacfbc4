"""The spool against a model: random operations, errors and crashes, and a crash at every operation of the disk."""

import os
import random
from typing import ClassVar

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from edge.spool.records import StorageClass
from edge.spool.spool import Limits
from tests.edge_model import CROWDED, HARD_PRESSED, ROOMY, SHORT_LIVED, Batch, Model
from wire.topics import Channel

_CHANNELS = st.sampled_from([Channel.SIGNALS, Channel.EVENTS])
_BATCHES = st.lists(st.tuples(_CHANNELS, st.integers(0, 300), st.integers(1, 3)), min_size=1, max_size=6)
_CLASSES = st.sampled_from(StorageClass)
_EXAMPLES = int(os.environ.get("EDGE_SPOOL_EXAMPLES", "40"))
_SEEDS = int(os.environ.get("EDGE_SPOOL_SEEDS", "2"))


class RoomySpool(RuleBasedStateMachine):
    """Lets hypothesis choose."""

    limits: ClassVar[Limits] = ROOMY

    @initialize(seed=st.integers(0, 2**32))
    def start(self, seed: int) -> None:
        self.model = Model(self.limits, seed)

    @rule(batch=_BATCHES, crash_in=st.none() | st.integers(1, 12))
    def append(self, batch: Batch, crash_in: int | None) -> None:
        self.model.append(batch, crash_in)

    @rule(batch=_BATCHES, fail_in=st.integers(1, 10), failures=st.integers(1, 3))
    def append_with_disk_errors(self, batch: Batch, fail_in: int, failures: int) -> None:
        self.model.append_with_disk_errors(batch, fail_in, failures)

    @rule(storage_class=_CLASSES, backlog=st.booleans(), crash_in=st.none() | st.integers(1, 4))
    def read(self, storage_class: StorageClass, backlog: bool, crash_in: int | None) -> None:
        self.model.guarded(lambda: self.model.take(storage_class, backlog), crash_in)

    @rule(storage_class=_CLASSES)
    def split(self, storage_class: StorageClass) -> None:
        self.model.spool.split(storage_class)

    @precondition(lambda self: self.model.chunks)
    @rule(data=st.data())
    def confirm(self, data: st.DataObject) -> None:
        chunk = self.model.chunks[data.draw(st.integers(0, len(self.model.chunks) - 1))]
        self.model.confirm(chunk, data.draw(st.integers(0, chunk.remaining)))

    @rule(storage_class=_CLASSES)
    def deliver_all(self, storage_class: StorageClass) -> None:
        self.model.deliver_all(storage_class)

    @rule(crash_in=st.none() | st.integers(1, 8))
    def upkeep(self, crash_in: int | None) -> None:
        self.model.guarded(self.model.upkeep, crash_in)

    @rule()
    def trim(self) -> None:
        self.model.spool.trim()

    @rule(seconds=st.integers(1, 90))
    def wait(self, seconds: int) -> None:
        self.model.clock.advance_ms(seconds * 1000)

    @rule()
    def rewind(self) -> None:
        self.model.rewind()

    @rule(crash_in=st.none() | st.integers(1, 20))
    def restart(self, crash_in: int | None) -> None:
        self.model.guarded(self.model.restart, crash_in)

    @rule()
    def power_cut(self) -> None:
        self.model.power_cut()

    @invariant()
    def undelivered_is_what_is_durable_and_unconfirmed_at_least(self) -> None:
        if self.limits is ROOMY:
            assert self.model.spool.undelivered >= len(self.model.committed - self.model.confirmed)

    def teardown(self) -> None:
        if hasattr(self, "model"):
            self.model.finish()


class CrowdedSpool(RoomySpool):
    """So little space that segments are evicted all the time."""

    limits = CROWDED


class ShortLivedSpool(RoomySpool):
    """Ages so small that segments expire."""

    limits = SHORT_LIVED


_OFTEN = settings(max_examples=_EXAMPLES, stateful_step_count=30, deadline=None)
TestRoomySpool = RoomySpool.TestCase
TestRoomySpool.settings = _OFTEN
TestCrowdedSpool = CrowdedSpool.TestCase
TestCrowdedSpool.settings = _OFTEN
TestShortLivedSpool = ShortLivedSpool.TestCase
TestShortLivedSpool.settings = _OFTEN


def step(model: Model, chance: random.Random) -> None:
    """One of the things that an agent does, a little of everything."""
    channel = chance.choice([Channel.SIGNALS, Channel.SIGNALS, Channel.EVENTS])
    batch = [(channel, chance.randint(0, 300), chance.randint(1, 3)) for _ in range(chance.randint(1, 4))]
    storage_class, backlog = chance.choice(list(StorageClass)), chance.random() < 0.5
    model.clock.advance_ms(1000 * chance.randint(0, 40))
    match chance.choice(
        ["append"] * 5 + ["fail", "read", "read", "read", "confirm", "upkeep", "upkeep", "split", "rare"]
    ):
        case "append":
            model.append(batch)
        case "fail":
            model.append_with_disk_errors(batch, chance.randint(1, 8), chance.randint(1, 2))
        case "read":
            model.guarded(lambda: model.take(storage_class, backlog))
        case "confirm":
            for chunk in list(model.chunks):
                model.confirm(chunk, chance.randint(0, chunk.remaining))
        case "upkeep":
            model.guarded(model.upkeep)
        case "split":
            model.spool.split(storage_class)
        case _:
            model.guarded(chance.choice([model.restart, model.rewind, lambda: model.deliver_all(storage_class)]))


def walk(limits: Limits, seed: int, crash_at: int | None) -> Model:
    """Some steps, the same for a seed up to the crash; judged at the end."""
    model = Model(limits, seed, crash_at)
    chance = random.Random(seed)
    for _ in range(40):
        step(model, chance)
    model.disk.crash_at = None
    operations = model.disk.operations
    model.finish()
    model.disk.operations = operations
    return model


_LIMITS = {"roomy": ROOMY, "crowded": CROWDED, "short-lived": SHORT_LIVED, "hard-pressed": HARD_PRESSED}


@pytest.mark.parametrize("limits", _LIMITS.values(), ids=_LIMITS)
@pytest.mark.parametrize("seed", range(_SEEDS))
def test_a_crash_at_any_operation_of_the_disk_breaks_no_law(limits: Limits, seed: int) -> None:
    operations = walk(limits, seed, None).disk.operations
    assert operations > 50
    for crash_at in range(1, operations + 1):
        try:
            walk(limits, seed, crash_at)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, crash at operation {crash_at}: {error}") from error
