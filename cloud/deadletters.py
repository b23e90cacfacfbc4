"""Reads the dead-letter topics, for people: what could not be used, where it came from and why."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

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
    """Every dead letter there is, oldest first per partition; raises `KafkaException` when no broker answers.

    Ends when nothing more comes for a second: some brokers name an end that lies before the last batch's end.
    """
    consumer = Consumer({**kafka.CONSUMER, **settings.client(), "group.id": "fleetfold-dead-letters"})
    try:
        existing = consumer.list_topics(timeout=_TIMEOUT_S).topics
        names = [spec.name for spec in topics.KAFKA_TOPICS if spec.name.endswith(".dlq") and spec.name in existing]
        consumer.assign([TopicPartition(name, number, 0) for name in names for number in existing[name].partitions])
        while messages := consumer.consume(_CHUNK, _QUIET_S):
            yield from map(_buried, messages)
    finally:
        consumer.close()


def _buried(message: Message) -> Buried:
    error = message.error()
    if error is not None:
        raise KafkaException(error)
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None
    assert partition is not None
    assert offset is not None
    headers = [(name, _as_bytes(data)) for name, data in dict(message.headers() or ()).items()]
    return Buried(topic, partition, offset, DeadLetter.read(_as_bytes(message.value()), headers))


def _as_bytes(data: str | bytes | None) -> bytes | None:
    return data.encode() if isinstance(data, str) else data
