"""The way to Kafka for what the twin service tells: anomalies and dead letters."""

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Final

import structlog
from confluent_kafka import KafkaError, Message, Producer

from cloud.effects import Outgoing
from runtime.settings import KafkaSettings
from wire import kafka

log: Final = structlog.get_logger()

_FLUSH_WAIT_S: Final = 0.2


class Outlet:
    """Writes records; `flush` returns when the brokers have them all, however long that takes."""

    def __init__(self, settings: KafkaSettings, while_waiting: Callable[[], None]) -> None:
        self._producer = Producer({**kafka.PRODUCER, **settings.client()}, logger=logging.getLogger(__name__))
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
