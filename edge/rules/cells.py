"""What is known of one signal of one asset, and the verdict on its next sample. State is by source time."""

import functools
from enum import IntEnum
from typing import Any

import msgspec

from edge.rules.plan import Collector
from wire import catalogue, quick
from wire.catalogue import Value


class Verdict(IntEnum):
    """What becomes of a sample."""

    WITHHELD = 0
    KEPT = 1
    REPEATED = 2
    """The newest sample, which was withheld, heard again."""
    KEPT_BETWEEN = 3
    """Kept although a newer one was withheld, which has to be sent as well: else the older one would seem newest."""


class Sensor(msgspec.Struct, frozen=True):
    """What is known of a signal, whichever asset has it. `plain_type`, `low`, `high`, `judge`: see `quick.Check`."""

    number: int
    path: str
    plain_type: type | None
    low: Any
    high: Any
    judge: quick.Judge
    is_numeric: bool


@functools.cache
def sensor(number: int) -> Sensor:
    """By catalogue number."""
    signal = catalogue.BY_NUMBER[number]
    _, plain_type, low, high, judge = quick.CHECKS[signal.kind][signal.path]
    return Sensor(number, signal.path, plain_type, low, high, judge, signal.is_numeric)


class Cell(msgspec.Struct, eq=False, gc=False):
    """`value`, `ms`, `previous`: the newest sample by source time; `kept_value`, `kept_ms`: the newest one sent.

    `previous` is the value before the newest. `ms` is -1 before the first sample, `kept_ms` before the first sent.
    `own_ms`: the newest one that went out in a frame of the agent's, of which there is no other copy.
    """

    sensor: Sensor
    collector: Collector
    value: Any = None
    ms: int = -1
    previous: Any = None
    kept_value: Any = None
    kept_ms: int = -1
    own_ms: int = -1

    def take(self, ms: int, value: Value) -> Verdict:
        """Judge a sample and remember it."""
        if ms > self.ms:
            self.previous, self.value, self.ms = self.value, value, ms
            if not self._is_due(ms, value):
                return Verdict.WITHHELD
            self.kept_value, self.kept_ms = value, ms
            return Verdict.KEPT
        return self._take_late(ms, value)

    def _is_due(self, ms: int, value: Any) -> bool:
        rule = self.collector
        if rule.is_silent:
            return False
        age_ms = ms - self.kept_ms
        if self.kept_ms < 0 or age_ms >= rule.snapshot_ms:
            return True
        if age_ms < rule.interval_ms:
            return False
        if rule.deadband < 0:
            return True
        if not self.sensor.is_numeric:
            return bool(value != self.kept_value)
        return bool(abs(value - self.kept_value) > max(rule.deadband, rule.fraction * abs(self.kept_value)))

    def _take_late(self, ms: int, value: Any) -> Verdict:
        """A sample that is not newer. It is judged against the last one sent, if that is older, and changes nothing
        that newer ones rely on; of what is older still, more is sent than need be, never less. What was sent is sent
        again: of two copies of a frame, the second may reach Kafka first (see `spool.lanes`)."""
        if ms == self.ms:
            if value == self.value:
                return self._take_again(ms, value)
            self.value = max(value, self.value)  # as the twin does: of one moment the greater stays
        if self.collector.is_silent:
            return Verdict.WITHHELD
        if ms < self.kept_ms:
            return Verdict.KEPT
        if ms == self.kept_ms:
            if value <= self.kept_value:
                return Verdict.KEPT
        elif not self._is_due(ms, value):
            return Verdict.WITHHELD
        self.kept_value, self.kept_ms = self.value, self.ms
        return Verdict.KEPT_BETWEEN

    def _take_again(self, ms: int, value: Any) -> Verdict:
        if self.kept_ms < 0 and not self.collector.is_silent:
            self.kept_value, self.kept_ms = value, ms
        return Verdict.KEPT if ms == self.kept_ms else Verdict.REPEATED

    def forget_sent(self) -> None:
        """Take the next sample for the first, unless the last one sent is beyond doubt."""
        if self.kept_ms != self.own_ms:
            self.kept_ms = -1

    def sent(self, ms: int, value: Value) -> None:
        """A sample was sent for another reason."""
        if ms > self.kept_ms:
            self.kept_value, self.kept_ms = value, ms

    def sent_apart(self, ms: int, value: Value) -> None:
        """The same, in a frame of the agent's."""
        self.sent(ms, value)
        self.own_ms = max(ms, self.own_ms)
