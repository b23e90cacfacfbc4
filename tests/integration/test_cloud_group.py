"""Workers share partitions by the protocol that the broker speaks."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from cloud import group, kafka
from cloud.config import ConsumerSettings
from local.processes import Processes
from local.servers import apache_kafka
from tests import kafka_topics
from wire import topics

PARTITIONS = 4


def until(condition, *sources: kafka.Source) -> None:
    deadline = time.monotonic() + 40
    while not condition():
        for source in sources:
            source.done(source.poll())
        assert time.monotonic() < deadline


def create(servers: str) -> None:
    fleet = (*topics.CHANNEL_OF, *(spec.name for spec in topics.KAFKA_TOPICS if not spec.name.startswith("fleet.")))
    kafka_topics.create(servers, dict.fromkeys(fleet, PARTITIONS))


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
    """On whichever broker was chosen for the tests; on Apache Kafka 4 by KIP-848."""
    create(fresh_kafka)
    settings = ConsumerSettings(bootstrap_servers=fresh_kafka, batch_wait_ms=50)
    first = kafka.Source(settings)
    until(lambda: first.assigned > 0, first)
    whole = first.assigned
    second = kafka.Source(settings)
    assert second.protocol == first.protocol
    held: list[int] = []

    def shared() -> bool:
        held.append(first.assigned)
        return second.assigned > 0 and first.assigned + second.assigned == whole

    until(shared, first, second)
    assert min(held) > 0, "a rebalance takes away only what moves"
    second.close()
    until(lambda: first.assigned == whole, first)
    first.close()


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
