"""The twin service while MongoDB is slow, steps down, is full, or forgets to answer: waited for, nothing lost, nothing
doubled. A mongod of its own, with the server's own fail points."""

import contextlib
import secrets
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import UpdateOne

from local.processes import Processes
from local.servers.mongo import Mongod
from tests.cloud_worker import World
from tests.cloud_world import NOW_MS, frame, record

SPEED = "Vehicle.Speed"


class FailingMongod(Mongod):
    """With `configureFailPoint`, by which the server fails on request."""

    def command(self) -> list[str]:
        return [*super().command(), "--setParameter", "enableTestCommands=1"]


class RestlessMongod(Mongod):
    """With checkpoints every two seconds: one that finds no room ends the server, and by default they are a minute
    apart."""

    def command(self) -> list[str]:
        return [*super().command(), "--syncdelay", "2"]


@pytest.fixture(scope="module")
def mongod(processes: Processes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongod]:
    with FailingMongod(processes, tmp_path_factory.mktemp("mongod")) as server:
        yield server


@pytest.fixture
def world(mongod: Mongod) -> Iterator[World]:
    name = f"test_bad_{secrets.token_hex(4)}"
    made = World(mongod.url, name, timeout_ms=1_500)
    yield made
    made.client.admin.command({"configureFailPoint": "failCommand", "mode": "off"})
    made.client.drop_database(name)
    made.client.close()


def fail(world: World, times: int, commands: list[str], **how: Any) -> None:
    """Let the server fail the next commands of the service."""
    data = {"failCommands": commands, "appName": "fleetfold-cloud", **how}
    world.client.admin.command({"configureFailPoint": "failCommand", "mode": {"times": times}, "data": data})


ASSETS = 12
"""Enough for one transaction."""


def turns(count: int, assets: int = ASSETS) -> list[list[Any]]:
    """In each turn every asset says two frames."""
    return [
        [
            record(
                f"car-{n}", [frame(NOW_MS + 2 * turn + k, {SPEED: turn % 200}, "s", 2 * turn + k) for k in (0, 1)], turn
            )
            for n in range(assets)
        ]
        for turn in range(count)
    ]


def expect_all(world: World, count: int) -> None:
    for twin in world.all("twins"):
        assert twin["counters"]["frames"] == twin["counters"]["samples"] == 2 * count, twin["counters"]
        assert (twin["counters"]["duplicates"], twin["counters"]["gaps"]) == (0, 0)
        assert twin["signals"]["Vehicle"]["Speed"]["value"] == (count - 1) % 200
    assert len(world.all("twins")) == ASSETS
    assert world.drawer.records == []


OUT_OF_DISK_SPACE, STEPPED_DOWN, INTERRUPTED = 14031, 189, 11602


@pytest.mark.parametrize("code", [OUT_OF_DISK_SPACE, STEPPED_DOWN, INTERRUPTED])
@pytest.mark.parametrize("command", ["update", "find", "commitTransaction"])
def test_what_passes_at_the_server_is_waited_for(world: World, code: int, command: str) -> None:
    """Neither a crash nor a dead letter: the same writes again, until they are taken."""
    fail(world, 3, [command], errorCode=code)
    world.fold(*turns(3))
    expect_all(world, 3)
    assert world.store.waits + world.store.apart > 0


@pytest.mark.parametrize("command", ["update", "commitTransaction"])
def test_a_write_that_the_majority_did_not_confirm_is_not_believed(world: World, command: str) -> None:
    """The write is there, but may be rolled back: it is waited for, and counts once."""
    fail(world, 2, [command], writeConcernError={"code": 64, "errmsg": "waiting for replication timed out"})
    world.fold(*turns(3))
    expect_all(world, 3)


def test_a_bulk_that_the_majority_did_not_confirm_is_written_again(world: World) -> None:
    """It looks done: every document is counted as changed, and nothing is refused."""
    fail(world, 2, ["update"], writeConcernError={"code": 64, "errmsg": "waiting for replication timed out"})
    writes = [UpdateOne({"_id": n}, {"$set": {"said": 1}}, upsert=True) for n in range(3)]
    written = world.store.bulk("scratch", writes)
    assert (world.store.waits, written.refused, written.matched) == (2, {}, 3)


