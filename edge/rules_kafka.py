"""Rules from a compacted Kafka topic, read from its beginning at each start, and the answer on another."""

from typing import Any, Final

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from edge.clock import Clock
from edge.config import EdgeKafkaSettings
from edge.rules.desk import Offer
from wire import kafka as shared
from wire import records, topics
from wire.collection import SET_BYTES_MAX, Origin

_ASK_TIMEOUT_S: Final = 5.0
_RETRY_S: Final = 10.0
_PARTITIONS_MAX: Final = 100


class KafkaRules:
    """`offers` and `publish` are for one thread. Kafka being away changes nothing: the rules in force stay."""

    def __init__(self, settings: EdgeKafkaSettings, client_id: str, gateway: str, clock: Clock) -> None:
        self._gateway = gateway
        self._clock = clock
        self._client_id = client_id
        self._log = structlog.get_logger("edge.rules")
        self._renewed: EdgeKafkaSettings | None = None
        self._status: bytes | None = None
        self._open(settings)

    def _open(self, settings: EdgeKafkaSettings) -> None:
        common: dict[str, Any] = {
            **settings.client(),
            "client.id": f"{self._client_id}-rules",
            "reconnect.backoff.max.ms": settings.reconnect_backoff_ms_max,
            "log_level": 0,  # the agent's own producer says what is wrong with the link
            "error_cb": lambda _error: None,
        }
        reading = {
            **shared.CONSUMER,
            "group.id": f"{self._client_id}-rules",
            "enable.partition.eof": True,
            "queued.max.messages.kbytes": 2_048,
            "fetch.wait.max.ms": 5_000,
        }
        consumer = Consumer({**common, **reading})
        producer = Producer({**common, **shared.PRODUCER, "queue.buffering.max.kbytes": 2_048})
        self._consumer, self._producer = consumer, producer
        self._not_before_s = 0.0
        self._unread: set[int] | None = None
        self._before: dict[Origin, Offer] = {}
        """The last of each, while not all that was there at first is read: what they replace counts no more."""

    def start(self) -> None:
        """Nothing yet: `offers` connects."""

    def renew(self, settings: EdgeKafkaSettings) -> None:
        """Use other settings, or their files as they are now, from the next `offers` on; callable from any thread."""
        self._renewed = settings

    def _reopen(self, settings: EdgeKafkaSettings) -> None:
        consumer, producer = self._consumer, self._producer
        try:
            self._open(settings)
        except (KafkaException, ValueError) as error:  # half of a renewal: the old clients go on
            self._log.warning("rules_settings_unusable", error=str(error))
            return
        producer.flush(1.0)
        consumer.close()
        if self._status is not None:
            self.publish(self._status)

    def offers(self) -> list[Offer]:
        """What was published since the last call. Of what was there at the start nothing is said before all was read:
        a topic that is not compacted yet holds sets that others have replaced. What was not there is withdrawn."""
        renewed, self._renewed = self._renewed, None
        if renewed is not None:
            self._reopen(renewed)
        self._producer.poll(0)
        if self._unread is None and not self._assign():
            return []
        found: list[Offer] = []
        for message in self._consumer.consume(1_000, 0):
            found += self._offers_of(message)
        return found

    def _assign(self) -> bool:
        if self._clock.monotonic_s() < self._not_before_s:
            return False
        try:
            known = self._consumer.list_topics(topics.GATEWAY_RULES, timeout=_ASK_TIMEOUT_S).topics
        except KafkaException:
            known = {}
        partitions = list(known[topics.GATEWAY_RULES].partitions) if topics.GATEWAY_RULES in known else []
        if not 0 < len(partitions) <= _PARTITIONS_MAX:
            self._not_before_s = self._clock.monotonic_s() + _RETRY_S
            return False
        self._unread = set(partitions)
        self._consumer.assign([TopicPartition(topics.GATEWAY_RULES, each, 0) for each in partitions])
        return True

    def _offers_of(self, message: Message) -> list[Offer]:
        error, partition = message.error(), message.partition()
        if error is not None:
            is_end = error.code() == KafkaError._PARTITION_EOF  # noqa: SLF001 - librdkafka's name for it
            return self._end(partition) if is_end and partition is not None else []
        key = (message.key() or b"").decode("utf-8", "replace")
        if key not in (self._gateway, topics.RULES_KEY_FOR_ALL):
            return []
        origin: Origin = "gateway" if key == self._gateway else "all"
        value = message.value()
        offer = Offer(origin, value[: SET_BYTES_MAX + 1] if value else None)
        if not self._unread:
            return [offer]
        self._before[origin] = offer
        return []

    def _end(self, partition: int) -> list[Offer]:
        if not self._unread:
            return []
        self._unread.discard(partition)
        if self._unread:
            return []
        origins: tuple[Origin, ...] = ("gateway", "all")
        read, self._before = self._before, {}
        return [read.get(origin, Offer(origin, None)) for origin in origins]

    def stored(self) -> None:
        """Nothing to do: each start reads the topic from its beginning."""

    def publish(self, status: bytes) -> None:
        """Say which rules are in force. Kafka being away, it is sent later."""
        self._status = status
        now_ms = self._clock.now_ms()
        headers = records.cloud_event(
            type_="rules.status.v1",
            id_=f"{self._gateway}/{now_ms}",
            source=f"/gateways/{self._gateway}",
            subject=self._gateway,
            time_ms=now_ms,
            content_type="application/json",
        )
        try:
            self._producer.produce(
                topics.GATEWAY_RULES_STATUS,
                status,
                self._gateway.encode(),
                headers=headers,  # type: ignore[arg-type] # the stub's list is invariant
            )
        except (BufferError, KafkaException) as error:
            self._log.warning("rules_status_not_sent", error=str(error))
        self._producer.poll(0)

    def close(self) -> None:
        """Give up what is not sent."""
        self._producer.flush(1.0)
        self._consumer.close()
