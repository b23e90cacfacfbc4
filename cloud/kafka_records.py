"""Messages of the Kafka client as records of ours."""

from collections.abc import Callable, Iterable
from typing import Any, Final

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, TopicCollection
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_exponential

from cloud.inbox import Record

log: Final = structlog.get_logger()

_DESCRIBE_TIMEOUT_S: Final = 10
_TRIES: Final = 6
_NO_SUCH_TOPIC: Final = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.UNKNOWN_TOPIC_ID})
"""What a broker says that has not heard of it yet, too."""


def record_of(message: Message, generations: dict[str, str]) -> Record:
    """A message that is no error. `generations`: topic → id."""
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None
    assert partition is not None
    assert offset is not None
    key, value, timestamp_ms = message.key(), message.value(), message.timestamp()[1]
    generation = generations.get(topic, "")
    return Record(topic, generation, partition, offset, _as_bytes(key) or b"", _as_bytes(value), timestamp_ms)


def topic_ids(admin: Any, names: Iterable[str], on_wait: Callable[[KafkaError], None] | None = None) -> dict[str, str]:
    """Topic → id, by an `AdminClient`. With `on_wait`, which is called between tries, it waits until a broker answers,
    and leaves out topics that do not exist. Without it raises KafkaException after some tries."""
    found: dict[str, str] = {}

    def given_up(state: RetryCallState) -> bool:
        return state.attempt_number >= _TRIES and (on_wait is None or _error(state).code() in _NO_SUCH_TOPIC)

    def before_sleep(state: RetryCallState) -> None:
        if on_wait is not None:
            on_wait(_error(state))

    retrying = Retrying(
        stop=given_up,
        wait=wait_exponential(max=5),
        retry=retry_if_exception_type(KafkaException),
        before_sleep=before_sleep,
        reraise=True,
    )
    try:
        retrying(lambda: _ask(admin, set(names) - found.keys(), found))
    except KafkaException as error:
        if on_wait is None:
            raise
        log.warning("topics are gone", topics=sorted(set(names) - found.keys()), error=str(error))
    return found


def _ask(admin: Any, names: set[str], found: dict[str, str]) -> None:
    """Raises the last error when not all are found."""
    described = admin.describe_topics(TopicCollection(sorted(names)), request_timeout=_DESCRIBE_TIMEOUT_S)
    failed: BaseException | None = None
    for name, future in described.items():
        error = future.exception()
        failed = error or failed
        if error is None:
            found[name] = str(future.result().topic_id)
    if failed is not None:
        raise failed


def _error(state: RetryCallState) -> KafkaError:
    assert state.outcome is not None
    error = state.outcome.exception()
    assert isinstance(error, KafkaException)
    found: KafkaError = error.args[0]
    return found


def _as_bytes(data: str | bytes | None) -> bytes | None:
    return data.encode() if isinstance(data, str) else data
