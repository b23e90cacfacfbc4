"""The twin service on a replica set of three whose primary is killed: what a majority has is there, once."""

import contextlib
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymongo
import pytest
from pymongo.errors import PyMongoError

from local import ports
from local.processes import Processes
from local.servers.mongo import Mongod
from tests.cloud_worker import World
from tests.cloud_world import NOW_MS, frame, record

SPEED = "Vehicle.Speed"
ASSETS = 12
TURNS = 300
KILLS = 2
LIMIT_S = 60.0


class Member(Mongod):
    """One of several; it answers before there is a primary."""

    def answers(self) -> bool:
        with contextlib.suppress(PyMongoError), self.client() as client:
            return bool(client.admin.command("ping"))
        return False

    def client(self) -> "pymongo.MongoClient[dict[str, Any]]":
        address = f"mongodb://127.0.0.1:{self.port}/?directConnection=true"
        return pymongo.MongoClient(address, serverSelectionTimeoutMS=1_000, connectTimeoutMS=1_000)

    @property
    def is_primary(self) -> bool:
        with contextlib.suppress(PyMongoError), self.client() as client:
            return bool(client.admin.command("hello").get("isWritablePrimary"))
        return False


@pytest.fixture
def members(processes: Processes, tmp_path: Path) -> Iterator[list[Member]]:
    several = [Member(processes, tmp_path / f"mongod-{n}", ports.free_port()) for n in range(3)]
    for member in several:
        member.start()
    with several[0].client() as client:
        hosts = [{"_id": n, "host": f"127.0.0.1:{member.port}"} for n, member in enumerate(several)]
        settings = {"electionTimeoutMillis": 1_000, "heartbeatIntervalMillis": 300}
        client.admin.command("replSetInitiate", {"_id": "rs0", "members": hosts, "settings": settings})
    primary_of(several)
    yield several
    for member in several:
        member.kill()  # asked to stop, the last two would wait for a majority


def primary_of(members: list[Member]) -> Member:
    deadline = time.monotonic() + LIMIT_S
    while True:
        for member in members:
            if member.running and member.is_primary:
                return member
        assert time.monotonic() < deadline, "no primary"
        time.sleep(0.1)


def test_a_primary_that_is_killed_again_and_again_takes_nothing_with_it(members: list[Member]) -> None:
    """Each time another one takes over while turns are in flight, and the killed one comes back to what it lacks."""
    uri = "mongodb://" + ",".join(f"127.0.0.1:{member.port}" for member in members) + "/?replicaSet=rs0"
    world = World(uri, "failover", timeout_ms=3_000)
    turns = [
        [record(f"car-{n}", [frame(NOW_MS + turn, {SPEED: turn % 200}, "s", turn)], turn) for n in range(ASSETS)]
        for turn in range(TURNS)
    ]
    worker, done, killed = world.worker(*turns), threading.Event(), 0

    def fold() -> None:
        for _ in turns:
            worker.turn()
            time.sleep(0.01)
        done.set()

    folding = threading.Thread(target=fold, daemon=True)
    folding.start()
    chance = random.Random(7)
    while killed < KILLS and not done.is_set():
        time.sleep(chance.uniform(0.3, 0.6))
        lost = primary_of(members)
        lost.kill()
        killed += 1
        primary_of(members)
        lost.start()
    folding.join(LIMIT_S)
    assert done.is_set()
    assert killed == KILLS  # each while turns were folded; the driver's own repetition may have got over it
    for twin in world.all("twins"):
        counters = twin["counters"]
        assert (counters["frames"], counters["duplicates"], counters["gaps"], counters["uncertain"]) == (TURNS, 0, 0, 0)
        assert twin["signals"]["Vehicle"]["Speed"]["value"] == (TURNS - 1) % 200
    assert len(world.all("twins")) == ASSETS
    assert world.drawer.records == []
    world.client.close()
