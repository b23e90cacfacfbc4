"""The handover from live twins to rebuilt ones, on a real MongoDB: whoever dies or sleeps, nobody waits for ever and
no late hand puts old twins in place."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import SecretStr
from pymongo.database import Database

from cloud import mongo, rebuild, rebuild_start, rebuilt, schema
from cloud.config import CloudSettings
from cloud.gate import CHECK_S, Gate
from cloud.handover import SHADOW_ANOMALIES, SHADOW_TWINS, Handover, LostError, Phase
from cloud.rebuild import Rebuild, StoppedError
from cloud.rebuild_start import RefusedError
from cloud.rebuilt import ShadowStore
from cloud.store import Store
from runtime.settings import MongoSettings

PLACES = [("fleet.signals.v1", 0)]
AT = datetime(2026, 1, 1, tzinfo=UTC)


class World:
    def __init__(self, uri: str, database: str) -> None:
        self.settings = MongoSettings(uri=SecretStr(uri), database=database, timeout_ms=5_000)
        self.client = mongo.connect(self.settings)
        self.live = Store(self.client, self.settings, lambda: None)
        schema.ensure(self.live.database)
        self.now_s = 0.0

    @property
    def database(self) -> Database[Any]:
        return self.live.database

    def gate(self) -> Gate:
        return Gate(self.database, lambda: self.now_s)

    def rebuilding(self) -> Handover:
        hand = Handover(self.database)
        hand.begin(None)
        shadow = ShadowStore(self.live, self.settings, lambda: None, hand.first_revision)
        shadow.prepare()
        return hand

    def expire(self) -> None:
        """The lease of whoever is at work is over."""
        self.database["control"].update_one({"_id": "rebuild"}, [{"$set": {"until": {"$subtract": ["$$NOW", 1]}}}])

    def phase(self) -> str:
        return str(Handover(self.database).state()["phase"])

    def put(self, collection: str, *documents: dict[str, Any]) -> None:
        options = self.client.get_database(self.database.name)
        options.command("insert", collection, documents=list(documents), bypassDocumentValidation=True)


class Mute:
    """Shows nothing."""

    def phase(self, text: str) -> None:
        pass

    def progress(self, done: int, total: int) -> None:
        pass


class NoLog:
    """A replay that has nothing to read."""

    def begin(self, start: Any) -> None:
        pass

    def keep_alive(self) -> None:
        pass


@pytest.fixture
def world(mongodb_uri: str, mongo_database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(rebuild_start, "offsets", lambda *_given: {})
    made = World(mongodb_uri, mongo_database)
    yield made
    made.client.close()


def test_a_gate_is_open_while_nothing_is_rebuilt_or_only_folded(world: World) -> None:
    gate = world.gate()
    assert not gate.closed()
    world.rebuilding()
    world.now_s += CHECK_S
    assert not gate.closed()


def test_workers_say_that_they_wait_and_go_on_after_the_swap(world: World) -> None:
    hand, gates = world.rebuilding(), {name: world.gate() for name in ("w-1", "w.2")}
    hand.pause()
    for name, gate in gates.items():
        assert gate.closed()
        assert gate.stand_by(name, PLACES)
        assert gate.stand_by(name, PLACES)
    assert {(one.member, one.partitions) for one in hand.paused()} == {(name, frozenset(PLACES)) for name in gates}
    assert gates["w-1"].stand_by("w-1", [])
    assert {one.member: one.partitions for one in hand.paused()}["w-1"] == frozenset()
    hand.swap()
    assert not gates["w-1"].stand_by("w-1", PLACES)
    assert world.phase() == Phase.SWAPPED
    hand.finish()
    assert world.phase() == Phase.IDLE


def test_workers_go_on_by_themselves_when_a_rebuild_dies_while_they_wait(world: World) -> None:
    hand, gate = world.rebuilding(), world.gate()
    hand.pause()
    assert gate.stand_by("w", PLACES)
    world.expire()
    assert not gate.stand_by("w", PLACES)
    with pytest.raises(LostError):
        hand.swap()
    with pytest.raises(LostError):
        hand.renew()


def test_a_rebuild_that_slept_at_the_swap_cannot_swap_any_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It had said that it swaps, and wakes after the workers went on: the rename must not happen."""
    world.put("twins", {"_id": "live"})
    hand, gate = world.rebuilding(), world.gate()
    hand.pause()
    command = type(world.client.admin).command

    def late(self: Any, name: str, *arguments: Any, **more: Any) -> Any:
        if name == "renameCollection":
            world.expire()
            assert not gate.stand_by("w", PLACES)
        return command(self, name, *arguments, **more)

    monkeypatch.setattr(type(world.client.admin), "command", late)
    with pytest.raises(LostError):
        hand.swap()
    assert world.database["twins"].find_one({"_id": "live"}) is not None
    assert world.phase() == Phase.IDLE


