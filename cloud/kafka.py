"""Kafka, as the twin service sees it: a source of records, an outlet for anomalies and dead letters."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource  # type: ignore[attr-defined]  # the stub forgets it

from cloud import group, kafka_records
from cloud.config import ConsumerSettings
from cloud.effects import Outgoing
from cloud.frontier import Frontier
from cloud.inbox import Record
from cloud.sharing import Place
from runtime.settings import KafkaSettings
from wire import kafka, topics

log: Final = structlog.get_logger()

TOPICS: Final = (
    *topics.CHANNEL_OF,
    topics.CUSTOMER_PROFILES,
    topics.ASSET_ROLES,
    topics.VEHICLE_LIFECYCLE,
    topics.CUSTOMER_ACTIVITY,
)
"""What the fold reads."""
_ASK_LIMIT_S: Final = 5.0
_ERROR_LOG_INTERVAL_S: Final = 30.0
_CHUNK_RECORDS: Final = 500
_FLUSH_WAIT_S: Final = 0.2


class Source:
    """Reads records of one consumer group; offsets move only by `done`."""

    def __init__(self, settings: ConsumerSettings, names: Sequence[str] = TOPICS) -> None:
        self._settings = settings
        self._generations: dict[str, str] = {}
        self._frontiers: dict[Place, Frontier] = {}
        self._committed: dict[Place, int] = {}
        self._held_back: set[Place] = set()
        self._committed_s = time.monotonic()
        self._quiet_until_s = 0.0
        self.errors = 0
        self._owned: set[Place] = set()
        self.lost_ownership = False
        self._held: list[Record] = []
        self._admin = AdminClient(settings.client())
        self._names = list(names)
        told = self._protocols() if settings.group_protocol == "auto" else None
        self.protocol = group.choose(settings.group_protocol, told)
        self._consumer = self._join()

    def _protocols(self) -> str | None:
        try:
            broker = next(iter(self._admin.list_topics(timeout=_ASK_LIMIT_S).brokers))
            asked = ConfigResource(ConfigResource.Type.BROKER, str(broker))
            answered = self._admin.describe_configs([asked], request_timeout=_ASK_LIMIT_S)[asked].result()
        except (KafkaException, StopIteration) as error:
            log.info("the broker does not tell its group protocols", error=str(error)[:200])
            return None
        return str(answered[group.PROTOCOLS].value) if group.PROTOCOLS in answered else None

    def _join(self) -> Consumer:
        settings = {**group.settings(self.protocol), **self._settings.client(), "group.id": self._settings.group_id}
        consumer = Consumer({**settings, "error_cb": self._on_error})
        consumer.subscribe(self._names, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost)
        log.info("joining the group", group=self._settings.group_id, protocol=self.protocol)
        return consumer

    @property
    def assigned(self) -> int:
        """How many partitions it reads."""
        return len(self._owned)

    def owns(self, place: Place) -> bool:
        """Whether it reads this partition."""
        return place in self._owned

    def hold_back(self, places: set[Place]) -> None:
        """Read no more of these partitions until told otherwise; of all others again."""
        self._consumer.resume([TopicPartition(*place) for place in self._held_back - places if place in self._owned])
        self._held_back = places
        self._pause_held_back()

    def _pause_held_back(self) -> None:
        self._consumer.pause([TopicPartition(*place) for place in self._held_back if place in self._owned])

    def poll(self, patient: bool = True) -> list[Record]:
        """Records in log order per partition: at most `batch_records_max`, about `batch_bytes_max` bytes, and
        after at most `batch_wait_ms`, or when not `patient` at once."""
        held, self._held = self._held, []
        if held:
            return held
        records: list[Record] = []
        room, bytes_left = self._settings.batch_records_max, self._settings.batch_bytes_max
        while room > 0 and bytes_left > 0:
            wait_s = self._settings.batch_wait_ms / 1000 if patient else 0.0
            chunk = self._consume(min(room, _CHUNK_RECORDS), wait_s)
            records += chunk
            room -= len(chunk)
            bytes_left -= sum([len(record.value or b"") for record in chunk])
            if len(chunk) < _CHUNK_RECORDS:
                break
        if not records:
            self._commit_if_due()  # else the last offsets before a silence would wait for its end
        return records

    def _consume(self, records_max: int, wait_s: float) -> list[Record]:
        records: list[Record] = []
        for message in self._consumer.consume(records_max, wait_s):
            error = message.error()
            if error is not None:
                self._on_error(error)
                self._fall_back(error)
            else:
                records.append(self._record(message))
        return records

    def _fall_back(self, error: KafkaError) -> None:
        """A cluster that was upgraded may know the next-generation protocol without having it switched on."""
        if error.code() == KafkaError._FATAL and self.protocol == "consumer":  # noqa: SLF001 - its public name
            if self._settings.group_protocol == "consumer":
                log.error(
                    "the cluster refuses", protocol="consumer", hint="set kafka.group_protocol to auto or classic"
                )
                return
            self.protocol = "classic"
            self._consumer.close()
            self._consumer = self._join()

    def done(self, records: list[Record]) -> None:
        """All of these are durable elsewhere: now or a little later, offsets are committed up to the first record of
        a partition that was read and is not done.

        Not those of a partition that was given up meanwhile: its new owner commits what it has done.
        """
        for record in records:
            frontier = self._frontiers.get((record.topic, record.partition))
            if frontier is not None:
                frontier.done(record.offset)
        self._commit_if_due()

    def _commit_if_due(self) -> None:
        if (time.monotonic() - self._committed_s) * 1000 >= self._settings.commit_interval_ms:
            self._commit()

    def commit(self) -> None:
        """Commit now what may be committed."""
        self._commit()

    def membership(self) -> tuple[str, list[tuple[str, int]]]:
        """The id under which the group knows this consumer, and the partitions that it reads."""
        return self._consumer.memberid() or "", sorted(self._owned)

    def keep_alive(self) -> None:
        """Stay in the group while the database is away. What a rebalance lets through waits for `poll`."""
        self._consumer.pause(self._consumer.assignment())
        self._held += self._consume(_CHUNK_RECORDS, 0)
        self._consumer.resume(self._consumer.assignment())
        self._pause_held_back()

    def lag_records(self) -> int:
        """How many records are in the log after the last polled ones, as far as the last fetches told."""
        lag = 0
        for position in self._consumer.position(self._consumer.assignment()):
            if position.offset >= 0:
                _, high = self._consumer.get_watermark_offsets(position, cached=True)
                lag += max(0, high - position.offset)
        return lag

    def close(self) -> None:
        self._commit()
        self._consumer.close()

    def _record(self, message: Message) -> Record:
        record = kafka_records.record_of(message, self._generations)
        topic = record.topic
        frontier = self._frontiers.get((topic, record.partition))
        if frontier is None:
            frontier = self._frontiers[topic, record.partition] = Frontier()
        if not frontier.read(record.offset):
            log.warning("the log began anew", topic=topic, partition=record.partition, offset=record.offset)
            self._generations |= kafka_records.topic_ids(self._admin, {topic})  # perhaps another one by the same name
            record = record._replace(generation=self._generations.get(topic, ""))
        return record

    def _commit(self) -> None:
        self._committed_s = time.monotonic()
        due = {
            place: at for place, one in self._frontiers.items() if (at := one.position) != self._committed.get(place)
        }
        if not due:
            return
        try:
            self._consumer.commit(offsets=[TopicPartition(*place, at) for place, at in due.items()], asynchronous=False)
            self._committed |= due
        except KafkaException as error:
            # Not a loss: whoever reads on from the older offset finds that the twins have seen it.
            log.warning("offsets not committed", error=str(error))

    def _on_assign(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._generations |= kafka_records.topic_ids(self._admin, {partition.topic for partition in partitions})
        self._owned |= _places(partitions)
        self._forget(partitions)
        self.lost_ownership = True
        log.info("partitions assigned", partitions=len(partitions))

    def _on_revoke(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._commit()
        self._on_lost(_consumer, partitions)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        consumer.resume(partitions)  # librdkafka keeps the pause: one that came back would never be read again
        self._owned -= _places(partitions)
        self.lost_ownership = True
        self._forget(partitions)
        log.info("partitions given up", partitions=len(partitions))

    def _forget(self, partitions: list[TopicPartition]) -> None:
        for place in _places(partitions):
            self._frontiers.pop(place, None)
            self._committed.pop(place, None)
            self._held_back.discard(place)

    def _on_error(self, error: KafkaError) -> None:
        self.errors += 1
        if time.monotonic() >= self._quiet_until_s:
            self._quiet_until_s = time.monotonic() + _ERROR_LOG_INTERVAL_S
            hint = {}
            if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                hint = {"hint": "run `fleetfold-cloud topics create`"}
            log.warning("kafka", error=error.str(), **hint)


def _places(partitions: list[TopicPartition]) -> set[Place]:
    return {(partition.topic, partition.partition) for partition in partitions}


class Outlet:
    """Writes records; `flush` returns when the brokers have them all, however long that takes."""

    def __init__(self, settings: KafkaSettings, while_waiting: Callable[[], None]) -> None:
        self._producer = Producer({**kafka.PRODUCER, **settings.client()})
        self._while_waiting = while_waiting
        self._failed: list[Outgoing] = []

    def send(self, outgoing: Outgoing) -> None:
        """Hand over one record; waits while the client's queue is full."""
        while True:
            try:
                self._producer.produce(
                    outgoing.topic,
                    key=outgoing.key,
                    value=outgoing.value,
                    headers=list(outgoing.headers),
                    on_delivery=partial(self._on_delivery, outgoing),
                )
            except BufferError:
                self._producer.poll(_FLUSH_WAIT_S)
                self._while_waiting()
            else:
                return

    def flush(self) -> None:
        """Wait for the brokers. A record that they refused is sent again: giving up would lose it."""
        while self._producer.flush(_FLUSH_WAIT_S) or self._failed:
            failed, self._failed = self._failed, []
            for outgoing in failed:
                time.sleep(_FLUSH_WAIT_S)
                self.send(outgoing)
            self._while_waiting()

    def _on_delivery(self, outgoing: Outgoing, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            log.error("record refused, trying again", topic=outgoing.topic, error=error.str())
            self._failed.append(outgoing)