@pytest.mark.parametrize("command", ["update", "commitTransaction"])
def test_a_write_whose_answer_is_lost_counts_once(world: World, command: str) -> None:
    """The connection closes when the server has done it, or not: nobody knows which."""
    fail(world, 3, [command], closeConnection=True)
    world.fold(*turns(4))
    expect_all(world, 4)


def test_a_slow_database_slows_the_fold_and_keeps_its_place_in_the_group(world: World) -> None:
    """While a write takes longer than Kafka's patience, Kafka is told that the worker lives."""
    fail(world, 2, ["update"], blockConnection=True, blockTimeMS=1_300)
    worker = world.worker(*turns(3))
    for _ in range(3):
        worker.turn()
    expect_all(world, 3)
    assert world.scripts[-1].kept_alive > 0


@pytest.mark.parametrize("command", ["update", "commitTransaction"])
def test_a_write_that_outlasts_the_timeout_counts_once(world: World, command: str) -> None:
    """The client gives up and asks again while the server still does the first."""
    fail(world, 1, [command], blockConnection=True, blockTimeMS=2_500)
    world.fold(*turns(2))
    expect_all(world, 2)


def test_a_primary_that_steps_down_again_and_again_loses_and_doubles_nothing(world: World) -> None:
    stop, before = threading.Event(), terms(world)

    def step_down() -> None:
        while not stop.is_set():
            with contextlib.suppress(Exception):
                world.client.admin.command("replSetStepDown", 1, force=True)
            time.sleep(1.2)

    thread = threading.Thread(target=step_down)
    thread.start()
    try:
        world.fold(*turns(40))
    finally:
        stop.set()
        thread.join()
    _until(lambda: bool(world.client.admin.command("hello").get("isWritablePrimary")))
    expect_all(world, 40)
    assert terms(world) > before


def terms(world: World) -> int:
    """How often a primary was elected."""
    return int(world.client.admin.command("replSetGetStatus")["term"])


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 700 MB that can be filled; skips where none can be mounted."""
    directory = Path(tempfile.mkdtemp(prefix="fleetfold-disk-"))
    program = shutil.which("mount") or "mount"
    mounted = subprocess.run(
        [program, "-t", "tmpfs", "-o", "size=700m", "tmpfs", str(directory)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        directory.rmdir()
        pytest.skip(f"needs to mount a small file system: {mounted.stderr.strip()[:120]}")
    yield directory
    subprocess.run(["umount", "--lazy", str(directory)], check=False)
    directory.rmdir()


def test_a_full_disk_is_waited_out(processes: Processes, small_disk: Path) -> None:
    """mongod ends when it cannot write its log; with room again it is started, and the fold goes on where it was."""
    with RestlessMongod(processes, small_disk / "mongod") as server:
        world = World(server.url, "full", timeout_ms=500)
        worker = world.worker(*turns(5_000))
        stop, done = threading.Event(), 0

        def fold() -> None:
            nonlocal done
            while not stop.is_set():
                worker.turn()
                done += 1
                time.sleep(0.03)

        folding = threading.Thread(target=fold)
        folding.start()
        _fill(small_disk / "ballast")
        _until_it_ends(server, world)
        at_the_end = done
        _until(lambda: world.store.waits > 0)
        assert done <= at_the_end + 1
        (small_disk / "ballast").unlink()
        server.start()
        _until(lambda: done > at_the_end + 10)
        stop.set()
        folding.join()
        expect_all(world, done)
        world.client.close()


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _until_it_ends(server: Mongod, world: World) -> None:
    """Write until there is no room even for the log."""
    deadline = time.monotonic() + 60
    big = world.client["full"]["ballast"]
    while server.running:
        assert time.monotonic() < deadline, "mongod outlives a full disk"
        with contextlib.suppress(Exception):
            big.insert_many([{"x": secrets.token_bytes(1_000_000)} for _ in range(20)])
        time.sleep(0.05)


def _fill(ballast: Path) -> None:
    with ballast.open("wb") as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 1_000_000)
            file.flush()
