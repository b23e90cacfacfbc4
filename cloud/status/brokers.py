"""Asks Kafka how far the group is: committed offsets against the log's ends, and how old the first undone record is."""

import time
from typing import Any, Final

from confluent_kafka import Consumer, ConsumerGroupState, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from cloud import facts
from cloud.config import ConsumerSettings
from cloud.history import collect
from cloud.sharing import Place
from cloud.status.report import Kafka, Member, Partition
from wire import kafka, topics

_READ: Final = (*topics.CHANNEL_OF, *sorted(facts.TOPICS))


def ask(settings: ConsumerSettings, timeout_s: float, history_group: str | None = None) -> Kafka:
    """Everything that Kafka knows; never raises for a broker that does not answer. `history_group`: of those who keep
    history, where that is kept."""
    quiet = {**settings.client(), "log_level": 0}
    consumer = Consumer({**kafka.CONSUMER, **quiet, "group.id": settings.group_id})
    try:
        existing = consumer.list_topics(timeout=timeout_s).topics
        places = [
            TopicPartition(name, number) for name in _READ if name in existing for number in existing[name].partitions
        ]
        answer = Kafka(True, group=settings.group_id)
        answer.missing_topics = [name for name in _READ if name not in existing]
        answer.partitions = _partitions(consumer, places, timeout_s)
        letters = [name for name in topics.DEAD_LETTER_TOPICS if name in existing]
        answer.dead_letters = {
            name: sum(_held(consumer, TopicPartition(name, number), timeout_s) for number in existing[name].partitions)
            for name in letters
        }
        if history_group is not None:
            of_history = [place for place in places if place.topic in collect.TOPICS]
            answer.history_lag_records = _lag_of(history_group, quiet, of_history, timeout_s)
    except KafkaException as error:
        return Kafka(False, f"{settings.bootstrap_servers}: {error.args[0]}", settings.group_id)
    finally:
        consumer.close()
    answer.group_state, answer.members = _members(AdminClient(quiet), settings.group_id, timeout_s)
    return answer


def _partitions(consumer: Consumer, places: list[TopicPartition], timeout_s: float) -> list[Partition]:
    behind: dict[Place, TopicPartition] = {}
    standing: list[tuple[TopicPartition, int | None, int, int]] = []
    for at in consumer.committed(places, timeout_s):
        low, high = consumer.get_watermark_offsets(at, timeout_s)
        committed = at.offset if at.offset >= 0 else None
        first = max(low, committed or 0)
        lag = max(0, high - first)
        standing.append((at, committed, high, lag))
        if lag:
            behind[at.topic, at.partition] = TopicPartition(at.topic, at.partition, first)
    ages_s = _ages_s(consumer, behind, timeout_s)
    return [
        Partition(at.topic, at.partition, committed, end, lag, ages_s.get((at.topic, at.partition)) if lag else 0.0)
        for at, committed, end, lag in standing
    ]


def _lag_of(group: str, quiet: dict[str, Any], places: list[TopicPartition], timeout_s: float) -> int:
    """Records that another group has not committed yet."""
    consumer = Consumer({**kafka.CONSUMER, **quiet, "group.id": group})
    try:
        lag = 0
        for at in consumer.committed(places, timeout_s):
            low, high = consumer.get_watermark_offsets(at, timeout_s)
            lag += max(0, high - max(low, at.offset))
        return lag
    finally:
        consumer.close()


def _ages_s(consumer: Consumer, behind: dict[Place, TopicPartition], timeout_s: float) -> dict[Place, float]:
    """The age of the first record of each; one that cannot be read in time is left out."""
    ages_s: dict[Place, float] = {}
    if not behind:
        return ages_s
    consumer.assign(list(behind.values()))
    deadline = time.monotonic() + timeout_s
    while len(ages_s) < len(behind) and time.monotonic() < deadline:
        message = consumer.poll(0.1)
        if message is None or message.error() is not None:
            continue
        topic, partition = message.topic(), message.partition()
        if topic is not None and partition is not None and (topic, partition) not in ages_s:
            ages_s[topic, partition] = max(0.0, time.time() - message.timestamp()[1] / 1000)
            consumer.pause([TopicPartition(topic, partition)])
    return ages_s


def _held(consumer: Consumer, place: TopicPartition, timeout_s: float) -> int:
    low, high = consumer.get_watermark_offsets(place, timeout_s)
    return int(max(0, high - low))


def _members(admin: AdminClient, group: str, timeout_s: float) -> tuple[str, list[Member] | None]:
    try:
        described = admin.describe_consumer_groups([group], request_timeout=timeout_s)[group].result(timeout_s)
    except Exception:  # some brokers do not know the request, and say so in as many ways
        return "unknown", None
    if described.state is ConsumerGroupState.UNKNOWN:
        return "unknown", None
    members = [
        Member(member.client_id, member.host, len(member.assignment.topic_partitions) if member.assignment else 0)
        for member in described.members
    ]
    if not members and described.state is not ConsumerGroupState.EMPTY:
        return described.state.name.lower(), None
    return described.state.name.lower(), members
