"""Workers share partitions by the protocol that the broker speaks."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from cloud import group, kafka
from cloud.config import ConsumerSettings
from cloud.inbox import Record
from local.processes import Processes
from local.servers import apache_kafka
from tests import kafka_topics
from wire import topics

PARTITIONS = 4


def until(condition: Callable[[], bool], *sources: kafka.Source, heard: list[str] | None = None) -> None:
    """Read and be done with it; `heard`: where what was read lies."""
    deadline = time.monotonic() + 40
    while not condition():
        for source in sources:
            records = source.poll()
            source.done(records)
            if heard is not None:
                heard += [record.place for record in records]
        assert time.monotonic() < deadline


def create(servers: str) -> None:
    fleet = (*topics.CHANNEL_OF, *(spec.name for spec in topics.KAFKA_TOPICS if not spec.name.startswith("fleet.")))
    kafka_topics.create(servers, dict.fromkeys(fleet, PARTITIONS))


def say(servers: str) -> None:
    """A record on each partition."""
    producer = Producer({"bootstrap.servers": servers})
    for partition in range(PARTITIONS):
        producer.produce(topics.FLEET_SIGNALS, b"x", partition=partition)
    assert producer.flush(20) == 0


@pytest.mark.parametrize(
    ("choice", "told", "spoken"),
    [
        ("auto", "classic,consumer,streams", "consumer"),
        ("auto", "classic", "classic"),
        ("auto", None, "classic"),
        ("classic", "classic,consumer", "classic"),
        ("consumer", None, "consumer"),
    ],
)
def test_the_protocol_is_the_brokers_or_the_chosen_one(choice, told, spoken):
    assert group.choose(choice, told) == spoken


def test_workers_share_partitions_and_take_over_those_of_one_that_left(fresh_kafka: str) -> None:
    """On whichever broker was chosen for the tests; on Apache Kafka 4 by KIP-848. What one was done with before it gave
    up a partition is committed, though it was not yet time, so nobody reads it again."""
    create(fresh_kafka)
    settings = ConsumerSettings(bootstrap_servers=fresh_kafka, batch_wait_ms=50, commit_interval_ms=60_000)
    heard: list[str] = []
    first = kafka.Source(settings, [topics.FLEET_SIGNALS])  # else those that move might be of other topics
    say(fresh_kafka)
    until(lambda: len(heard) == PARTITIONS, first, heard=heard)
    whole = first.assigned
    second = kafka.Source(settings, [topics.FLEET_SIGNALS])
    assert second.protocol == first.protocol
    held: list[int] = []

    def shared() -> bool:
        held.append(first.assigned)
        return second.assigned > 0 and first.assigned + second.assigned == whole

    until(shared, first, second, heard=heard)
    assert min(held) > 0, "a rebalance takes away only what moves"
    say(fresh_kafka)
    until(lambda: len(heard) >= 2 * PARTITIONS, first, second, heard=heard)
    second.close()
    until(lambda: first.assigned == whole, first, heard=heard)
    say(fresh_kafka)
    until(lambda: len(heard) >= 3 * PARTITIONS, first, heard=heard)
    assert len(set(heard)) == len(heard) == 3 * PARTITIONS
    first.close()


def test_what_was_read_of_a_partition_that_was_given_up_is_committed_by_its_new_owner_alone(fresh_kafka: str) -> None:
    """Though the old one finishes it later: it might set back, or run ahead of, what the new one has done."""
    create(fresh_kafka)
    settings = ConsumerSettings(bootstrap_servers=fresh_kafka, batch_wait_ms=50)
    first = kafka.Source(settings, [topics.FLEET_SIGNALS])
    say(fresh_kafka)
    read: list[Record] = []
    deadline = time.monotonic() + 40
    while len(read) < PARTITIONS:
        read += first.poll()
        assert time.monotonic() < deadline
    second = kafka.Source(settings, [topics.FLEET_SIGNALS])
    while not second.assigned or first.assigned + second.assigned != PARTITIONS:
        read += first.poll()
        second.poll()
        assert time.monotonic() < deadline
    first.done(read)
    first.commit()
    owned = [first.owns((topics.FLEET_SIGNALS, number)) for number in range(PARTITIONS)]
    known = kafka_topics.committed(fresh_kafka, settings.group_id, topics.FLEET_SIGNALS, PARTITIONS)
    assert known == [1 if mine else 0 for mine in owned]
    first.close()
    second.close()


class Upgraded(apache_kafka.ApacheKafka):
    """A cluster whose software knows the protocol, but whose features are still those of Kafka 3."""

    def _format(self) -> None:
        words = [
            "kafka.tools.StorageTool",
            "format",
            "--cluster-id=MkU3OEVBNTcwNTJENDM2Qg",
            "-c",
            str(self._properties),
        ]
        command = [*self._java(), *words, "--feature", "group.version=0"]
        assert self._owner.start("format", command, self.log_file).wait(60) == 0


@pytest.fixture
def upgraded(processes: Processes, tmp_path: Path, apache_kafka_available: None) -> Iterator[str]:
    with Upgraded(processes, tmp_path) as server:
        yield server.url


def test_a_broker_that_knows_the_protocol_but_has_it_switched_off_is_read_the_classic_way(upgraded: str) -> None:
    create(upgraded)
    source = kafka.Source(ConsumerSettings(bootstrap_servers=upgraded))
    assert source.protocol == "consumer", "that is what the broker says"
    producer = Producer({"bootstrap.servers": upgraded})
    producer.produce(topics.FLEET_SIGNALS, b"x")
    producer.flush()
    until(lambda: source.assigned > 0, source)
    assert source.protocol == "classic"
    source.close()


@pytest.fixture
def modern(processes: Processes, tmp_path: Path, apache_kafka_available: None) -> Iterator[str]:
    with apache_kafka.ApacheKafka(processes, tmp_path) as server:
        yield server.url


def test_workers_share_each_topic_and_not_only_their_sum(modern: str) -> None:
    """Almost all that a fleet says is of one topic: whoever had none of its partitions would have nothing to do. Who
    comes later gets half of it as well, and all that is said of an asset is heard by one of them."""
    create(modern)
    settings = ConsumerSettings(bootstrap_servers=modern, batch_wait_ms=50)
    first = kafka.Source(settings)
    until(lambda: first.assigned > 0, first)
    whole = first.assigned
    second = kafka.Source(settings)
    until(lambda: second.assigned > 0 and first.assigned + second.assigned == whole, first, second)
    shares = {tuple(first.owns((topic, number)) for number in range(PARTITIONS)) for topic in kafka.TOPICS}
    assert [sum(share) for share in shares] == [PARTITIONS / 2]
    first.close()
    second.close()


class WithoutRange(apache_kafka.ApacheKafka):
    """A cluster that offers the default assignor alone."""

    def properties(self) -> str:
        return super().properties() + "group.consumer.assignors=uniform\n"


def test_a_broker_without_the_assignor_is_read_the_classic_way(
    processes: Processes, tmp_path: Path, apache_kafka_available: None
) -> None:
    with WithoutRange(processes, tmp_path) as server:
        create(server.url)
        source = kafka.Source(ConsumerSettings(bootstrap_servers=server.url))
        say(server.url)
        heard: list[str] = []
        until(lambda: len(heard) == PARTITIONS, source, heard=heard)
        assert source.protocol == "classic"
        source.close()
