"""Creates the contract's Kafka topics, explicitly: never by accident of a first message."""

from typing import Final, NamedTuple

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from tenacity import retry, retry_if_result, stop_after_delay, wait_fixed

from cloud.config import TopicSettings
from runtime.settings import KafkaSettings
from wire import topics
from wire.topics import TopicSpec

_TIMEOUT_S: Final = 20.0


class TopicResult(NamedTuple):
    """What became of one topic: `created`, `exists`, or the broker's refusal."""

    name: str
    partitions: int
    outcome: str
    failed: bool


class UnreachableError(Exception):
    """No broker answered."""


def create(kafka: KafkaSettings, settings: TopicSettings) -> list[TopicResult]:
    """Create what is missing; existing topics are left as they are. Raises `UnreachableError`."""
    admin = AdminClient({**kafka.client(), "log_level": 0})
    try:
        existing = admin.list_topics(timeout=_TIMEOUT_S).topics
    except KafkaException as error:
        raise UnreachableError(f"{kafka.bootstrap_servers}: {error}") from error
    results = [
        TopicResult(spec.name, len(existing[spec.name].partitions), "exists", False)
        for spec in topics.KAFKA_TOPICS
        if spec.name in existing
    ]
    missing = [_new_topic(spec, settings) for spec in topics.KAFKA_TOPICS if spec.name not in existing]
    if missing:
        futures = admin.create_topics(missing, operation_timeout=_TIMEOUT_S, request_timeout=_TIMEOUT_S)
        results += [_result(topic, futures[topic.topic].exception(_TIMEOUT_S)) for topic in missing]
        _wait_until_visible(admin, {result.name for result in results if not result.failed})
    return results


@retry(stop=stop_after_delay(_TIMEOUT_S), wait=wait_fixed(0.1), retry=retry_if_result(bool))
def _wait_until_visible(admin: AdminClient, names: set[str]) -> set[str]:
    """A controller may answer before the brokers know the topics: whoever starts next must find them."""
    return names - set(admin.list_topics(timeout=_TIMEOUT_S).topics)


def _new_topic(spec: TopicSpec, settings: TopicSettings) -> NewTopic:
    retention_ms = settings.retention_days * 86_400_000
    config = {"cleanup.policy": "compact"} if spec.compacted else {"retention.ms": str(retention_ms)}
    return NewTopic(
        spec.name,
        num_partitions=spec.partitions or settings.partitions,
        replication_factor=settings.replication_factor,
        config=config,
    )


def _result(topic: NewTopic, error: BaseException | None) -> TopicResult:
    if error is None:
        return TopicResult(topic.topic, topic.num_partitions, "created", False)
    reason = error.args[0] if isinstance(error, KafkaException) and error.args else error
    if isinstance(reason, KafkaError) and reason.code() == KafkaError.TOPIC_ALREADY_EXISTS:
        return TopicResult(topic.topic, topic.num_partitions, "exists", False)  # somebody else was faster
    return TopicResult(topic.topic, topic.num_partitions, str(reason), True)
