"""Twins written together in one transaction, on a real MongoDB: who else writes at that moment loses nothing."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgpack
import pytest

from cloud import mongo
from cloud.changes import Change
from cloud.inbox import Record
from cloud.mongo import Written
from cloud.store import Store
from tests.cloud_worker import World
from tests.cloud_world import NOW_MS, frame, record

SPEED = "Vehicle.Speed"
ASSETS = tuple(f"car-{number:02}" for number in range(20))


@pytest.fixture
def world(mongodb_uri: str, mongo_database: str) -> Iterator[World]:
    made = World(mongodb_uri, mongo_database)
    yield made
    made.client.close()


def turn(number: int, speed: float = 1.0) -> list[Record]:
    return [record(asset, [frame(NOW_MS + number, {SPEED: speed}, "s", number)], number) for asset in ASSETS]


def warming(number: int, temperature: float) -> list[Record]:
    """The coolant of every car, a minute after the last time."""
    values = {SPEED: 50.0, "Vehicle.Powertrain.CombustionEngine.EngineCoolant.Temperature": temperature}
    return [record(asset, [frame(NOW_MS + number * 60_000, values, "s", number)], number) for asset in ASSETS]


def committed(world: World) -> int:
    return int(world.client.admin.command("serverStatus")["transactions"]["totalCommitted"])


class Meddled(Store):
    """Somebody else does something at some moment of each transaction."""

    def __init__(self, world: World, meddle: Callable[[], None]) -> None:
        super().__init__(world.client, world.settings, lambda: None)
        self._meddle = meddle

    def _together(self, several: Sequence[Change]) -> list[int] | None:
        self._meddle()
        return super()._together(several)


def frames(world: World) -> dict[str, int]:
    return {twin["_id"]: twin["counters"]["frames"] for twin in world.all("twins")}


def test_the_twins_of_a_turn_are_one_transaction(world: World) -> None:
    """But for those that are new, or that questions have to find elsewhere from now on."""
    before = committed(world)
    world.fold(turn(0), turn(1), turn(2))
    assert committed(world) - before == 2
    world.fold([*turn(3)[:-1], record(ASSETS[-1], [frame(NOW_MS + 3, {SPEED: 1.0}, "t", 0)], 3)])
    assert committed(world) - before == 3
    assert (frames(world), world.store.apart) == (dict.fromkeys(ASSETS, 4), 0)


def test_two_workers_that_both_make_a_twin_make_one(world: World) -> None:
    """Neither finds a document; whose insertion comes second folds again on the first one's."""
    other = world.worker([record("a", [frame(NOW_MS, {SPEED: 1.0}, "s", 0)], 0, partition=1)])

    class Late(Store):
        def write_twins(self, several: Sequence[Change]) -> Written:
            if not world.all("twins"):
                other.turn()
            return super().write_twins(several)

    late = Late(world.client, world.settings, lambda: None)
    world.worker([record("a", [frame(NOW_MS + 1, {SPEED: 1.0}, "t", 0)], 0)], at=late).turn()
    assert (world.twin()["counters"]["frames"], world.twin()["revision"]) == (2, 2)


def test_twins_that_somebody_else_wrote_are_folded_again_and_only_those(world: World) -> None:
    other = world.worker([record(ASSETS[3], [frame(NOW_MS + 1, {SPEED: 9.0}, "t", 0)], 1)])

    def meddle() -> None:
        if frames(world)[ASSETS[3]] == 1:
            other.turn()

    at = Meddled(world, meddle)
    worker = world.worker(turn(0), turn(2), at=at)
    world.fold(turn(0))
    worker.turn()
    worker.turn()
    assert frames(world) == dict.fromkeys(ASSETS, 2) | {ASSETS[3]: 3}
    assert at.apart == 0, "what is behind is seen before it is written"
    revisions = {twin["_id"]: twin["revision"] for twin in world.all("twins")}
    assert revisions == dict.fromkeys(ASSETS, 2) | {ASSETS[3]: 3}


def test_a_write_of_somebody_else_that_is_not_finished_is_waited_for(world: World) -> None:
    """The transaction fails at once; each twin on its own waits for the other."""
    world.fold(turn(0))
    twins = world.client[world.settings.database]["twins"]
    with world.client.start_session() as session:
        session.start_transaction()
        twins.update_one({"_id": ASSETS[5]}, {"$set": {"attributes": {"model": "Two"}}}, session=session)
        finish = threading.Timer(0.5, session.commit_transaction)
        finish.start()
        world.fold(turn(1))
        finish.join()
    assert world.store.apart == 1
    assert frames(world) == dict.fromkeys(ASSETS, 2)
    assert world.twin(ASSETS[5])["attributes"] == {"model": "Two"}