def test_a_rebuild_that_died_after_the_swap_is_known_to_have_swapped(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand, gate = world.rebuilding(), world.gate()
    world.put(SHADOW_TWINS, {"_id": "rebuilt"})
    hand.pause()
    mine = Handover._mine

    def dies(self: Handover, phases: Any, change: Any) -> None:
        if Phase.SWAPPED in phases:
            raise KeyboardInterrupt
        mine(self, phases, change)

    monkeypatch.setattr(Handover, "_mine", dies)
    with pytest.raises(KeyboardInterrupt):
        hand.swap()
    assert gate.stand_by("w", PLACES)
    world.expire()
    assert not gate.stand_by("w", PLACES)
    assert world.phase() == Phase.SWAPPED
    assert world.database["twins"].find_one({"_id": "rebuilt"}) is not None
    with pytest.raises(LostError):
        Handover(world.database).begin(None)
    Handover(world.database).take_over()


def test_a_rebuild_that_is_stopped_after_the_swap_leaves_the_rest_to_the_next_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anomalies that were found again are not thrown away: whoever rebuilds next brings them up to date first."""
    hand = world.rebuilding()
    world.put(SHADOW_TWINS, {"_id": "rebuilt"})
    stopped = False
    made = Rebuild(CloudSettings(), None, False, Mute(), lambda: stopped)

    def fold(*_given: Any) -> None:
        nonlocal stopped
        hand.pause()
        hand.swap()
        stopped = True

    monkeypatch.setattr(Rebuild, "_fold", fold)
    monkeypatch.setattr(rebuilt, "reconcile", lambda *_given: made._heed())
    with pytest.raises(StoppedError, match="are in place"):
        made._replace(None, hand, world.live)  # type: ignore[arg-type]  # nothing is folded here
    assert world.phase() == Phase.SWAPPED
    assert SHADOW_ANOMALIES in world.database.list_collection_names()


@pytest.mark.parametrize("step", ["prepare", "_catch_up", "_await_workers"])
def test_a_rebuild_that_fails_before_the_swap_leaves_nothing_behind(
    world: World, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    hand = world.rebuilding()

    def fails(*_given: Any, **_named: Any) -> None:
        raise ConnectionError

    for name in ("_catch_up", "_await_workers"):
        monkeypatch.setattr(Rebuild, name, fails if name == step else lambda *_given, **_named: None)
    monkeypatch.setattr(ShadowStore, "prepare", fails if step == "prepare" else lambda _self: None)
    made = Rebuild(CloudSettings(), None, False, Mute(), lambda: False)
    with pytest.raises(ConnectionError):
        made._replace(NoLog(), hand, world.live)  # type: ignore[arg-type]  # nothing is read here
    assert world.phase() == Phase.IDLE
    assert not [name for name in world.database.list_collection_names() if "rebuilt" in name]


class Group:
    """What a rebuild asks Kafka: who folds, and how far they have committed."""

    start = dict.fromkeys(PLACES, 0)

    def __init__(self, *members: str, answers: int = 0) -> None:
        self._members, self._moving = frozenset(members) or None, answers
        self.offset = 0

    def members(self) -> frozenset[str] | None:
        return self._members

    def committed(self) -> dict[tuple[str, int], int]:
        """Moves on while there is something to commit."""
        self._moving -= 1
        self.offset += self._moving > 0
        return dict.fromkeys(PLACES, self.offset)


@pytest.mark.parametrize("named", [True, False], ids=["named members", "a broker that names nobody"])
def test_a_swap_waits_until_every_worker_waits_and_nothing_more_is_committed(
    world: World, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    """Otherwise what a worker folds and commits in between would be in neither the old twins nor the new ones."""
    monkeypatch.setattr(rebuild, "_ANSWER_S", 0.05)
    monkeypatch.setattr(rebuild, "_PAUSE_LIMIT_S", 0.6)
    hand = world.rebuilding()
    hand.pause()
    made = Rebuild(CloudSettings(), None, False, Mute(), lambda: False)
    group = Group("w1", "w2", answers=6) if named else Group(answers=6)
    first, second = ([("fleet.events.v1", 0)], PLACES)
    assert world.gate().stand_by("w1", first)
    with pytest.raises(RefusedError, match="1 do"):
        made._await_workers(group, hand)  # type: ignore[arg-type]  # the two verbs that it asks
    assert world.gate().stand_by("w2", second)
    monkeypatch.setattr(rebuild, "_PAUSE_LIMIT_S", 20.0)
    made._await_workers(group, hand)  # type: ignore[arg-type]  # the two verbs that it asks
    assert group.offset == 5, "it waited until no offset moved any more"


def test_a_rebuild_that_was_taken_for_dead_leaves_the_next_ones_twins_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept = world.rebuilding()
    world.expire()
    world.rebuilding()
    world.put(SHADOW_TWINS, {"_id": "the next one's"})
    monkeypatch.setattr(ShadowStore, "prepare", lambda _self: slept.renew())
    with pytest.raises(LostError):
        Rebuild(CloudSettings(), None, False, Mute(), lambda: False)._replace(NoLog(), slept, world.live)  # type: ignore[arg-type]  # nothing is read here
    assert world.database[SHADOW_TWINS].find_one({"_id": "the next one's"}) is not None
    assert world.phase() == Phase.REBUILDING


def test_a_rebuild_that_died_while_the_workers_waited_makes_room_when_its_time_is_over(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if no worker is left that would go on by itself; and its twins are finished if they are in place."""
    world.rebuilding().pause()
    made = Rebuild(CloudSettings(), None, False, Mute(), lambda: False)
    monkeypatch.setattr(time, "sleep", lambda _s: world.expire())
    assert made._begin(Handover(world.database), world.live)
    world.expire()
    hand = world.rebuilding()
    world.put(SHADOW_TWINS, {"_id": "rebuilt"})
    hand.pause()
    hand.swap()
    assert not made._begin(Handover(world.database), world.live)


def test_only_one_rebuild_at_a_time_and_a_dead_one_makes_room(world: World) -> None:
    first = world.rebuilding()
    with pytest.raises(LostError):
        world.rebuilding()
    world.expire()
    second = world.rebuilding()
    assert second.first_revision > first.first_revision > 0
    with pytest.raises(LostError):
        first.pause()


def test_each_rebuild_begins_with_empty_collections(world: World) -> None:
    world.rebuilding()
    world.put(SHADOW_TWINS, {"_id": "left over"})
    world.expire()
    world.rebuilding()
    assert world.database[SHADOW_TWINS].count_documents({}) == 0


def anomaly(identity: str, revision: int, status: str = "open", **more: Any) -> dict[str, Any]:
    fields = {"kind": "vehicle", "detector": "d", "subject": "", "severity": "service", "summary": "", "opened": AT}
    return (
        {"_id": identity, "asset_id": identity[0], "status": status, "revision": revision, "last": AT} | fields | more
    )


def test_anomalies_follow_the_rebuilt_twins_and_acknowledgements_stay(world: World) -> None:
    """Found again: written, but stays acknowledged. Not found again: withdrawn. Of a twin that was not rebuilt: as it
    is. What the live fold wrote after the handover: as it is. And doing it twice changes nothing."""
    first = 2**40
    world.put("twins", {"_id": "a", "revision": first + 3}, {"_id": "b", "revision": 7})
    world.put(
        "anomalies",
        anomaly("a:seen", 5, "acknowledged", acknowledged_by="ann"),
        anomaly("a:gone", 5),
        anomaly("a:later", first + 9, severity="critical"),
        anomaly("b:kept", 5),
    )
    again = [anomaly("a:seen", first + 1, severity="watch"), anomaly("a:new", first + 1), anomaly("a:later", first)]
    for _ in range(2):
        world.put("anomalies_rebuilt", *again)
        written, withdrawn = rebuilt.reconcile(world.live, first, None)
        held = {one["_id"]: one for one in world.database["anomalies"].find()}
        assert held["a:seen"]["status"] == "acknowledged"
        assert (held["a:seen"]["acknowledged_by"], held["a:seen"]["severity"]) == ("ann", "watch")
        assert (held["a:gone"]["status"], held["a:gone"]["withdrawn"]) == ("resolved", True)
        assert held["a:new"]["status"] == held["b:kept"]["status"] == "open"
        assert (held["a:later"]["revision"], held["a:later"]["severity"]) == (first + 9, "critical")
    assert (written, withdrawn) == (3, 0)
