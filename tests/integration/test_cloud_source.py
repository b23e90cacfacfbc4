"""How the twin service reads a real Kafka: which topic a record is of, and when the group is told how far it is."""

import os
import time
from contextlib import closing
from pathlib import Path
from typing import Literal

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from cloud import kafka_questions
from cloud.config import ConsumerSettings
from cloud.identity import Identities
from cloud.inbox import Record
from cloud.kafka import Source
from local.processes import Processes
from local.servers.kafka import Tansu
from tests import kafka_topics
from wire.topics import FLEET_SIGNALS as TOPIC

LIMIT_S = 40.0
_ON_APACHE = os.environ.get("FLEETFOLD_TEST_KAFKA") == "apache"
topics_change = pytest.mark.skipif(not _ON_APACHE, reason="topics cannot change there: FLEETFOLD_TEST_KAFKA=apache")


def open_source(
    servers: str, commit_interval_ms: int = 1_000, protocol: Literal["auto", "classic", "consumer"] = "auto"
) -> Source:
    """Reads a topic of one partition, which it makes."""
    kafka_topics.create(servers, {TOPIC: 1})
    settings = ConsumerSettings(
        bootstrap_servers=servers,
        batch_wait_ms=50,
        commit_interval_ms=commit_interval_ms,
        group_id="of-one-topic",
        group_protocol=protocol,
    )
    return Source(settings, [TOPIC])


def say(servers: str, count: int) -> None:
    producer = Producer({"bootstrap.servers": servers, "log_level": 0})
    for _ in range(count):
        producer.produce(TOPIC, b"x", partition=0)
    assert producer.flush(20) == 0


def read(source: Source, count: int) -> list[Record]:
    records: list[Record] = []
    deadline = time.monotonic() + LIMIT_S
    while len(records) < count:
        records += source.poll()
        assert time.monotonic() < deadline
    return records


def topic_id(servers: str) -> str:
    return kafka_questions.topic_ids(AdminClient({"bootstrap.servers": servers, "log_level": 0}), [TOPIC])[TOPIC]


def seen(records: list[Record]) -> list[tuple[str, int]]:
    return [(record.generation, record.offset) for record in records]


@topics_change
def test_records_of_a_topic_that_was_created_again_are_known_for_those_of_another(fresh_kafka: str) -> None:
    """So fast that the partitions never change hands: only that offsets begin anew tells of it."""
    admin = AdminClient({"bootstrap.servers": fresh_kafka, "log_level": 0})
    with closing(open_source(fresh_kafka)) as source:
        say(fresh_kafka, 5)
        first = topic_id(fresh_kafka)
        assert seen(read(source, 5)) == [(first, offset) for offset in range(5)]
        for future in admin.delete_topics([TOPIC]).values():
            future.result(20)
        kafka_topics.create(fresh_kafka, {TOPIC: 1})
        say(fresh_kafka, 3)
        second = topic_id(fresh_kafka)
        assert second != first
        assert seen(read(source, 3)) == [(second, offset) for offset in range(3)]


@topics_change
@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_of_a_topic_that_was_created_again_and_has_grown_beyond_the_old_one_everything_is_read(
    fresh_kafka: str, protocol: Literal["classic", "consumer"]
) -> None:
    """Its client reads on in the middle; what it read there as the old topic's comes again as the new one's."""
    admin = AdminClient({"bootstrap.servers": fresh_kafka, "log_level": 0})
    with closing(open_source(fresh_kafka, protocol=protocol)) as source:
        assert source.protocol == protocol
        source._identities = Identities(source._admin, source._on_wait, interval_s=0.5)
        say(fresh_kafka, 5)
        read(source, 5)
        for future in admin.delete_topics([TOPIC]).values():
            future.result(20)
        kafka_topics.create(fresh_kafka, {TOPIC: 1})
        say(fresh_kafka, 20)
        second = topic_id(fresh_kafka)
        wanted, found = {(second, offset) for offset in range(20)}, set[tuple[str, int]]()
        deadline = time.monotonic() + LIMIT_S
        while not wanted <= found:
            records = source.poll()
            source.done(records)
            found |= set(seen(records))
            assert time.monotonic() < deadline, sorted(found)
        source.commit()
        assert kafka_topics.committed(fresh_kafka, "of-one-topic", TOPIC, 1) == [20]


def test_records_of_a_broker_that_has_forgotten_its_topics_are_known_for_those_of_others(
    processes: Processes, tmp_path: Path
) -> None:
    """The wheel's keeps them in memory: after a restart the partitions are given anew, by the same names."""
    with Tansu(processes, tmp_path) as broker, closing(open_source(broker.url)) as source:
        say(broker.url, 5)
        first = topic_id(broker.url)
        assert seen(read(source, 5)) == [(first, offset) for offset in range(5)]
        broker.kill()
        broker.start()
        kafka_topics.create(broker.url, {TOPIC: 1})
        say(broker.url, 3)
        second = topic_id(broker.url)
        assert second != first
        assert seen(read(source, 3)) == [(second, offset) for offset in range(3)]


def test_the_last_offsets_before_a_silence_are_committed_during_it(fresh_kafka: str) -> None:
    """What is done while the group has yet to answer, or before it is time again, waits; nothing else comes to take it
    along."""
    with closing(open_source(fresh_kafka, commit_interval_ms=300)) as source:
        say(fresh_kafka, 5)
        records = read(source, 5)
        for record in records:  # at most the first of these is committed along with it
            source.done([record])
        deadline = time.monotonic() + LIMIT_S
        while (known := kafka_topics.committed(fresh_kafka, "of-one-topic", TOPIC, 1)) != [5]:
            assert source.poll() == []
            assert time.monotonic() < deadline, f"committed: {known}"
