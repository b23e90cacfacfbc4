"""The twin service is told to stop while the servers that it stands on are gone, or hang."""

import os
import signal
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from confluent_kafka import Producer
from pymongo import MongoClient

from local.processes import Child, Processes
from local.servers.kafka import Tansu
from local.servers.mongo import Mongod
from tests import kafka_topics
from tests.cloud_world import NOW_MS, frame, record
from wire import topics

ASSETS = 24
GRACE_S = 10.0
"""For the processes' last steps on a busy machine."""


class Site:
    """A broker and a database of its own, and the program `fleetfold-cloud fold`."""

    def __init__(self, processes: Processes, directory: Path) -> None:
        self._processes, self._directory = processes, directory
        for name in ("mongod", "kafka"):
            (directory / name).mkdir()
        self.mongod, self.kafka = Mongod(processes, directory / "mongod"), Tansu(processes, directory / "kafka")
        self.mongod.start()
        self.kafka.start()
        kafka_topics.create(self.kafka.url, {spec.name: spec.partitions or 4 for spec in topics.KAFKA_TOPICS})
        self._producer = Producer({"bootstrap.servers": self.kafka.url, "partitioner": "murmur2_random"})
        self._said = 0

    def fold(self, workers: int, stop_limit_s: int) -> Child:
        """All have folded something when this returns."""
        script = str(Path(sysconfig.get_path("scripts")) / "fleetfold-cloud")
        environment = {
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka.url,
            "MONGODB_URI": self.mongod.url,
            "FLEETFOLD_CLOUD__FOLD__STOP_LIMIT_S": str(stop_limit_s),
        }
        log = self._directory / "fold.log"
        child = self._processes.start("fold", [script, "fold", "--workers", str(workers)], log, environment)
        self.say()
        with MongoClient[dict[str, Any]](self.mongod.url) as client:
            twins = client["fleetfold"]["twins"]
            until(lambda: twins.count_documents({"counters.frames": {"$gte": 1}}) == ASSETS)
        return child

    def say(self) -> None:
        for number in range(ASSETS):
            payload = frame(NOW_MS + self._said, {"Vehicle.Speed": self._said % 200}, "s", self._said)
            made = record(f"car-{number}", [payload], self._said)
            self._producer.produce(made.topic, key=made.key, value=made.value)
        assert self._producer.flush(30) == 0
        self._said += 1

    def each_server(self, number: signal.Signals) -> None:
        for server in (self.mongod, self.kafka):
            os.kill(server.pid, number)

    def log(self) -> str:
        return (self._directory / "fold.log").read_text()


def family_of(service: Child) -> list[psutil.Process]:
    """It, its workers, and the keeper of history."""
    first = psutil.Process(service.pid)
    return [first, *first.children(recursive=True)]


def stop(service: Child, limit_s: float) -> None:
    family = family_of(service)
    service.terminate()
    assert service.wait(limit_s + GRACE_S) == 0
    _, alive = psutil.wait_procs(family, timeout=GRACE_S)
    assert alive == []


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture
def site(processes: Processes, tmp_path: Path) -> Iterator[Site]:
    made = Site(processes, tmp_path)
    yield made
    made.kafka.kill()
    made.mongod.kill()


def test_a_supervisor_and_its_workers_end_by_themselves_though_both_servers_are_gone(site: Site) -> None:
    """In the middle of a write that the database did not confirm; nobody has to be killed for it."""
    service = site.fold(2, stop_limit_s=40)
    os.kill(site.mongod.pid, signal.SIGSTOP)
    site.say()
    time.sleep(2)
    site.each_server(signal.SIGKILL)
    time.sleep(1)
    stop(service, 40)
    assert "does not stop" not in site.log()


def test_a_stop_takes_no_longer_than_its_limit_though_both_servers_hang(site: Site) -> None:
    """They keep their connections and answer nothing: a write waits for longer than the limit."""
    service = site.fold(1, stop_limit_s=3)
    site.say()
    site.each_server(signal.SIGSTOP)
    time.sleep(1)
    stop(service, 3)
