"""Messages of the Kafka client as records of ours."""

from collections.abc import Iterable
from typing import Any, Final

from confluent_kafka import KafkaException, Message, TopicCollection
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_exponential

from cloud.inbox import Record

_DESCRIBE_TIMEOUT_S: Final = 10


def record_of(message: Message, generations: dict[str, str]) -> Record:
    """A message that is no error. `generations`: topic → id."""
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None
    assert partition is not None
    assert offset is not None
    key, value, timestamp_ms = message.key(), message.value(), message.timestamp()[1]
    generation = generations.get(topic, "")
    return Record(topic, generation, partition, offset, _as_bytes(key) or b"", _as_bytes(value), timestamp_ms)


@retry(stop=stop_after_attempt(6), wait=wait_exponential(max=5), retry=retry_if_exception_type(KafkaException))
def topic_ids(admin: Any, names: Iterable[str]) -> dict[str, str]:
    """Topic → id, by an `AdminClient`."""
    described = admin.describe_topics(TopicCollection(sorted(names)), request_timeout=_DESCRIBE_TIMEOUT_S)
    return {name: str(future.result().topic_id) for name, future in described.items()}


def _as_bytes(data: str | bytes | None) -> bytes | None:
    return data.encode() if isinstance(data, str) else data
