"""Reads the dead-letter topics, for people: what could not be used, where it came from and why."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from confluent_kafka import Consumer, KafkaException, TopicPartition

from runtime.settings import KafkaSettings
from wire import kafka, topics
from wire.records import DeadLetter

_TIMEOUT_S: Final = 10.0
_QUIET_S: Final = 1.0
_CHUNK: Final = 500


class Buried(NamedTuple):
    """A dead letter and where it lies."""

    topic: str
    partition: int
    offset: int
    letter: DeadLetter


def read_all(settings: KafkaSettings) -> Iterator[Buried]:
    """Every dead letter there is, topic by topic, oldest first; raises `KafkaException` when no broker answers."""
    consumer = Consumer(
        {**kafka.CONSUMER, **settings.client(), "group.id": "fleetfold-dead-letters", "enable.partition.eof": False}
    )
    try:
        existing = consumer.list_topics(timeout=_TIMEOUT_S).topics
        for spec in topics.KAFKA_TOPICS:
            if spec.name.endswith(".dlq") and spec.name in existing:
                yield from _read_topic(consumer, spec.name, sorted(existing[spec.name].partitions))
    finally:
        consumer.close()


def _read_topic(consumer: Consumer, topic: str, partitions: list[int]) -> Iterator[Buried]:
    """Until nothing more comes for a second: some brokers name an end that lies before the last batch's end."""
    consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
    while messages := consumer.consume(_CHUNK, _QUIET_S):
        for message in messages:
            error = message.error()
            if error is not None:
                raise KafkaException(error)
            partition, offset = message.partition(), message.offset()
            assert partition is not None
            assert offset is not None
            headers = [(name, _as_bytes(data)) for name, data in dict(message.headers() or ()).items()]
            letter = DeadLetter.read(_as_bytes(message.value()), headers)
            yield Buried(topic, partition, offset, letter)
    consumer.unassign()


def _as_bytes(data: str | bytes | None) -> bytes | None:
    return data.encode() if isinstance(data, str) else data
