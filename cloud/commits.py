"""Telling the group how far the log is done: now and then without waiting, at once where partitions change hands."""

import time
from collections.abc import Mapping
from typing import Any, Final

import structlog
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from cloud.offsets import Offsets
from cloud.sharing import Place

log: Final = structlog.get_logger()


class Commits:
    """What was read, what is done, what the group knows of it (`offsets`); every `interval_ms` it is told, by the
    client's consumer."""

    def __init__(self, interval_ms: int) -> None:
        self.offsets = Offsets()
        self._interval_ms = interval_ms
        self._asked_s = time.monotonic()
        self._unanswered = False

    def if_due(self, consumer: Any) -> None:
        """Without waiting: while no broker answers, that would take the group's session timeout, each time."""
        if self._unanswered or (time.monotonic() - self._asked_s) * 1000 < self._interval_ms:
            return
        self._asked_s = time.monotonic()
        self._unanswered = _ask(consumer, self.offsets.due(), waiting=False)

    def now(self, consumer: Any) -> None:
        """Commit what may be committed, and wait for it."""
        due = self.offsets.due()
        if _ask(consumer, due, waiting=True):
            self.offsets.committed(due)

    def on_commit(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        """librdkafka's `on_commit`."""
        self._unanswered = False
        if error is None:
            self.offsets.committed({(one.topic, one.partition): one.offset for one in partitions if one.error is None})
        else:
            _not_committed(error)

    def expect_no_answer(self) -> None:
        """The consumer that was asked is gone."""
        self._unanswered = False


def _ask(consumer: Any, due: Mapping[Place, int], waiting: bool) -> bool:
    if not due:
        return False
    offsets = [TopicPartition(*place, offset) for place, offset in due.items()]
    try:
        consumer.commit(offsets=offsets, asynchronous=not waiting)
    except KafkaException as error:
        _not_committed(error)
        return False
    return True


def _not_committed(error: KafkaError | KafkaException) -> None:
    """Not a loss: whoever reads on from the older offset finds that the twins have seen it."""
    log.warning("offsets not committed", error=str(error))
