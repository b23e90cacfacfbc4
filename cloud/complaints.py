"""What the Kafka client complains of."""

import time
from collections.abc import Callable
from typing import Final

import structlog
from confluent_kafka import KafkaError

log: Final = structlog.get_logger()

_LOG_INTERVAL_S: Final = 30.0


class Complaints:
    """Errors of the client, dozens a second while brokers are away: `count` has all, the log one now and then."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._quiet_until_s = clock_s()
        self.count = 0

    def hear(self, error: KafkaError) -> None:
        """librdkafka's `error_cb`."""
        self.count += 1
        if self._clock_s() < self._quiet_until_s:
            return
        self._quiet_until_s = self._clock_s() + _LOG_INTERVAL_S
        hint = {}
        if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            hint = {"hint": "run `fleetfold-cloud topics create`"}
        log.warning("kafka", error=error.str(), **hint)
