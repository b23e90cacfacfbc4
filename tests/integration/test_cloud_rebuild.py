"""`fleetfold-cloud rebuild` beside real workers that fold: what devices sent is in the twins, before and after."""

import json
import os
import random
import secrets
import signal
import subprocess
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from pymongo import MongoClient

from cloud import topics_admin
from cloud import twin as twins
from cloud.config import ConsumerSettings, TopicSettings
from tests.cloud_world import frame, record

SPEED = "Vehicle.Speed"
COOLANT = "Vehicle.Powertrain.CombustionEngine.EngineCoolant.Temperature"
SIGNALS = "fleet.signals.v1"
START_MS = 1_750_000_000_000
SCRIPT = str(Path(sysconfig.get_path("scripts")) / "fleetfold-cloud")
ASSETS = 12
LIMIT_S = 60.0


class Fleet:
    """Cars of which the first is hot, workers, and a database; `sent` says how many frames each car has sent."""

    def __init__(self, kafka: str, mongodb: str, database: str, directory: Path) -> None:
        self.kafka, self._directory = kafka, directory
        self.environment = {
            **os.environ,
            "KAFKA_BOOTSTRAP_SERVERS": kafka,
            "MONGODB_URI": mongodb,
            "FLEETFOLD_CLOUD__MONGO__DATABASE": database,
            "FLEETFOLD_CLOUD__HISTORY__ENABLED": "false",
            "FLEETFOLD_CLOUD__KAFKA__GROUP_ID": f"rebuild-{secrets.token_hex(4)}",
            "FLEETFOLD_CLOUD__KAFKA__COMMIT_INTERVAL_MS": "200",
            "FLEETFOLD_CLOUD__KAFKA__BATCH_RECORDS_MAX": "50",
        }
        topics_admin.create(ConsumerSettings(bootstrap_servers=kafka), TopicSettings(partitions=3))
        self.producer = Producer({"bootstrap.servers": kafka, "partitioner": "murmur2_random", "log_level": 0})
        self.client = MongoClient[dict[str, Any]](mongodb)
        self.database = self.client[database]
        self.sent = dict.fromkeys((f"car-{n}" for n in range(ASSETS)), 0)
        self.processes: list[subprocess.Popen[bytes]] = []

    def send(self, rounds: int) -> None:
        for _ in range(rounds):
            for place, asset_id in enumerate(self.sent):
                seq = self.sent[asset_id]
                values = {SPEED: float(seq % 200), COOLANT: 113.5 if place == 0 else 88.0}
                payload = frame(START_MS + seq * 60_000, values, "s", seq)
                value = record(asset_id, [payload], received_ms=[START_MS + seq * 60_000]).value
                self.producer.produce(SIGNALS, key=asset_id.encode(), value=value)
                self.sent[asset_id] += 1
            self.producer.poll(0)
        self.producer.flush()

    def worker(self) -> subprocess.Popen[bytes]:
        with (self._directory / f"worker-{len(self.processes)}.log").open("wb") as log:
            process = subprocess.Popen([SCRIPT, "fold"], env=self.environment, stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def rebuild(self, *arguments: str, code: int = 0) -> Any:
        command = [SCRIPT, "rebuild", *arguments, "--json"]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=100)
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout) if done.stdout else done.stderr

    def twins(self) -> dict[str, dict[str, Any]]:
        return {twin["_id"]: twin for twin in self.database["twins"].find()}

    def frames(self) -> dict[str, int]:
        return {asset_id: twin["counters"]["frames"] for asset_id, twin in self.twins().items()}

    def until(self, true: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + LIMIT_S
        while not true():
            assert time.monotonic() < deadline, f"{what}: {self.frames()} of {self.sent}"
            time.sleep(0.1)

    def until_folded(self) -> None:
        self.until(lambda: self.frames() == self.sent, "not folded")

    def check(self) -> None:
        """Signals, counters and findings are what was sent."""
        self.until_folded()
        for asset_id, twin in self.twins().items():
            last = self.sent[asset_id] - 1
            speed = twin["signals"]["Vehicle"]["Speed"]
            assert (speed["value"], twin["counters"]["samples"]) == (float(last % 200), 2 * last + 2)
            assert (twin["counters"]["gaps"], twin["counters"]["duplicates"]) == (0, 0)
        assert [one["asset_id"] for one in self.database["anomalies"].find({"status": "open"})] == ["car-0"]
        assert self.twins()["car-0"]["health"]["open"][0]["detector"] == "coolant_overheating"

    def told(self) -> int:
        """Records on the topic of anomalies."""
        consumer = Consumer({"bootstrap.servers": self.kafka, "group.id": "told", "log_level": 0})
        try:
            topic = "twin.anomalies.v1"
            numbers = consumer.list_topics(topic, timeout=10).topics[topic].partitions
            consumer.assign([TopicPartition(topic, number, 0) for number in numbers])
            messages = [one for _ in range(3) for one in consumer.consume(100, 0.7) if one.error() is None]
            return sum(1 for one in messages if b"car-0" in (one.key() or b""))
        finally:
            consumer.close()

    def close(self) -> None:
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            process.wait(30)
        self.client.close()


@pytest.fixture
def fleet(fresh_kafka: str, mongodb_uri: str, mongo_database: str, tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(fresh_kafka, mongodb_uri, mongo_database, tmp_path)
    yield made
    made.close()


@pytest.fixture
def busy(fleet: Fleet) -> Fleet:
    """Two workers, and devices that go on sending until the test's end."""
    fleet.send(40)
    fleet.worker()
    fleet.worker()
    fleet.until_folded()
    return fleet


class Load:
    """Devices that send all the time."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet, self._ended = fleet, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._ended.wait(0.1):
            self._fleet.send(1)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_error: object) -> None:
        self._ended.set()
        self._thread.join()


def test_a_rebuild_under_load_mends_what_is_wrong_and_loses_nothing(busy: Fleet) -> None:
    """Two workers fold on; one twin is wrong as after a bug. A dry run says so and changes nothing; a rebuild mends it.
    Owners and attributes stay, findings are not told again."""
    fleet = busy
    told = fleet.told()
    fleet.database["twins"].update_one({"_id": "car-3"}, {"$inc": {"counters.samples": 5, "revision": 1}})
    fleet.database["twins"].update_one({"_id": "car-4"}, {"$set": {"attributes": {"vin": "V4", "model": "Wren"}}})
    owner = {"customer_id": "c-5", "display_name": None, "role": "owner", "since": datetime(2026, 1, 1, tzinfo=UTC)}
    fleet.database["twins"].update_one({"_id": "car-5"}, {"$set": {"owner": owner}})
    with Load(fleet):
        found = fleet.rebuild("--from", "beginning", "--dry-run", code=1)["differences"]
        assert found["fields"] == {"counters.samples": 1}
        assert [one["asset_id"] for one in found["examples"]] == ["car-3"]
        assert found["compared"] == found["equal"] + 1 == ASSETS - found["not_compared"]
        assert fleet.twins()["car-3"]["revision"] < 2**40
        result = fleet.rebuild("--from", "beginning")
        before = sum(fleet.frames().values())
        fleet.until(lambda: sum(fleet.frames().values()) > before + 50, "the workers did not go on")
    assert (result["twins"], result["kept"]) == (ASSETS, 0)
    fleet.check()
    twins = fleet.twins()
    assert all(twin["revision"] > 2**40 for twin in twins.values())
    assert twins["car-4"]["attributes"] == {"vin": "V4", "model": "Wren"}
    assert twins["car-5"]["owner"]["customer_id"] == "c-5"
    assert fleet.told() == told
    assert sorted(fleet.database.list_collection_names(filter={"name": {"$regex": "rebuilt"}})) == []
    assert fleet.database["twins"].options()["validator"]


def test_a_rebuild_that_is_killed_changes_nothing_and_the_next_one_works(busy: Fleet) -> None:
    fleet = busy
    chance = random.Random(5)
    with Load(fleet):
        for _ in range(3):
            command = [SCRIPT, "rebuild", "--from", "beginning"]
            process = subprocess.Popen(command, env=fleet.environment, stderr=subprocess.DEVNULL)
            time.sleep(chance.uniform(1.5, 5.0))
            process.kill()
            process.wait()
        fleet.rebuild("--from", "beginning")
    fleet.check()


def test_a_rebuild_without_workers_leaves_them_where_they_were(fleet: Fleet) -> None:
    fleet.send(20)
    worker = fleet.worker()
    fleet.until_folded()
    worker.send_signal(signal.SIGTERM)
    worker.wait(30)
    fleet.send(20)
    assert fleet.rebuild("--from", "beginning")["records"] == 20 * ASSETS
    assert set(fleet.frames().values()) == {20}
    fleet.worker()
    fleet.check()


def test_from_a_time_on_keeps_what_was_counted_before(busy: Fleet) -> None:
    """The log's beginning is gone: everything from the beginning is refused, and says what is possible."""
    fleet = busy
    time.sleep(0.1)
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 1))
    time.sleep(1.1)
    fleet.send(30)
    fleet.until_folded()
    fleet.database["twins"].update_one({"_id": "car-6"}, {"$set": {"signals.Vehicle.Speed.value": 1.5}})
    held = {asset_id: one["health"] for asset_id, one in fleet.twins().items()}
    result = fleet.rebuild("--from", since)
    assert result["records"] == 30 * ASSETS
    fleet.check()
    assert {asset_id: one["health"] for asset_id, one in fleet.twins().items()} == held
    for document in fleet.twins().values():
        asset = twins.from_document(document)
        assert asset.search is not None
        assert twins.search_due(asset) is asset.search, "questions find it by what it is now"


def test_what_cannot_be_right_is_refused_with_what_is_possible(busy: Fleet, apache_kafka_if_chosen: None) -> None:
    fleet = busy
    assert "no time such as" in fleet.rebuild("--from", "yesterday", code=2)
    admin = AdminClient({"bootstrap.servers": fleet.kafka, "log_level": 0})
    gone = [TopicPartition(SIGNALS, partition, 5) for partition in range(3)]
    for future in admin.delete_records(gone).values():
        try:
            future.result()
        except Exception:
            pytest.skip("this broker deletes no records")
    refused = fleet.rebuild("--from", "beginning", code=1)
    assert "is gone by the topic's retention" in refused
    assert "Possible: --from 20" in refused
    possible = refused.split("Possible: --from ")[1].split(" ")[0]
    assert "is gone" in fleet.rebuild("--from", "2020-01-01", code=1)
    time.sleep(1)
    fleet.send(5)
    fleet.rebuild("--from", possible)
    fleet.check()
