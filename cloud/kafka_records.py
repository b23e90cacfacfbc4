"""Messages of the Kafka client as records of ours."""

from confluent_kafka import Message

from cloud.inbox import Record


def record_of(message: Message, generations: dict[str, str]) -> Record:
    """A message that is no error. `generations`: topic → id."""
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None
    assert partition is not None
    assert offset is not None
    key, value, timestamp_ms = message.key(), message.value(), message.timestamp()[1]
    generation = generations.get(topic, "")
    return Record(topic, generation, partition, offset, _as_bytes(key) or b"", _as_bytes(value), timestamp_ms)


def _as_bytes(data: str | bytes | None) -> bytes | None:
    return data.encode() if isinstance(data, str) else data
