"""The dead-letter topics, as `fleetfold-cloud dlq` sees them: reads, puts back, deletes. No group, no offsets kept."""

import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Final, Self

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from cloud.dlq.letters import Buried
from cloud.dlq.returning import Return
from runtime.settings import KafkaSettings
from wire import kafka
from wire.records import DeadLetter
from wire.topics import DEAD_LETTER_TOPICS

_TIMEOUT_S: Final = 10.0
_QUIET_S: Final = 0.3
_CHUNK: Final = 500
_SEND_TIMEOUT_MS: Final = 60_000

Place = tuple[str, int]
"""Topic and partition."""


class NotDeletedError(Exception):
    """The broker did not delete: not every Kafka-compatible one knows how to."""


class Graveyard:
    """A connection to the dead-letter topics; every method raises `KafkaException` when no broker answers."""

    def __init__(self, settings: KafkaSettings) -> None:
        quiet = {**settings.client(), "log_level": 0}
        self._consumer = Consumer({**kafka.CONSUMER, **quiet, "group.id": "fleetfold-dead-letters"})
        self._settings = quiet
        self._producer: Producer | None = None
        self._refused: list[str] = []

    def ends(self, topics: Iterable[str] = DEAD_LETTER_TOPICS) -> dict[Place, tuple[int, int]]:
        """The first offset held and the first not yet written, per partition of the topics that exist."""
        existing = self._consumer.list_topics(timeout=_TIMEOUT_S).topics
        places = [(name, number) for name in topics if name in existing for number in existing[name].partitions]
        return {place: self._watermarks(place) for place in places}

    def scan(self, topics: Iterable[str] = DEAD_LETTER_TOPICS) -> Iterator[Buried]:
        """Every dead letter there was when it began, oldest first per partition.

        Some brokers name an end that lies before the last batch's end, so it goes on until nothing comes for a
        moment; a broker that stops answering before the named end is an error.
        """
        ends = self.ends(topics)
        due = {place: high for place, (low, high) in ends.items() if low < high}
        self._consumer.assign([TopicPartition(*place, OFFSET_BEGINNING) for place in ends])
        quiet_since_s = time.monotonic()
        while True:
            messages = self._consumer.consume(_CHUNK, _QUIET_S)
            for buried in map(_buried, messages):
                place = (buried.topic, buried.partition)
                if buried.offset + 1 >= due.get(place, 0):
                    due.pop(place, None)
                yield buried
            if messages:
                quiet_since_s = time.monotonic()
            elif not due:
                return
            elif time.monotonic() - quiet_since_s > _TIMEOUT_S:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"no more came of {sorted(due)}"))  # noqa: SLF001 - the client's own code for it

    def at(self, topic: str, partition: int, offset: int) -> Buried | None:
        """The dead letter at one place, if it is held."""
        low, high = self.ends([topic]).get((topic, partition), (0, 0))
        if not low <= offset:
            return None
        self._consumer.assign([TopicPartition(topic, partition, offset)])
        messages = self._consumer.consume(1, _TIMEOUT_S if offset < high else _QUIET_S)
        buried = next(map(_buried, messages), None)
        return buried if buried is not None and buried.offset == offset else None

    def put_back(self, returns: Iterable[Return]) -> None:
        """Write records and wait until the brokers have them all; raises when one is refused."""
        if self._producer is None:
            self._producer = Producer({**kafka.PRODUCER, **self._settings, "message.timeout.ms": _SEND_TIMEOUT_MS})
        for topic, key, value, headers in returns:
            self._producer.produce(topic, key=key, value=value, headers=list(headers), on_delivery=self._on_delivery)
            self._producer.poll(0)
        self._producer.flush()
        refused, self._refused = self._refused, []
        if refused:
            raise KafkaException(KafkaError(KafkaError._FAIL, f"{len(refused)} not written: {refused[0]}"))  # noqa: SLF001 - the client's own code for it

    def delete_before(self, offsets: dict[Place, int]) -> None:
        """Delete what lies before an offset, per partition."""
        admin = AdminClient(self._settings)
        before = [TopicPartition(*place, offset) for place, offset in offsets.items()]
        try:
            for future in admin.delete_records(before, request_timeout=_TIMEOUT_S).values():
                future.result()
        except KafkaException as error:
            raise NotDeletedError(str(error.args[0])) from error

    def _watermarks(self, place: Place) -> tuple[int, int]:
        found: tuple[int, int] | None = self._consumer.get_watermark_offsets(TopicPartition(*place), _TIMEOUT_S)
        if found is None:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"no offsets of {place}"))  # noqa: SLF001 - the client's own code for it
        return found

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._refused.append(f"{message.topic()}: {error.str()}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._consumer.close()


def _buried(message: Message) -> Buried:
    error = message.error()
    if error is not None:
        raise KafkaException(error)
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None
    assert partition is not None
    assert offset is not None
    headers = [(name, _as_bytes(data)) for name, data in dict(message.headers() or ()).items()]
    letter = DeadLetter.read(_as_bytes(message.value()), headers)
    return Buried(topic, partition, offset, letter, message.timestamp()[1])


def _as_bytes(data: str | bytes | None) -> bytes | None:
    return data.encode() if isinstance(data, str) else data
