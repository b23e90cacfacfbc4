"""Facts to Kafka: JSON, keyed as the contract says, with CloudEvents headers whose ids repeat when facts repeat."""

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from runtime.settings import KafkaSettings
from simulator.errors import UnreachableError
from simulator.settings import SendSection
from wire import codec, topics
from wire.kafka import PRODUCER
from wire.messages import Activity, LifecycleStep, Profile, Role, plain
from wire.records import Headers, cloud_event

_POLL_EVERY: Final = 256
_TOPICS: Final = (
    topics.CUSTOMER_PROFILES,
    topics.ASSET_ROLES,
    topics.VEHICLE_LIFECYCLE,
    topics.CUSTOMER_ACTIVITY,
)


class Record(NamedTuple):
    """One fact on its topic."""

    topic: str
    key: str
    value: bytes
    headers: Headers


def record(fact: Profile | Role | LifecycleStep | Activity, source: str) -> Record:
    """The record of a fact; its id names this version of the fact."""
    if isinstance(fact, Profile):
        topic, key, kind, id_ = topics.CUSTOMER_PROFILES, fact.customer_id, "profile.v1", fact.customer_id
        time_ms = fact.updated_ms
    elif isinstance(fact, Role):
        topic, key, kind, id_ = topics.ASSET_ROLES, fact.asset_id, "role.v1", fact.role_id
        time_ms = fact.recorded_ms
    elif isinstance(fact, Activity):
        topic, key, kind, id_ = topics.CUSTOMER_ACTIVITY, fact.customer_id, "activity.v1", fact.activity_id
        time_ms = fact.ts
    else:
        topic, key, kind, id_ = topics.VEHICLE_LIFECYCLE, fact.asset_id, "lifecycle.v1", f"{fact.asset_id}:{fact.step}"
        time_ms = fact.ts
    headers = cloud_event(
        type_=kind,
        id_=f"{id_}@{time_ms}",
        source=source,
        subject=key,
        time_ms=time_ms,
        content_type=codec.CONTENT_TYPE_JSON,
    )
    return Record(topic, key, codec.to_json(plain(fact)), headers)


def publish(settings: KafkaSettings, send: SendSection, records: Iterable[Record]) -> int:
    """Publish all; returns how many. Raises `UnreachableError` when Kafka, or a topic of it, is not there."""
    failures: list[KafkaError] = []

    def on_delivery(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            failures.append(error)

    config: dict[str, Any] = {**settings.client(), **PRODUCER, "log_level": 2}
    producer = Producer(config)
    _check_topics(producer, settings.bootstrap_servers, send.connect_timeout_s)
    count = 0
    for count, (topic, key, value, headers) in enumerate(records, start=1):
        producer.produce(topic, key=key.encode(), value=value, headers=[*headers], on_delivery=on_delivery)
        if count % _POLL_EVERY == 0:
            producer.poll(0)
    left = producer.flush(send.drain_timeout_s)
    if left or failures:
        why = f": {failures[0].str()}" if failures else ""
        raise UnreachableError(f"{settings.bootstrap_servers}: {left + len(failures)} of {count} not delivered{why}")
    return count


def _check_topics(producer: Producer, servers: str, timeout_s: float) -> None:
    try:
        existing = producer.list_topics(timeout=timeout_s).topics
    except KafkaException as error:
        raise UnreachableError(f"no Kafka broker answers at {servers}: {error.args[0].str()}") from error
    missing = [topic for topic in _TOPICS if topic not in existing]
    if missing:
        raise UnreachableError(f"{servers} has no topic {', '.join(missing)}: run `fleetfold-cloud topics create`")
