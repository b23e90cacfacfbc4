"""Devices, an Apache Kafka that comes and goes, and between it and MongoDB the program `fleetfold-cloud fold`."""

import json
import sysconfig
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException, Producer
from pymongo import MongoClient

from cloud.config import ConsumerSettings
from cloud.deadletters import Graveyard
from cloud.history import documents
from local import ports
from local.processes import Child, Processes
from local.servers.apache_kafka import ApacheKafka
from tests.cloud_world import NOW_MS, frame, record
from wire import catalogue
from wire.topics import DEAD_LETTER_TOPICS

ASSETS = 8
LIMIT_S = 90.0
SPEED = catalogue.BY_PATH["Vehicle.Speed"].number
POISON = b"\xc1 never used in msgpack"


class Line:
    """`settings`: of the program, by the names of its environment."""

    def __init__(
        self, processes: Processes, directory: Path, uri: str, database: str, settings: Mapping[str, str] | None = None
    ) -> None:
        self._processes, self._directory, self.port = processes, directory, ports.free_port()
        self.broker = ApacheKafka(processes, directory / "kafka", ports.free_port())
        self.client = MongoClient[dict[str, Any]](uri)
        self.database = self.client[database]
        self.settings = ConsumerSettings(bootstrap_servers=self.broker.url)
        self._environment = {
            "KAFKA_BOOTSTRAP_SERVERS": self.broker.url,
            "MONGODB_URI": uri,
            "FLEETFOLD_CLOUD__MONGO__DATABASE": database,
            "FLEETFOLD_CLOUD__HTTP__PORT": str(self.port),
            "FLEETFOLD_CLOUD__KAFKA__BATCH_RECORDS_MAX": "50",
            **(settings or {}),
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
        self.until(lambda: self._buried() == self._said * ASSETS)
        self.until(lambda: self.health() == 200)

    def until_history_has_all(self) -> None:
        assert self._producer.flush(LIMIT_S) == 0
        self.until(lambda: self._kept() == {f"car-{number}": self._said for number in range(ASSETS)})

    def _kept(self) -> dict[str, int]:
        """How many samples of the speed history has of each asset."""
        known = defaultdict[str, list[dict[str, Any]]](list)
        for document in self.database["history"].find():
            known[document["asset_id"]].append(document)
        return {asset: len(documents.all_samples(several)[SPEED].times_ms) for asset, several in known.items()}

    def _buried(self) -> int:
        """Messages in the dead letters; -1 while a broker that came back does not tell."""
        try:
            with Graveyard(self.settings) as graveyard:
                return len({one.letter.source for one in graveyard.scan(DEAD_LETTER_TOPICS)})
        except KafkaException:
            return -1

    def _folded(self) -> int:
        return sum(frames for frames, *_ in self._counted())

    def _counted(self) -> list[tuple[int, int, int]]:
        counters = [twin["counters"] for twin in self.database["twins"].find()]
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

    def close(self) -> None:
        self.broker.stop()
        self.client.close()

    def log(self) -> list[dict[str, Any]]:
        """Its lines, each a JSON document."""
        return [json.loads(line) for line in (self._directory / "worker.log").read_text().splitlines()]