def test_one_twin_that_the_server_refuses_does_not_hold_up_the_others(world: World) -> None:
    world.fold(turn(0))
    database = world.store.database
    validator = database["twins"].options()["validator"]
    refused = {"$or": [{"_id": {"$ne": ASSETS[7]}}, {"counters.frames": 1}]}
    database.command("collMod", "twins", validator=refused)
    try:
        world.fold(turn(1))
    finally:
        database.command("collMod", "twins", validator=validator)
    assert frames(world) == dict.fromkeys(ASSETS, 2) | {ASSETS[7]: 1}
    (letter,) = [dict(one.headers) for one in world.drawer.records if one.topic.endswith(".dlq")]
    assert (letter["dlq_reason"], letter["ce_subject"]) == (b"refused_by_database", ASSETS[7].encode())


def test_a_twin_whose_document_is_gone_is_made_again(world: World) -> None:
    worker = world.worker(turn(0), turn(1))
    worker.turn()
    world.store.database["twins"].delete_one({"_id": ASSETS[1]})
    worker.turn()
    assert frames(world) == dict.fromkeys(ASSETS, 2) | {ASSETS[1]: 1}


def test_what_is_written_bit_by_bit_is_what_is_written_at_once(world: World) -> None:
    """Each write leaves out what the document has: the sum of all is the same document, also while cars are born,
    overheat, cool down and go offline."""
    turns: list[Any] = [warming(number, 113.0 if 2 <= number < 10 else 80.0) for number in range(20)]
    for number, online in ((1, True), (19, False)):
        state = bytes(msgpack.packb({"v": 1, "online": online, "session": "s", "ts": NOW_MS + number}))
        turns[number] += [record(asset, [state], number, channel="connection") for asset in ASSETS]
    shown = set()
    worker = world.worker(*turns)
    for _ in turns:
        worker.turn()
        shown.add(world.twin(ASSETS[0])["health"]["status"])
    piecemeal = world.all("twins")
    assert shown == {"ok", "service"}
    world.store.database["twins"].delete_many({})
    world.fold([one for several in turns for one in several])
    at_once = world.all("twins")
    assert [one["revision"] for one in piecemeal] == [20] * len(ASSETS)
    for document in (*piecemeal, *at_once):
        document.pop("revision")
        document["fold"].pop("positions")
    assert piecemeal == at_once


def test_many_twins_are_written_in_two_lanes_and_each_is_told_apart(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New ones, steady ones, one that somebody else wrote, one that the server refuses: by the right asset."""
    monkeypatch.setattr("cloud.store._LANE_MIN", 5)
    before = committed(world)
    worker = world.worker(turn(0), turn(1), turn(2), turn(3))
    worker.turn()
    worker.turn()
    assert committed(world) - before == 2
    world.fold([record(ASSETS[4], [frame(NOW_MS + 9, {SPEED: 9.0}, "t", 0)], 2)])
    worker.turn()
    assert frames(world) == dict.fromkeys(ASSETS, 3) | {ASSETS[4]: 3}
    database = world.store.database
    validator = database["twins"].options()["validator"]
    database.command("collMod", "twins", validator={"$or": [{"_id": {"$ne": ASSETS[7]}}, {"counters.frames": 3}]})
    try:
        worker.turn()
    finally:
        database.command("collMod", "twins", validator=validator)
    assert frames(world) == dict.fromkeys(ASSETS, 4) | {ASSETS[7]: 3}
    (letter,) = [dict(one.headers) for one in world.drawer.records if one.topic.endswith(".dlq")]
    assert letter["ce_subject"] == ASSETS[7].encode()


def test_a_transaction_that_nobody_ends_does_not_hold_its_twins(world: World) -> None:
    """As one of a worker that was killed in the middle: MongoDB itself would keep it for a minute."""
    world.fold(turn(0))
    killed = mongo.connect(world.settings)
    session = killed.start_session()
    session.start_transaction()
    twins = killed[world.settings.database]["twins"]
    twins.update_one({"_id": ASSETS[3]}, {"$set": {"revision": 100}}, session=session)
    began_s = time.monotonic()
    world.fold(turn(1))
    assert time.monotonic() - began_s < 30
    assert frames(world) == dict.fromkeys(ASSETS, 2)
    assert world.all("twins")[3]["revision"] == 2
    killed.close()
