"""`fleetfold-cloud dlq` on a real Kafka and a real MongoDB, with the twin service behind it."""

import json
import os
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgpack
import pymongo
import pytest
import structlog
from confluent_kafka import Producer
from typer.testing import CliRunner

from cloud import cli, kafka, topics_admin
from cloud.cache import Cache
from cloud.config import ConsumerSettings, TopicSettings
from cloud.linker import Linker
from cloud.metrics import Metrics
from cloud.outlet import Outlet
from cloud.processor import Processor
from local.processes import Processes
from local.servers import apache_kafka
from local.servers import kafka as tansu
from local.servers.base import Server
from tests.cloud_worker import World
from tests.cloud_world import frame, record
from wire import limits
from wire.malformed import Malformed, Reason
from wire.records import DeadLetter

SPEED = "Vehicle.Speed"
DAY_MS = 86_400_000
_ON_APACHE = os.environ.get("FLEETFOLD_TEST_KAFKA") == "apache"


class Plant:
    """A broker with the contract's topics, a database, a worker, and the command line."""

    def __init__(self, bootstrap_servers: str, uri: str, database: str) -> None:
        self.world = World(uri, database)
        self.settings = ConsumerSettings(bootstrap_servers=bootstrap_servers, commit_interval_ms=0)
        topics_admin.create(self.settings, TopicSettings(partitions=2))
        self.environment = {
            "KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers,
            "MONGODB_URI": uri,
            "FLEETFOLD_CLOUD__MONGO__DATABASE": database,
            "COLUMNS": "200",
        }
        self.begin()
        quiet = {"bootstrap.servers": bootstrap_servers, "log_level": 0}
        self._producer = Producer({**quiet, "partitioner": "murmur2_random"})
        self._source = kafka.Source(self.settings)
        outlet = Outlet(self.settings, lambda: None)
        linker = Linker(self.world.store, lambda: self.now_ms)
        self.metrics = Metrics()
        self._worker = Processor(self._source, outlet, self.world.store, linker, Cache(10), self.metrics)
        self._records = 0

    def begin(self) -> None:
        """A test of its own: what was buried before is not seen."""
        time.sleep(0.002)
        self.now_ms = time.time_ns() // 1_000_000

    def produce(self, topic: str, key: str, value: bytes, headers: Any = ()) -> None:
        self._producer.produce(topic, key=key.encode(), value=value, headers=list(headers))
        self._producer.flush()
        self._records += not topic.endswith(".dlq")

    def say(self, asset_id: str, payloads: list[bytes], first_sequence: int) -> None:
        made = record(
            asset_id, payloads, first_sequence=first_sequence, received_ms=[self.now_ms] * len(payloads)
        )  # fmt: skip
        self.produce(made.topic, asset_id, made.value or b"")

    def fold(self, more: int = 0) -> None:
        """Turn until every record was read, and `more` that somebody else produced."""
        self._records += more
        deadline = time.monotonic() + 40
        while self._read() < self._records:
            self._worker.turn()
            assert time.monotonic() < deadline, (self._read(), self._records)

    def _read(self) -> int:
        return int(
            sum(
                sample.value
                for metric in self.metrics.records.collect()
                for sample in metric.samples
                if sample.name.endswith("_total")
            )
        )

    def run(self, *arguments: str, code: int = 0, environment: dict[str, str] | None = None, **more: Any) -> Any:
        command, *options = arguments
        if command in ("list", "replay"):
            options[:0] = ["--since", datetime.fromtimestamp(self.now_ms / 1000, UTC).isoformat()]
        result = CliRunner().invoke(cli.app, ["dlq", command, *options], env=environment or self.environment, **more)
        structlog.reset_defaults()
        assert result.exit_code == code, (result.output, result.exception)
        return result

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json").stdout)

    def close(self) -> None:
        self._source.close()
        self.world.client.close()


@pytest.fixture(scope="module")
def module_plant(processes: Processes, mongodb_uri: str, request: pytest.FixtureRequest) -> Iterator[Plant]:
    """One for all tests here, with a broker of its own: joining a group takes longer than any of them."""
    database = f"test_dlq_{secrets.token_hex(4)}"
    with (
        tempfile.TemporaryDirectory(prefix="fleetfold-kafka-", ignore_cleanup_errors=True) as directory,
        _broker(request, processes, Path(directory)) as server,
        pymongo.MongoClient[dict[str, Any]](mongodb_uri) as client,
    ):
        made = Plant(server.url, mongodb_uri, database)
        yield made
        made.close()
        client.drop_database(database)


def _broker(request: pytest.FixtureRequest, processes: Processes, directory: Path) -> Server:
    if not _ON_APACHE:
        return tansu.Tansu(processes, directory)
    request.getfixturevalue("apache_kafka_available")
    return apache_kafka.ApacheKafka(processes, directory)


