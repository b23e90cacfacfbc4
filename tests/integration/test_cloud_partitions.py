"""The twin service on the partitions of a real Kafka: a busy asset, topics that grow or begin anew, offsets."""

import os
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions

from cloud import kafka, topics_admin
from cloud.cache import Cache
from cloud.config import ConsumerSettings, TopicSettings
from cloud.linker import Linker
from cloud.metrics import Metrics
from cloud.outlet import Outlet
from cloud.processor import Processor
from cloud.sharing import Sharing
from tests import kafka_topics
from tests.cloud_worker import World
from tests.cloud_world import NOW_MS, frame, record
from wire import kafka as client

SPEED = "Vehicle.Speed"
SIGNALS = "fleet.signals.v1"
_ON_APACHE = os.environ.get("FLEETFOLD_TEST_KAFKA") == "apache"
topics_change = pytest.mark.skipif(not _ON_APACHE, reason="topics cannot change there: FLEETFOLD_TEST_KAFKA=apache")


class Line:
    """A broker with the contract's topics, a database, and a worker between them."""

    def __init__(self, bootstrap_servers: str, world: World) -> None:
        self.world, self.servers = world, bootstrap_servers
        self.settings = ConsumerSettings(
            bootstrap_servers=bootstrap_servers, commit_interval_ms=0, batch_records_max=200
        )
        topics_admin.create(self.settings, TopicSettings(partitions=2))
        self.admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})
        self.source = kafka.Source(self.settings)
        self.worker = self.processor(Sharing())
        self.carried_bytes_max = 0

    def processor(self, sharing: Sharing) -> Processor:
        outlet = Outlet(self.settings, lambda: None)
        linker = Linker(self.world.store, lambda: NOW_MS)
        return Processor(self.source, outlet, self.world.store, linker, Cache(100), Metrics(), sharing=sharing)

    def say(self, asset_id: str, seqs: range, partition: int, filler: int = 0) -> None:
        """A record per frame."""
        producer = Producer({"bootstrap.servers": self.servers, "log_level": 0, "linger.ms": 50})
        for seq in seqs:
            values = {SPEED: seq % 250, "Vehicle.Diagnostics.DTCList": ["P0301"] * filler}
            made = record(asset_id, [frame(NOW_MS + seq, values, "s", seq)], first_sequence=seq)
            producer.produce(SIGNALS, key=asset_id, value=made.value, partition=partition)
            producer.poll(0)
        producer.flush()

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            self.worker.turn()
            self.carried_bytes_max = max(self.carried_bytes_max, self.worker._sharing.carried_bytes)
            assert time.monotonic() < deadline, [(one["_id"], one["counters"]) for one in self.world.all("twins")]

    def frames(self, asset_id: str) -> int:
        twin = self.world.store.database["twins"].find_one({"_id": asset_id})
        return int(twin["counters"]["frames"]) if twin else 0

    def committed(self, partition: int) -> int:
        return kafka_topics.committed(self.servers, self.settings.group_id, SIGNALS, 2)[partition]

    def close(self) -> None:
        self.source.close()


