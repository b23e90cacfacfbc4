"""Which topics these are, and whether they still are. One that was deleted and created again, and has more records than
were read of the old one before anybody looks, is to Kafka's client the same: it reads on in the middle.
"""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any, Final

import structlog
from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicCollection, TopicPartition

from cloud import kafka_questions
from cloud.sharing import Place

log: Final = structlog.get_logger()

_INTERVAL_S: Final = 10.0
_LIMIT_S: Final = 10.0


class Identities:
    """`known`: topic → id. Every `interval_s` the brokers are asked again, without waiting for them."""

    def __init__(self, admin: Any, on_wait: Callable[[KafkaError], None], interval_s: float = _INTERVAL_S) -> None:
        self._admin, self._on_wait, self._interval_s = admin, on_wait, interval_s
        self.known: dict[str, str] = {}
        self._asked: dict[str, Future[Any]] = {}
        self._due_s = time.monotonic() + interval_s
        self._anew: set[str] = set()

    def learn(self, names: Iterable[str]) -> None:
        """Ask about these now. Until that is known nothing of them may be folded, so it is waited for."""
        self._note(kafka_questions.topic_ids(self._admin, names, self._on_wait))

    def learn_of_beginning(self, topic: str) -> None:
        """The same of one that is being read from its beginning."""
        self.learn({topic})
        self._anew.discard(topic)

    def look(self, consumer: Any, owned: Iterable[Place]) -> None:
        """Topics that were created anew are read from their beginning; what was read in their middle comes again."""
        self._ask()
        if not self._anew:
            return
        for place in [place for place in owned if place[0] in self._anew]:
            try:
                consumer.seek(TopicPartition(*place, OFFSET_BEGINNING))
            except KafkaException as error:  # just assigned
                log.debug("not read from its beginning yet", topic=place[0], partition=place[1], error=str(error))
                return
        log.warning("topics were created anew", topics=sorted(self._anew), hint="read from their beginning")
        self._anew.clear()

    def _ask(self) -> None:
        if self._asked and all(answer.done() for answer in self._asked.values()):
            asked, self._asked = self._asked, {}
            self._note({name: str(one.result().topic_id) for name, one in asked.items() if one.exception() is None})
        elif self.known and not self._asked and time.monotonic() >= self._due_s:
            self._due_s = time.monotonic() + self._interval_s
            self._asked = self._admin.describe_topics(TopicCollection(sorted(self.known)), request_timeout=_LIMIT_S)

    def _note(self, told: dict[str, str]) -> None:
        self._anew |= {name for name, its_id in told.items() if self.known.get(name, its_id) not in ("", its_id)}
        self.known |= told
