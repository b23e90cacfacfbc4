"""Several workers under one supervisor, on real brokers."""

import os
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from confluent_kafka import Producer
from pymongo import MongoClient

from cloud.config import CloudSettings, FoldSettings
from cloud.workers import settings_of
from runtime.settings import HttpSettings
from tests import kafka_topics
from tests.cloud_world import NOW_MS, frame, record
from wire import topics

ASSETS = 24


@pytest.fixture
def service(
    fresh_kafka: str, mongodb_uri: str, mongo_database: str, tmp_path: Path
) -> Iterator["subprocess.Popen[bytes]"]:
    kafka_topics.create(fresh_kafka, {spec.name: spec.partitions or 4 for spec in topics.KAFKA_TOPICS})
    environment = os.environ | {
        "KAFKA_BOOTSTRAP_SERVERS": fresh_kafka,
        "MONGODB_URI": mongodb_uri,
        "FLEETFOLD_CLOUD__MONGO__DATABASE": mongo_database,
        "FLEETFOLD_CLOUD__HISTORY__ENABLED": "false",
    }
    script = Path(sysconfig.get_path("scripts")) / "fleetfold-cloud"
    with (tmp_path / "log").open("wb") as log:
        command = [sys.executable, str(script), "fold", "--workers", "2"]
        process = subprocess.Popen(command, env=environment, stderr=log)
        yield process
        process.kill()
        process.wait()


def workers_of(process: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    return [child for child in psutil.Process(process.pid).children() if "spawn_main" in " ".join(child.cmdline())]


def said(servers: str, turn: int) -> None:
    producer = Producer({"bootstrap.servers": servers, "partitioner": "murmur2_random"})
    for number in range(ASSETS):
        made = record(f"car-{number}", [frame(NOW_MS + turn, {"Vehicle.Speed": turn}, "s", turn)], turn)
        producer.produce(made.topic, key=made.key, value=made.value)
    producer.flush()


def until_all_counted(uri: str, database: str, frames: int) -> None:
    deadline = time.monotonic() + 60
    with MongoClient[dict[str, Any]](uri) as client:
        twins = client[database]["twins"]
        while twins.count_documents({"counters.frames": frames}) < ASSETS:
            assert time.monotonic() < deadline, list(twins.find({}, {"counters": 1}))
            time.sleep(0.1)
        assert twins.count_documents({"counters.duplicates": {"$gt": 0}}) == 0


def test_a_worker_that_dies_is_replaced_and_all_stop_in_order(
    service: "subprocess.Popen[bytes]", fresh_kafka: str, mongodb_uri: str, mongo_database: str
) -> None:
    said(fresh_kafka, 0)
    until_all_counted(mongodb_uri, mongo_database, 1)
    first = workers_of(service)
    assert len(first) == 2
    first[0].send_signal(signal.SIGKILL)
    said(fresh_kafka, 1)
    until_all_counted(mongodb_uri, mongo_database, 2)
    deadline = time.monotonic() + 20
    while len(alive := workers_of(service)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    service.send_signal(signal.SIGTERM)
    assert service.wait(30) == 0
    assert not any(worker.is_running() for worker in alive)


def test_workers_end_when_their_supervisor_is_killed(service: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 30
    while len(workers := workers_of(service)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(1)  # until they watch
    service.kill()
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert alive == []


def test_each_worker_has_a_port_and_the_first_does_the_periodic_work() -> None:
    settings = CloudSettings(http=HttpSettings(port=9000), fold=FoldSettings(workers=3))
    told = [settings_of(settings, number) for number in range(3)]
    assert [one.http.port for one in told] == [9000, 9001, 9002]
    assert [one.fold.upkeep for one in told] == [True, False, False]
    free = CloudSettings(http=HttpSettings(port=0))
    assert settings_of(free, 1).http.port == 0
