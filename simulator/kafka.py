"""Facts to Kafka: JSON, keyed as the contract says, with CloudEvents headers whose ids repeat when facts repeat."""

import time
from collections.abc import Iterable
from typing import Final, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from runtime.settings import KafkaSettings
from simulator.errors import UnreachableError
from simulator.people import Fact
from wire import codec, topics
from wire.kafka import PRODUCER
from wire.messages import Activity, Profile, Role, plain
from wire.records import Headers, cloud_event

_POLL_EVERY: Final = 256
_FULL_POLL_S: Final = 0.1
_FULL_LIMIT_S: Final = 30.0
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


def record(fact: Fact, source: str) -> Record:
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


class Teller:
    """Publishes facts. Raises `UnreachableError` when Kafka, or a topic of it, is not there."""

    def __init__(self, settings: KafkaSettings, connect_timeout_s: float, source: str) -> None:
        """`source`: who tells, for the CloudEvents headers."""
        self._servers, self._source = settings.bootstrap_servers, source
        self._producer = Producer({**settings.client(), **PRODUCER})
        self._failures: list[KafkaError] = []
        self.count = 0
        _check_topics(self._producer, self._servers, connect_timeout_s)

    def tell(self, facts: Iterable[Fact]) -> None:
        """Hand them to the client, whose queue has a limit: who is faster than the broker waits."""
        for fact in facts:
            self._produce(record(fact, self._source))
            self.count += 1
            if self.count % _POLL_EVERY == 0:
                self._producer.poll(0)

    def _produce(self, fact: Record) -> None:
        deadline = time.monotonic() + _FULL_LIMIT_S
        while True:
            try:
                self._producer.produce(
                    fact.topic,
                    key=fact.key.encode(),
                    value=fact.value,
                    headers=[*fact.headers],
                    on_delivery=self._on_delivery,
                )
                return
            except BufferError:
                if time.monotonic() > deadline:
                    raise UnreachableError(f"{self._servers} has taken nothing for {_FULL_LIMIT_S:g} s") from None
                self._producer.poll(_FULL_POLL_S)

    def finish(self, timeout_s: float) -> None:
        """Wait for the broker. Raises `UnreachableError` when it does not have everything in time."""
        left = self._producer.flush(timeout_s)
        if left or self._failures:
            why = f": {self._failures[0].str()}" if self._failures else ""
            missing = left + len(self._failures)
            raise UnreachableError(f"{self._servers}: {missing} of {self.count} facts not delivered{why}")

    def _on_delivery(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._failures.append(error)


def _check_topics(producer: Producer, servers: str, timeout_s: float) -> None:
    try:
        existing = producer.list_topics(timeout=timeout_s).topics
    except KafkaException as error:
        raise UnreachableError(f"no Kafka broker answers at {servers}: {error.args[0].str()}") from error
    missing = [topic for topic in _TOPICS if topic not in existing]
    if missing:
        raise UnreachableError(f"{servers} has no topic {', '.join(missing)}: run `fleetfold-cloud topics create`")
