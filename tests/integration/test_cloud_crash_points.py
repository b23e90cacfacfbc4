"""A worker that dies before or after any of its side effects, at each one there is: what is left is always the same."""

import itertools
import random
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest

from cloud.cache import Cache
from cloud.effects import Outgoing
from cloud.inbox import Record
from cloud.linker import Linker
from cloud.metrics import Metrics
from cloud.picking import Picker
from cloud.processor import Processor
from cloud.store import Store
from tests.cloud_worker import Drawer, World, fact
from tests.cloud_world import NOW_MS, frame, record

SPEED = "Vehicle.Speed"
COOLANT = "Vehicle.Powertrain.CombustionEngine.EngineCoolant.Temperature"
Place = tuple[str, int]


class KilledError(Exception):
    """The process dies here."""


class Fate:
    """Kills at the n-th side effect, before or after it; `None`: never. Dead processes do nothing more."""

    def __init__(self, at: int | None, after: bool = False) -> None:
        self._at, self._after = at, after
        self.passed = 0
        self.dead = False

    def at(self, effect: Any) -> Any:
        if self.dead:
            raise KilledError
        self.passed += 1
        if self.passed == self._at and not self._after:
            self._die()
        result = effect()
        if self.passed == self._at:
            self._die()
        return result

    def _die(self) -> None:
        self.dead = True
        raise KilledError


class MortalStore(Store):
    """Every exchange with MongoDB is a point."""

    def __init__(self, world: World, fate: Fate) -> None:
        super().__init__(world.client, world.settings, lambda: None)
        self.fate = fate

    def load(self, asset_ids: Any) -> Any:
        return self.fate.at(lambda: super(MortalStore, self).load(asset_ids))

    def _together(self, several: Any) -> Any:
        return self.fate.at(lambda: super(MortalStore, self)._together(several))

    def _bulk(self, collection: str, writes: Any) -> Any:
        return self.fate.at(lambda: super(MortalStore, self)._bulk(collection, writes))


class MortalOutlet:
    """Every record and every flush is a point. What is not flushed dies with the process, as in Kafka's client."""

    def __init__(self, drawer: Drawer, fate: Fate) -> None:
        self._drawer, self._fate = drawer, fate
        self._held: list[Outgoing] = []

    def send(self, outgoing: Outgoing) -> None:
        self._fate.at(lambda: self._held.append(outgoing))

    def flush(self) -> None:
        def deliver() -> None:
            for outgoing in self._held:
                self._drawer.send(outgoing)
            self._held.clear()

        self._fate.at(deliver)


class Log:
    """Partitions, and a group's offsets in them, which outlive the workers."""

    def __init__(self, records: list[Record]) -> None:
        self.partitions: dict[Place, list[Record]] = {}
        for one in records:
            self.partitions.setdefault((one.topic, one.partition), []).append(one)
        self.committed: dict[Place, int] = dict.fromkeys(self.partitions, 0)

    @property
    def drained(self) -> bool:
        return all(self.committed[place] == records[-1].offset + 1 for place, records in self.partitions.items())


class Reader:
    """One worker's source: reads on from what is committed, in cuts of its own."""

    def __init__(self, log: Log, fate: Fate, chance: random.Random) -> None:
        self._log, self._fate, self._chance = log, fate, chance
        self._next = dict(log.committed)
        self.lost_ownership = True

    def poll(self, patient: bool = True) -> list[Record]:
        polled: list[Record] = []
        for place, records in self._log.partitions.items():
            waiting = [one for one in records if one.offset >= self._next[place]]
            taken = waiting[: self._chance.randint(0, 3)]
            if taken:
                self._next[place] = taken[-1].offset + 1
                polled += taken
        return polled

    def done(self, records: list[Record]) -> None:
        def commit() -> None:
            for one in records:
                self._log.committed[one.topic, one.partition] = one.offset + 1

        self._fate.at(commit)

    def owns(self, place: Place) -> bool:
        return True

    def hold_back(self, places: set[Place]) -> None:
        pass

    def keep_alive(self) -> None:
        pass

    def lag_records(self) -> int:
        return 0


def work(world: World, log: Log, fate: Fate, chance: random.Random) -> float:
    """A worker's life, to the end of the log or to its own. Returns how many frames were folded plainly."""
    store = MortalStore(world, fate)
    outlet = MortalOutlet(world.drawer, fate)
    reader = Reader(log, fate, chance)
    linker, cache, metrics = Linker(store, lambda: NOW_MS), Cache(4), Metrics()
    picker = Picker(cache.at_hand, few=1)
    worker = Processor(reader, outlet, store, linker, cache, metrics, picker=picker)  # type: ignore[arg-type]  # same verbs
    try:
        while not log.drained:
            worker.advance()
    finally:
        worker._aside.close()
    return metrics.folded_plainly._value.get()