@pytest.fixture
def plant(module_plant: Plant) -> Iterator[Plant]:
    module_plant.begin()
    yield module_plant
    for name in module_plant.world.store.database.list_collection_names():
        module_plant.world.store.database[name].delete_many({})


Lenient = Callable[[], None]


@pytest.fixture
def a_lenient_version(monkeypatch: pytest.MonkeyPatch) -> Lenient:
    """A newer version of the service, which accepts what the one before refused."""
    return lambda: monkeypatch.setattr(limits, "CLOCK_AHEAD_MS_MAX", 30 * DAY_MS)


def counters(plant: Plant, asset_id: str) -> dict[str, int]:
    counted: dict[str, int] = plant.world.twin(asset_id)["counters"]
    return {name: counted[name] for name in ("frames", "samples", "gaps", "duplicates")}


def speed(plant: Plant, asset_id: str) -> float:
    return float(plant.world.twin(asset_id)["signals"]["Vehicle"]["Speed"]["value"])


def test_what_was_refused_is_folded_after_a_replay_once_and_in_whatever_way_it_came(
    plant: Plant, a_lenient_version: Lenient
) -> None:
    """Refused by the fold with and without sequence numbers, refused by the agent's Kafka, refused as a record: after
    the replay the twins are as if nothing had been refused, and a second replay changes nothing."""
    ahead_ms = plant.now_ms + 10 * DAY_MS
    numbered = [frame(plant.now_ms, {SPEED: 1}, "s", 0), frame(ahead_ms, {SPEED: 2}, "s", 1)]
    plant.say("car-1", [*numbered, frame(plant.now_ms + 2, {SPEED: 3}, "s", 2)], 100)
    bare = [frame(plant.now_ms, {SPEED: 1}, None, None), frame(ahead_ms, {SPEED: 2}, None, None)]
    plant.say("car-2", [*bare, frame(plant.now_ms + 2, {SPEED: 3}, None, None)], 200)
    event = {"v": 1, "type": "trip", "ts": plant.now_ms, "session": "s", "seq": 0, "trip_id": "t", "distance_m": 1.0}
    event |= {"started_ms": plant.now_ms, "ended_ms": plant.now_ms + 1}
    why = Malformed(Reason.REFUSED_BY_KAFKA, "too large")
    agents = DeadLetter.of(
        bytes(msgpack.packb(event)), why, "mqtt:dt/fleet/vehicle/car-1/events#gw/e1/7", plant.now_ms, "car-1"
    )
    plant.produce("fleet.events.v1.dlq", "car-1", agents.value, agents.headers())
    plant.fold()
    assert counters(plant, "car-1") == {"frames": 2, "samples": 2, "gaps": 1, "duplicates": 0}

    a_lenient_version()
    assert plant.json("replay", "--dry-run")["to_replay"] == 3
    done = plant.json("replay", "--yes")
    assert (done["replayed"], done["topics"]) == (3, {"fleet.signals.v1": 2, "fleet.events.v1": 1})
    plant.fold(more=3)
    for asset_id in ("car-1", "car-2"):
        assert counters(plant, asset_id) == {"frames": 3, "samples": 3, "gaps": 0, "duplicates": 0}
        assert speed(plant, asset_id) == 2.0
    assert [one["_id"] for one in plant.world.all("events")] == ["car-1:s:0"]

    again = plant.json("replay", "--yes")
    assert (again["replayed"], again["already_replayed"]) == (0, 3)
    before = [one["signals"] for one in plant.world.all("twins")]
    assert plant.json("replay", "--yes", "--again")["replayed"] == 3
    plant.fold(more=3)
    assert [one["signals"] for one in plant.world.all("twins")] == before
    assert [counters(plant, one)["frames"] for one in ("car-1", "car-2")] == [3, 3]
    assert plant.world.all("dead_letters")[0]["times"] == 2
    assert all(letter["replayed"] for letter in plant.json("list"))


def test_a_record_that_the_database_refused_is_written_after_a_replay(plant: Plant) -> None:
    """The reason is the server's own, and the whole batch comes back though later ones were folded meanwhile."""
    plant.say("car-1", [frame(plant.now_ms, {SPEED: 1}, None, None)], 1)
    plant.fold()
    database = plant.world.store.database
    validator = database["twins"].options()["validator"]
    database.command("collMod", "twins", validator={"counters.frames": {"$ne": 3}})
    plant.say("car-1", [frame(plant.now_ms + n, {SPEED: n}, None, None) for n in (2, 3)], 2)
    plant.fold()
    (letter,) = plant.json("list", "--reason", "refused_by_database")
    assert "failed validation" in letter["detail"]
    database.command("collMod", "twins", validator=validator)
    plant.say("car-1", [frame(plant.now_ms + 9, {SPEED: 9}, None, None)], 4)
    plant.fold()
    assert plant.json("replay", "--yes", "--reason", "refused_by_database", "--asset", "car-1")["replayed"] == 1
    plant.fold(more=1)
    assert counters(plant, "car-1") == {"frames": 4, "samples": 4, "gaps": 0, "duplicates": 0}
    assert speed(plant, "car-1") == 9.0


