"""Kafka, as the twin service reads it: records of one consumer group, and how far they are done."""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Final

import structlog
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition
from confluent_kafka.admin import AdminClient
from msgspec.structs import replace

from cloud import group, kafka_questions, kafka_records
from cloud.commits import Commits
from cloud.complaints import Complaints
from cloud.config import ConsumerSettings
from cloud.hearing import INTERVAL_MS, Hearing
from cloud.identity import Identities
from cloud.inbox import Record
from cloud.sharing import Place
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
_SILENCE_MAX_MS: Final = 15_000
_CHUNK_RECORDS: Final = 500
_LEAVE_LIMIT_S: Final = 5.0
"""Leaving takes a moment, or while no broker answers over a minute, after which the group has noticed by itself. The
time that no broker was heard before counts, too."""
_LEAVE_MIN_S: Final = 1.0
_MOVED: Final = KafkaError.NOT_COORDINATOR
"""librdkafka 2.16 says so of committed offsets that it asked for, and does not ask again: the partitions are assigned
and never read (its issue 5586; seen after a broker had hung)."""


class Source:
    """Reads records of one consumer group; offsets move only by `done`. `while_waiting`: called between tries while a
    broker has to be waited for."""

    def __init__(
        self,
        settings: ConsumerSettings,
        names: Sequence[str] = TOPICS,
        while_waiting: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings, self._while_waiting = settings, while_waiting
        self._commits = Commits(settings.commit_interval_ms)
        self._held_back: set[Place] = set()
        self._complaints = Complaints()
        self.hearing = Hearing()
        self._owned: set[Place] = set()
        self.lost_ownership = False
        self._held: list[Record] = []
        self._unfetched = False
        self._admin = AdminClient({**kafka.QUIET, **settings.client()}, logger=logging.getLogger(__name__))
        self._identities = Identities(self._admin, self._on_wait)
        self._names = list(names)
        told = kafka_questions.group_protocols(self._admin) if settings.group_protocol == "auto" else None
        self.protocol = group.choose(settings.group_protocol, told)
        self._consumer = self._join()

    def _join(self) -> Consumer:
        own = {
            "group.id": self._settings.group_id,
            "max.poll.interval.ms": self._settings.max_poll_interval_ms,
            "error_cb": self._complaints.hear,
            "on_commit": self._commits.on_commit,
            "statistics.interval.ms": INTERVAL_MS,
            "stats_cb": self.hearing.on_statistics,
        }
        settings = {**group.settings(self.protocol), **self._settings.client(), **own}
        consumer = Consumer(settings, logger=logging.getLogger(__name__))
        consumer.subscribe(self._names, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost)
        log.info("joining the group", group=self._settings.group_id, protocol=self.protocol)
        return consumer

    @property
    def errors(self) -> int:
        """How many the client told of."""
        return self._complaints.count

    @property
    def assigned(self) -> int:
        """How many partitions it reads."""
        return len(self._owned)

    @property
    def healthy(self) -> bool:
        """Whether it reads partitions of brokers that answer."""
        return self.assigned > 0 and self.hearing.silent_ms < _SILENCE_MAX_MS

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
        self._identities.look(self._consumer, self._owned)
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
            self._commits.if_due(self._consumer)  # else the last offsets before a silence would wait for its end
        return records

    def _consume(self, records_max: int, wait_s: float) -> list[Record]:
        if self._unfetched:
            log.warning("committed offsets not found", hint="joining again", group=self._settings.group_id)
            self._join_again()
        records: list[Record] = []
        for message in self._consumer.consume(records_max, wait_s):
            error = message.error()
            if error is not None:
                self._complaints.hear(error)
                self._fall_back(error)
                self._unfetched |= error.code() == _MOVED
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
            self._join_again()

    def _join_again(self) -> None:
        self._unfetched = False
        self._consumer.close()
        self._commits.expect_no_answer()
        self._consumer = self._join()

    def done(self, records: list[Record]) -> None:
        """All of these are durable elsewhere: now or a little later, offsets are committed up to the first record of
        a partition that was read and is not done.

        Not those of a partition that was given up meanwhile: its new owner commits what it has done.
        """
        self._commits.offsets.done(records)
        self._commits.if_due(self._consumer)

    def commit(self) -> None:
        """Commit now what may be committed, and wait for it."""
        self._commits.now(self._consumer)

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
        """Commit, and leave the group; where no broker answers, without a word."""
        leaving = threading.Thread(target=self._leave, name="leaving", daemon=True)
        leaving.start()
        leaving.join(max(_LEAVE_MIN_S, _LEAVE_LIMIT_S - self.hearing.silent_ms / 1000))
        if leaving.is_alive():
            log.warning("no broker answers: left without a word, and perhaps without the last offsets")

    def _leave(self) -> None:
        self.commit()
        self._consumer.close()

    def _record(self, message: Message) -> Record:
        record = kafka_records.record_of(message, self._identities.known)
        topic = record.topic
        if not self._commits.offsets.read((topic, record.partition), record.offset):
            log.warning("the log began anew", topic=topic, partition=record.partition, offset=record.offset)
            self._identities.learn_of_beginning(topic)  # perhaps of another one by the same name
            record = replace(record, generation=self._identities.known.get(topic, ""))
        return record

    def _on_wait(self, error: KafkaError) -> None:
        self._complaints.hear(error)
        self._while_waiting()

    def _on_assign(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._identities.learn({partition.topic for partition in partitions})
        self._owned |= _places(partitions)
        self._commits.offsets.forget(_places(partitions))
        self.lost_ownership = True
        log.info("partitions assigned", partitions=len(partitions))

    def _on_revoke(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.commit()
        self._on_lost(_consumer, partitions)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        consumer.resume(partitions)  # librdkafka keeps the pause: one that came back would never be read again
        self._owned -= _places(partitions)
        self.lost_ownership = True
        self._commits.offsets.forget(_places(partitions))
        log.info("partitions given up", partitions=len(partitions))


def _places(partitions: list[TopicPartition]) -> set[Place]:
    return {(partition.topic, partition.partition) for partition in partitions}
