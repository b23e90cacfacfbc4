"""Kafka, as a rebuild sees it: the log again from some offset on, never further than the live fold has committed."""

import time
from collections import defaultdict
from collections.abc import Mapping
from typing import Final

import structlog
from confluent_kafka import (
    Consumer,
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from cloud import kafka_questions, kafka_records
from cloud.config import ConsumerSettings
from cloud.inbox import Record
from wire import kafka, topics

log: Final = structlog.get_logger()

Place = tuple[str, int]
"""Topic and partition."""
Offsets = Mapping[Place, int]

TOPICS: Final = tuple(topics.CHANNEL_OF)
"""What twins are folded from; owners, attributes and lives are the linker's."""

_ASK_LIMIT_S: Final = 10.0
_CHUNK_RECORDS: Final = 200
_NOT_KNOWN: Final = -1


class Replay:
    """Reads the fleet's topics without a group. `until` says how far; what was fetched beyond waits."""

    def __init__(self, settings: ConsumerSettings) -> None:
        self._settings = settings
        self._admin = AdminClient(settings.client())
        own = {"group.id": f"{settings.group_id}-rebuild", "enable.auto.offset.store": False}
        common = {name: value for name, value in kafka.CONSUMER.items() if name != "partition.assignment.strategy"}
        # what lies before the oldest record is gone: never skip it in silence
        self._consumer = Consumer({**common, **settings.client(), **own, "auto.offset.reset": "error"})
        self._generations: dict[str, str] = {}
        self._beyond: dict[Place, list[Record]] = defaultdict(list)
        self._stopped: set[Place] = set()
        self.start: dict[Place, int] = {}
        self.position: dict[Place, int] = {}
        self.until: dict[Place, int] = {}
        self.lost_ownership = False

    def oldest(self) -> dict[Place, int]:
        """The first offset that each partition still has. Raises KafkaException."""
        known = self._consumer.list_topics(timeout=_ASK_LIMIT_S).topics
        places = [(name, partition) for name in TOPICS if name in known for partition in known[name].partitions]
        marks = {
            place: self._consumer.get_watermark_offsets(TopicPartition(*place), timeout=_ASK_LIMIT_S)
            for place in places
        }
        return {place: mark[0] for place, mark in marks.items() if mark is not None}

    def at_time(self, places: Offsets, time_ms: int) -> dict[Place, int]:
        """The first offset whose record was written at or after `time_ms`; the end where there is none."""
        asked = [TopicPartition(name, partition, time_ms) for name, partition in places]
        found = self._consumer.offsets_for_times(asked, timeout=_ASK_LIMIT_S)
        offsets = {(one.topic, one.partition): one.offset for one in found}
        return {place: offset if offset >= 0 else self._end(place) for place, offset in offsets.items()}

    def time_of(self, offsets: Offsets) -> int | None:
        """When the latest of the records at these offsets was written, in ms: from then on every partition is whole."""
        self._consumer.assign([TopicPartition(*place, offset) for place, offset in offsets.items()])
        first: dict[Place, int] = {}
        deadline = time.monotonic() + _ASK_LIMIT_S
        while len(first) < len(offsets) and time.monotonic() < deadline:
            for message in self._consumer.consume(_CHUNK_RECORDS, 0.2):
                if message.error() is None:
                    record = kafka_records.record_of(message, {})
                    first.setdefault((record.topic, record.partition), record.timestamp_ms)
        self._consumer.unassign()
        return max(first.values(), default=None)

    def begin(self, start: Offsets) -> None:
        """Read from these offsets on."""
        self._generations = kafka_questions.topic_ids(self._admin, {name for name, _ in start})
        self.start, self.position, self.until = dict(start), dict(start), dict(start)
        self._consumer.assign([TopicPartition(*place, offset) for place, offset in start.items()])

    def committed(self) -> dict[Place, int]:
        """How far the live fold has committed; partitions that it never read are left out. Raises KafkaException."""
        group = self._settings.group_id
        asked = self._admin.list_consumer_group_offsets(
            [ConsumerGroupTopicPartitions(group)], request_timeout=_ASK_LIMIT_S
        )
        found = asked[group].result().topic_partitions or []
        return {(one.topic, one.partition): one.offset for one in found if one.topic in TOPICS and one.offset >= 0}

    def members(self) -> frozenset[str] | None:
        """The live fold's workers; None where the broker has some and does not name them. Raises KafkaException."""
        group = self._settings.group_id
        described = self._admin.describe_consumer_groups([group], request_timeout=_ASK_LIMIT_S)[group].result()
        ids = frozenset(member.member_id for member in described.members)
        idle = described.state in (ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD)
        return ids if ids or idle else None

    def advance(self, until: Offsets) -> None:
        """Read on up to these offsets."""
        self.until |= {place: offset for place, offset in until.items() if place in self.start}
        waiting = [place for place in self._stopped if self.until[place] > self.position[place]]
        self._consumer.resume([TopicPartition(*place) for place in waiting])
        self._stopped.difference_update(waiting)

    def remaining(self) -> int:
        """Records from here to `until`, as far as offsets tell."""
        return sum(max(0, self.until[place] - self.position[place]) for place in self.until)

    def owns(self, place: Place) -> bool:
        """It reads everything."""
        return place in self.start

    def hold_back(self, places: set[Place]) -> None:
        """Nothing is carried over in a rebuild: there is nobody to hold up."""

    def poll(self, patient: bool = True) -> list[Record]:
        """Records before `until`, in log order per partition. Raises KafkaException when some are gone."""
        records: list[Record] = []
        for place in list(self._beyond):
            held = self._beyond.pop(place)
            records += self._within(held)
        if records:
            return records
        while len(records) < self._settings.batch_records_max:
            fetched: list[Record] = []
            for message in self._consumer.consume(
                _CHUNK_RECORDS, self._settings.batch_wait_ms / 1000 if patient else 0
            ):
                error = message.error()
                if error is None:
                    fetched.append(kafka_records.record_of(message, self._generations))
                elif error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
                    self._complain(error)
            records += self._within(fetched)
            if len(fetched) < _CHUNK_RECORDS:
                break
        return records

    def done(self, records: list[Record]) -> None:
        """These are in the rebuilt twins."""
        for record in records:
            place = (record.topic, record.partition)
            self.position[place] = max(self.position[place], record.offset + 1)

    def commit(self) -> None:
        """Nothing is committed: whoever dies begins again."""

    def keep_alive(self) -> None:
        """No group waits for this one."""

    def lag_records(self) -> int:
        return self.remaining()

    def membership(self) -> tuple[str, list[Place]]:
        return "", []

    def close(self) -> None:
        self._consumer.close()

    def _within(self, records: list[Record]) -> list[Record]:
        taken: list[Record] = []
        for record in records:
            place = (record.topic, record.partition)
            if record.offset < self.until[place]:
                taken.append(record)
                continue
            self._beyond[place].append(record)
            if place not in self._stopped:
                self._stopped.add(place)
                self._consumer.pause([TopicPartition(*place)])
        return taken

    def _end(self, place: Place) -> int:
        mark = self._consumer.get_watermark_offsets(TopicPartition(*place), timeout=_ASK_LIMIT_S)
        return mark[1] if mark is not None else _NOT_KNOWN

    def _complain(self, error: KafkaError) -> None:
        if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):  # noqa: SLF001 - its public name
            raise KafkaException(error)
        log.warning("kafka", error=error.str())