def test_dead_letters_are_listed_by_filter_counted_and_shown(plant: Plant) -> None:
    plant.say("car-1", [b"junk", frame(plant.now_ms, {"Vehicle.Wings": 2}, "s", 0)], 1)
    plant.produce("customer.profiles.v1", "c1", b'{"v":1,"customer_id":"c2","display_name":"A","updated_ms":1}')
    plant.fold()
    assert {letter["reason"] for letter in plant.json("list")} == {"not_decodable", "rejected_samples", "wrong_shape"}
    assert [letter["reason"] for letter in plant.json("list", "--topic", "customer.profiles.v1")] == ["wrong_shape"]
    assert plant.json("list", "--before", "1h") == []
    assert len(plant.json("list", "--since", "1h", "--limit", "1")) == 1
    counts = {row["reason"]: row["count"] for row in plant.json("list", "--counts")}
    assert counts == {"not_decodable": 1, "rejected_samples": 1, "wrong_shape": 1}
    table = plant.run("list", "--limit", "2").stdout
    assert "2 of 3: 1 " in table
    (junk,) = plant.json("list", "--reason", "not_decodable")
    text = plant.run("show", junk["place"]).stdout
    for part in ("mqtt:dt/fleet/vehicle/car-1/signals#gw/e1/1", "6a 75 6e 6b", "junk", "fleet.signals.v1, key car-1"):
        assert part in text
    assert json.loads(plant.run("show", junk["place"], "--json").stdout)["value_hex"] == b"junk".hex()


def test_what_cannot_be_asked_is_said_with_an_exit_code(plant: Plant) -> None:
    faults = plant.run("list", "--reason", "nonsense", "--topic", "none", "--since", "soon", code=2).stderr
    for option in ("--reason", "--topic", "--since"):
        assert option in faults
    assert "no place such as" in plant.run("show", "nowhere", code=2).stderr
    assert "nothing lies at" in plant.run("show", "fleet.signals.v1.dlq/0/99", code=1).stderr
    nobody = {**plant.environment, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    assert "Kafka at 127.0.0.1:1" in plant.run("list", code=3, environment=nobody).stderr


def test_a_list_needs_no_database_and_a_replay_says_that_it_does(plant: Plant) -> None:
    plant.say("car-1", [b"junk"], 1)
    plant.fold()
    nobody = {**plant.environment, "MONGODB_URI": "mongodb://127.0.0.1:1", "FLEETFOLD_CLOUD__MONGO__TIMEOUT_MS": "200"}
    result = plant.run("list", "--json", environment=nobody)
    assert len(json.loads(result.stdout)) == 1
    assert "replays are not known" in result.stderr
    plant.run("replay", "--yes", code=3, environment=nobody)


def test_a_replay_and_a_purge_ask_first(plant: Plant) -> None:
    plant.say("car-1", [b"junk"], 1)
    plant.fold()
    assert "nothing was done" in plant.run("replay", code=1, input="n\n").stderr
    assert plant.world.all("dead_letters") == []
    plant.run("purge", code=1, input="n\n")
    assert len(plant.json("list")) == 1


@pytest.mark.skipif(not _ON_APACHE, reason="needs DeleteRecords: FLEETFOLD_TEST_KAFKA=apache")
def test_a_purge_deletes_up_to_the_first_letter_that_stays_and_its_marks(plant: Plant) -> None:
    plant.run("purge", "--yes")
    for n in range(3):
        plant.say("car-1", [b"junk %d" % n], n)
    plant.fold()
    (first, _, last) = plant.json("list")
    plant.run("replay", "--yes", "--asset", "car-1")
    plant.fold(more=3)  # refused again: three more letters
    assert plant.json("purge", "--replayed", "--dry-run")["deleted"] == 3
    assert plant.json("purge", "--replayed", "--yes")["deleted"] == 3
    assert [letter["offset"] for letter in plant.json("list")] == [last["offset"] + n for n in (1, 2, 3)]
    assert plant.world.all("dead_letters") == []
    assert "nothing lies at" in plant.run("show", first["place"], code=1).stderr
    expired = {"_id": first["place"], "topic": first["topic"], "partition": 0, "offset": first["offset"], "origin": ""}
    when = datetime.now(UTC)
    plant.world.store.database["dead_letters"].insert_one({**expired, "reason": "x", "replayed": when, "times": 1})
    plant.run("replay", "--yes")
    plant.fold(more=3)
    assert first["place"] not in {mark["_id"] for mark in plant.world.all("dead_letters")}
    assert plant.json("purge", "--yes")["deleted"] == 6
    assert plant.json("list") == []