@pytest.fixture
def line(fresh_kafka: str, mongodb_uri: str, mongo_database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    monkeypatch.setitem(client.CONSUMER, "topic.metadata.refresh.interval.ms", 500)
    world = World(mongodb_uri, mongo_database)
    made = Line(fresh_kafka, world)
    yield made
    made.close()
    world.client.close()


def test_a_busy_asset_holds_up_nobody_and_its_offsets_wait_for_it(line: Line) -> None:
    """It sends a thousand times its share: the others of all partitions are written while most of it still waits, its
    partition is read on only as its rest becomes less, and no offset is committed before what it stands for."""
    line.say("hot", range(1_500), 0, filler=30)
    for asset_id, partition in (("same", 0), ("other", 1)):
        line.say(asset_id, range(3), partition)
    line.worker = line.processor(Sharing(bytes_per_turn_max=5_000, carried_bytes_max=100_000))
    line.until(lambda: line.frames("other") == 3)
    assert line.frames("hot") < 500
    assert line.committed(0) <= line.frames("hot")
    line.until(lambda: line.frames("same") == 3 and line.frames("hot") == 1_500)
    assert line.carried_bytes_max < 250_000, "a third of what it sent, and a poll's worth above the limit"
    line.until(lambda: line.committed(0) == 1_503)
    assert line.committed(1) == 3
    counters = line.world.twin("hot")["counters"]
    assert (counters["gaps"], counters["duplicates"], counters["late"]) == (0, 0, 0)


def test_a_busy_asset_leaves_its_share_of_a_turn_to_others(mongodb_uri: str, mongo_database: str) -> None:
    """How long another asset's record takes does not grow with what the busy one sends."""
    world = World(mongodb_uri, mongo_database)
    flood = [record("hot", [frame(NOW_MS + n, {SPEED: n % 9}, "s", n)], n) for n in range(3_000)]
    worker = world.worker([*flood, record("cool", [frame(NOW_MS, {SPEED: 1}, "s", 0)], 3_000)])
    worker._sharing = Sharing(bytes_per_turn_max=10_000)
    worker.turn()
    assert world.twin("cool")["counters"]["frames"] == 1
    assert world.twin("hot")["counters"]["frames"] <= 10_000 / len(flood[0].value or b"") + 1
    while world.twin("hot")["counters"]["frames"] < 3_000:
        worker.turn()
    assert world.twin("hot")["counters"]["gaps"] == 0
    world.client.close()


def test_a_partition_that_was_given_up_while_the_worker_waited_is_read_when_it_comes_back(line: Line) -> None:
    """A worker that waits for MongoDB pauses what it has; the client keeps the pause of what it gives up meanwhile."""
    line.close()
    line.settings = line.settings.model_copy(update={"group_id": "of-one-topic"})  # else those of others might move
    line.source = kafka.Source(line.settings, [SIGNALS])
    line.worker = line.processor(Sharing())
    line.say("a", range(5), 0)
    line.say("b", range(5), 1)
    line.until(lambda: line.frames("a") == 5 and line.frames("b") == 5)
    held = line.source.assigned
    other = kafka.Source(line.settings, [SIGNALS])
    deadline = time.monotonic() + 60
    while not other.assigned or line.source.assigned == held:
        line.source.keep_alive()
        other.poll(patient=False)
        assert time.monotonic() < deadline
    other.close()
    line.until(lambda: line.source.assigned == held)
    line.say("a", range(5, 9), 0)
    line.say("b", range(5, 9), 1)
    line.until(lambda: line.frames("a") == 9 and line.frames("b") == 9)


def test_what_is_read_while_the_worker_waits_is_not_lost(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pause stops what is fetched, but not what a rebalance lets through at that moment."""
    line.until(lambda: line.source.assigned > 0)
    monkeypatch.setattr(line.source, "_consumer", _Unpausable(line.source._consumer))
    line.say("a", range(20), 0)
    deadline = time.monotonic() + 60
    while len(line.source._held) < 20:
        line.source.keep_alive()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    line.until(lambda: line.frames("a") == 20)


class _Unpausable:
    """A consumer whose pauses come too late."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer

    def pause(self, partitions: list[TopicPartition]) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)


def test_a_worker_whose_client_does_not_ask_again_where_to_begin_joins_again(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would have partitions and read none of them, and look well."""
    line.until(lambda: line.source.assigned > 0)
    monkeypatch.setattr(line.source, "_consumer", _Lost(line.source._consumer))
    line.say("a", range(20), 0)
    line.until(lambda: line.frames("a") == 20)
    assert line.world.twin("a")["counters"]["duplicates"] == 0


class _Lost:
    """A consumer that was told that the coordinator has moved, and fetches nothing any more."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._told = False

    def consume(self, _records_max: int, wait_s: float) -> list[Any]:
        self._told, again = True, self._told
        time.sleep(wait_s)
        error = KafkaError(KafkaError.NOT_COORDINATOR, "Failed to fetch committed offsets")
        return [] if again else [SimpleNamespace(error=lambda: error)]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)


@topics_change
def test_a_topic_that_grows_while_it_is_read_loses_and_doubles_nothing(line: Line) -> None:
    line.say("a", range(10), 0)
    line.until(lambda: line.frames("a") > 0)
    for future in line.admin.create_partitions([NewPartitions(SIGNALS, 4)]).values():
        future.result(20)
    line.say("a", range(10, 20), 0)
    line.say("a", range(15, 40), 3)
    line.until(lambda: line.frames("a") == 40)
    counters = line.world.twin("a")["counters"]
    assert (counters["gaps"], counters["uncertain"], counters["duplicates"]) == (0, 0, 5)


@topics_change
def test_a_topic_that_begins_anew_is_read_from_its_beginning(line: Line) -> None:
    """Deleted and created again, with offsets that the twins have seen: another topic by the same name."""
    line.say("a", range(20), 0)
    line.until(lambda: line.frames("a") == 20)
    for future in line.admin.delete_topics([SIGNALS]).values():
        future.result(20)
    _until_gone(line.admin)
    kafka_topics.create(line.servers, {SIGNALS: 2})
    line.say("a", range(15, 30), 0)
    line.until(lambda: line.frames("a") == 30)
    line.say("a", range(30, 33), 1)
    line.until(lambda: line.frames("a") == 33)
    assert line.world.twin("a")["counters"]["duplicates"] == 5


def _until_gone(admin: AdminClient) -> None:
    deadline = time.monotonic() + 20
    while SIGNALS in admin.list_topics(timeout=10).topics:
        assert time.monotonic() < deadline
        time.sleep(0.05)