def story() -> list[Record]:
    """Assets that overheat, re-send, reset, die and are sold, with poison between, on three topics."""
    trip = {"v": 1, "type": "trip", "ts": NOW_MS, "session": "s", "seq": 0, "trip_id": "t", "distance_m": 1.0}
    trip |= {"started_ms": NOW_MS, "ended_ms": NOW_MS + 1}
    birth = {"v": 1, "online": True, "session": "s", "ts": NOW_MS}
    role = {"role_id": "r", "asset_id": "a", "customer_id": "c", "role": "owner", "from_ms": NOW_MS - 9}

    def hot(first: int, count: int, temperature: float = 113.0) -> list[bytes]:
        return [
            frame(NOW_MS + seq * 60_000, {SPEED: seq, COOLANT: temperature}, "s", seq)
            for seq in range(first, first + count)
        ]

    def steady(asset_id: str, seq: int, offset: int) -> Record:
        said = frame(NOW_MS + seq * 1_000, {SPEED: seq + 0.5, COOLANT: 80.0 + seq}, "s", seq)
        return record(asset_id, [said], offset, partition=1, received_ms=[NOW_MS + seq * 1_000])

    bare = [frame(NOW_MS + n, {SPEED: n}, None, None) for n in range(3)]
    return [
        record("a", hot(0, 3), 0),
        record("b", [*bare, b"junk"], 1),
        record("a", hot(2, 4), 2),
        record("a", [*hot(8, 2), *hot(6, 1)], 3),
        record("b", bare, 4, first_sequence=100),
        record("a", hot(10, 8, temperature=80.0), 5),
        Record("fleet.signals.v1", "g1", 0, 6, b"a", b"poison", NOW_MS),
        record("a", hot(18, 6), 7),
        *[steady("xyz"[place % 3], place // 3, place) for place in range(18)],
        record("a", [bytes(msgpack.packb(trip))], 0, channel="events"),
        record("a", [bytes(msgpack.packb(birth))], 0, channel="connection"),
        fact("asset.roles.v1", "a", {**role, "recorded_ms": NOW_MS}, 0),
        fact("asset.roles.v1", "b", {**role, "recorded_ms": NOW_MS}, 1),
    ]


def left(world: World) -> dict[str, Any]:
    """All that the workers leave. How often a document was written, and the order of its bookkeeping, say nothing."""

    def plain(document: dict[str, Any]) -> dict[str, Any]:
        kept = {name: value for name, value in document.items() if name not in ("revision", "link")}
        for listed in ("positions", "windows") if "fold" in kept else ():
            kept["fold"] = {**kept["fold"], listed: sorted(kept["fold"].get(listed, []), key=str)}
        return kept

    found: dict[str, Any] = {
        name: list(map(plain, world.all(name))) for name in ("twins", "events", "anomalies", "asset_roles")
    }
    found["told"] = sorted({(one.topic, dict(one.headers)["ce_id"], one.value) for one in world.drawer.records})
    return found


@pytest.fixture(params=[1, 1_000], ids=["together", "apart"])
def world(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, mongodb_uri: str, mongo_database: str
) -> Iterator[World]:
    """Twins are written in one transaction, or each on its own."""
    monkeypatch.setattr(Store, "together_min", request.param)
    made = World(mongodb_uri, mongo_database)
    yield made
    made.client.close()


def clear(world: World) -> None:
    for name in ("twins", "events", "anomalies", "asset_roles", "customers"):
        world.store.database[name].delete_many({})
    world.drawer.records.clear()


def test_a_crash_at_any_point_leaves_what_there_would_be_without_it(world: World) -> None:
    """Before and after each exchange with MongoDB and Kafka, one after the other until there is no further one; the
    next worker cuts the log differently."""
    assert work(world, Log(story()), Fate(None), random.Random(0)) > 0
    calm = left(world)
    assert len(calm["anomalies"]) == 1
    assert {topic for topic, *_ in calm["told"]} == {"fleet.signals.v1.dlq", "twin.anomalies.v1", "asset.roles.v1.dlq"}
    survived = beyond = 0
    for number, after in ((number, after) for number in itertools.count(1) for after in (False, True)):
        clear(world)
        log, fate, chance = Log(story()), Fate(number, after), random.Random(number)
        try:
            work(world, log, fate, chance)
        except KilledError:
            work(world, log, Fate(None), chance)
        assert left(world) == calm, f"killed {'after' if after else 'before'} point {number}"
        survived += fate.dead
        beyond += not fate.dead  # how many points there are depends on the cuts
        if beyond == 10:
            break
    assert survived > 50, "there were more points than that"


def test_crashes_on_crashes_leave_what_there_would_be_without_them(world: World) -> None:
    """Each worker dies somewhere in what the one before has left."""
    work(world, Log(story()), Fate(None), random.Random(0))
    calm = left(world)
    for seed in range(15):
        clear(world)
        chance, log = random.Random(seed), Log(story())
        while not log.drained:
            try:
                work(world, log, Fate(chance.randint(1, 25), chance.random() < 0.5), chance)
            except KilledError:
                continue
        assert left(world) == calm, f"seed {seed}"


def test_two_workers_on_the_same_partitions_leave_what_one_would(world: World) -> None:
    """Both read everything, in turns that interleave: the one that is second finds that it lost, and folds again."""
    work(world, Log(story()), Fate(None), random.Random(0))
    calm = left(world)
    for seed in range(8):
        clear(world)
        chance = random.Random(seed)
        logs = [Log(story()), Log(story())]
        workers = []
        for log in logs:
            reader = Reader(log, Fate(None), random.Random(chance.random()))
            store = Store(world.client, world.settings, lambda: None)
            linker = Linker(store, lambda: NOW_MS)
            cache = Cache(100)
            picker = Picker(cache.at_hand, few=1)
            workers.append(Processor(reader, world.drawer, store, linker, cache, Metrics(), picker=picker))  # type: ignore[arg-type]  # same verbs
        while not all(log.drained for log in logs):
            workers[chance.randint(0, 1)].advance()
        assert left(world) == calm, f"seed {seed}"
