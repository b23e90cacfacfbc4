"""The twin service while Kafka is away: at the start, killed, hung, and when it is to stop. A broker of its own."""

import json
import os
import signal
import sysconfig
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from pymongo import MongoClient

from cloud import topics_admin
from cloud.config import ConsumerSettings, TopicSettings
from cloud.deadletters import Graveyard
from local import ports
from local.processes import Child, Processes
from local.servers.apache_kafka import ApacheKafka
from tests.cloud_world import NOW_MS, frame, record
from wire.topics import DEAD_LETTER_TOPICS

_ON_APACHE = os.environ.get("FLEETFOLD_TEST_KAFKA") == "apache"
pytestmark = pytest.mark.skipif(not _ON_APACHE, reason="needs a log that survives a kill: FLEETFOLD_TEST_KAFKA=apache")

ASSETS = 8
LIMIT_S = 90.0
STOP_S = 20.0
"""A supervisor of ours kills what takes longer."""
POISON = b"\xc1 never used in msgpack"


class Line:
    """A broker that comes and goes, devices, and the program `fleetfold-cloud fold`."""

    def __init__(self, processes: Processes, directory: Path, uri: str, database: str) -> None:
        self._processes, self._directory, self.port = processes, directory, ports.free_port()
        self.broker = ApacheKafka(processes, directory / "kafka", ports.free_port())
        self.client = MongoClient[dict[str, Any]](uri)
        self.twins = self.client[database]["twins"]
        self.settings = ConsumerSettings(bootstrap_servers=self.broker.url)
        self._environment = {
            "KAFKA_BOOTSTRAP_SERVERS": self.broker.url,
            "MONGODB_URI": uri,
            "FLEETFOLD_CLOUD__MONGO__DATABASE": database,
            "FLEETFOLD_CLOUD__HTTP__PORT": str(self.port),
            "FLEETFOLD_CLOUD__KAFKA__BATCH_RECORDS_MAX": "50",
        }
        quiet = {"bootstrap.servers": self.broker.url, "log_level": 0, "message.timeout.ms": 0}
        self._producer = Producer({**quiet, "partitioner": "murmur2_random", "enable.idempotence": True})
        self._said = 0

    def worker(self) -> Child:
        script = str(Path(sysconfig.get_path("scripts")) / "fleetfold-cloud")
        return self._processes.start("worker", [script, "fold"], self._directory / "worker.log", self._environment)

    def say(self, rounds: int) -> None:
        """In each, every asset says a frame and something that nobody can read."""
        for _ in range(rounds):
            for number in range(ASSETS):
                payloads = [frame(NOW_MS + self._said, {"Vehicle.Speed": self._said % 200}, "s", self._said), POISON]
                made = record(f"car-{number}", payloads, first_sequence=2 * self._said)
                self._producer.produce(made.topic, key=made.key, value=made.value)
                self._producer.poll(0)
            self._said += 1

    def say_until_in_the_middle(self) -> None:
        before = self._folded()
        self.say(100)
        self.until(lambda: self._folded() > before)

    def until_all_is_folded_once(self) -> None:
        assert self._producer.flush(LIMIT_S) == 0
        due = [(self._said, 0, 0)] * ASSETS
        self.until(lambda: self._counted() == due)
        with Graveyard(self.settings) as graveyard:
            buried = {one.letter.source for one in graveyard.scan(DEAD_LETTER_TOPICS)}
        assert len(buried) == self._said * ASSETS
        self.until(lambda: self.health() == 200)

    def _folded(self) -> int:
        return sum(frames for frames, *_ in self._counted())

    def _counted(self) -> list[tuple[int, int, int]]:
        counters = [twin["counters"] for twin in self.twins.find()]
        return [(one["frames"], one["duplicates"], one["uncertain"]) for one in counters]

    def health(self) -> int:
        """The status of /healthz; 0 while nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < deadline, (self._said, self._counted(), self.health())
            time.sleep(0.2)

    def log(self) -> list[dict[str, Any]]:
        """Its lines, each a JSON document."""
        return [json.loads(line) for line in (self._directory / "worker.log").read_text().splitlines()]


@pytest.fixture
def line(
    processes: Processes, tmp_path: Path, mongodb_uri: str, mongo_database: str, apache_kafka_available: None
) -> Iterator[Line]:
    made = Line(processes, tmp_path, mongodb_uri, mongo_database)
    yield made
    made.broker.stop()
    made.client.close()


def test_a_broker_that_is_away_is_waited_for_and_nothing_is_lost_or_doubled(line: Line) -> None:
    """Away before the worker starts, killed and hung in mid-run for longer than it is believed to be there: the worker
    lives, its health says so, its log stays short, and it stops in time though nobody takes its offsets."""
    worker = line.worker()
    line.until(lambda: line.health() == 503)
    line.broker.start()
    topics_admin.create(line.settings, TopicSettings(partitions=2))
    line.say(3)
    line.until_all_is_folded_once()
    worker.stop(STOP_S)
    worker = line.worker()  # with a broker to ask, it speaks the next-generation protocol, which keeps partitions
    line.until(lambda: line.health() == 200)
    for leave, come_back in (
        (line.broker.kill, line.broker.start),
        (lambda: os.kill(line.broker.pid, signal.SIGSTOP), lambda: os.kill(line.broker.pid, signal.SIGCONT)),
    ):
        line.say_until_in_the_middle()
        leave()
        line.say(3)
        line.until(lambda: line.health() == 503)
        come_back()
        line.until_all_is_folded_once()
    line.broker.kill()
    line.until(lambda: line.health() == 503)
    worker.terminate()
    assert worker.wait(STOP_S) == 0
    assert len(line.log()) < 80
    assert {one["protocol"] for one in line.log() if "protocol" in one} == {"classic", "consumer"}
