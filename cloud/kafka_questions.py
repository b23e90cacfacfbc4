"""What is asked of the brokers beside records, by an `AdminClient`: which topics these are, how groups share."""

from collections.abc import Callable, Iterable
from typing import Any, Final

import structlog
from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import ConfigResource  # type: ignore[attr-defined]  # the stub forgets it
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_exponential

from cloud import group

log: Final = structlog.get_logger()

_DESCRIBE_TIMEOUT_S: Final = 10
_ASK_LIMIT_S: Final = 5.0
_TRIES: Final = 6
_NO_SUCH_TOPIC: Final = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.UNKNOWN_TOPIC_ID})
"""What a broker says that has not heard of it yet, too."""


def group_protocols(admin: Any) -> str | None:
    """What the broker says of the protocols that it speaks with groups; None when it does not."""
    try:
        broker = next(iter(admin.list_topics(timeout=_ASK_LIMIT_S).brokers))
        asked = ConfigResource(ConfigResource.Type.BROKER, str(broker))
        answered = admin.describe_configs([asked], request_timeout=_ASK_LIMIT_S)[asked].result()
    except (KafkaException, StopIteration) as error:
        log.info("the broker does not tell its group protocols", error=str(error)[:200])
        return None
    return str(answered[group.PROTOCOLS].value) if group.PROTOCOLS in answered else None


def topic_ids(admin: Any, names: Iterable[str], on_wait: Callable[[KafkaError], None] | None = None) -> dict[str, str]:
    """Topic → id. With `on_wait`, which is called between tries, it waits until a broker answers,
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
