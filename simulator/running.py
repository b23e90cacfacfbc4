"""`run`: simulated devices against a real broker, with the truth on disk before anything is sent.

`Run.go` is the loop: wait until the step is due, reading acknowledgements meanwhile; let the fleet make the step's
messages; write them into the truth; send them. At the end every device says goodbye and the loop waits for the
broker. The wall clock decides when things are sent, never what.
"""

import math
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from simulator.devices import Message
from simulator.engine import Engine
from simulator.schedule import Lateness, Pace
from simulator.settings import SendSection
from simulator.truth import TruthWriter
from wire.topics import Channel

_PROGRESS_S: Final = 1.0
_POLL_S: Final = 0.05


class Broker(Protocol):
    """Where messages go; `simulator.mqtt.Publisher` is the real one."""

    def publish(self, message: Message, position: int | None) -> None: ...
    def poll(self, timeout_s: float) -> None: ...
    def take_acknowledged(self) -> list[int]: ...
    @property
    def unacknowledged(self) -> int: ...
    @property
    def refused(self) -> int: ...


@dataclass(slots=True)
class Numbers:
    """What was done so far; distinct messages, repeated ones apart."""

    frames: int = 0
    events: int = 0
    connections: int = 0
    repeated: int = 0
    acknowledged: int = 0
    unacknowledged: int = 0
    refused: int = 0
    simulated_time_ms: int = 0
    finished: bool = False

    def count(self, messages: list[Message]) -> None:
        fresh = Counter(message.channel for message in messages if not message.again)
        self.frames += fresh[Channel.SIGNALS]
        self.events += fresh[Channel.EVENTS]
        self.connections += fresh[Channel.CONNECTION]
        self.repeated += len(messages) - fresh.total()


class Outbox:
    """Truth first, then the broker; keeps the numbers and shows them once a second."""

    def __init__(self, truth: TruthWriter, broker: Broker, show: Callable[[Numbers], None]) -> None:
        self.numbers = Numbers()
        self._truth, self._broker, self._show = truth, broker, show
        self._shown_at = 0.0

    def send(self, messages: list[Message]) -> None:
        """1. into the truth, 2. to the broker."""
        positions = self._truth.sent(messages)
        for message, position in zip(messages, positions, strict=True):
            self._broker.publish(message, position)
        self.numbers.count(messages)

    def poll(self, timeout_s: float) -> None:
        """Read acknowledgements for up to `timeout_s`."""
        self._broker.poll(timeout_s)
        if time.monotonic() >= self._shown_at:
            self._shown_at = time.monotonic() + _PROGRESS_S
            self.note()

    def note(self) -> None:
        """Bring truth and numbers up to date and show them."""
        taken = self._broker.take_acknowledged()
        self._truth.acknowledged(taken)
        self.numbers.acknowledged += len(taken)
        self.numbers.unacknowledged = self._broker.unacknowledged
        self.numbers.refused = self._broker.refused
        self._truth.progress(as_dict(self.numbers))
        self._show(self.numbers)

    def finish(self, send: SendSection, stop: threading.Event) -> None:
        """Wait for the broker; not long when somebody wants this to stop."""
        deadline = time.monotonic() + (send.stop_timeout_s if stop.is_set() else send.drain_timeout_s)
        while self._broker.unacknowledged and time.monotonic() < deadline:
            self.poll(_POLL_S)
        self.numbers.finished = True
        self.note()


def as_dict(numbers: Numbers) -> dict[str, Any]:
    """For JSON."""
    return {name: getattr(numbers, name) for name in Numbers.__slots__}


@dataclass(slots=True)
class Summary:
    """What a run comes to."""

    numbers: Numbers
    wall_s: float
    cpu_s: float
    lateness_s: dict[str, float]
    delayed: int
    faults: dict[str, dict[str, int]]

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        messages = self.numbers.frames + self.numbers.events
        return {
            **as_dict(self.numbers),
            "delayed": self.delayed,
            "wall_s": round(self.wall_s, 3),
            "cpu_s": round(self.cpu_s, 3),
            "messages_per_s": round(messages / self.wall_s, 1) if self.wall_s else 0.0,
            "core_share": round(self.cpu_s / self.wall_s, 3) if self.wall_s else 0.0,
            "lateness_s": {name: round(value, 4) for name, value in self.lateness_s.items()},
            "faults": self.faults,
        }


class Run:
    """One `run` command."""

    def __init__(self, engine: Engine, truth: TruthWriter, outbox: Outbox, stop: threading.Event) -> None:
        self._engine, self._truth, self._outbox, self._stop = engine, truth, outbox, stop
        self._lateness = Lateness()
        self._reported = 0

    def go(self, duration_s: float, send: SendSection) -> Summary:
        """Simulate `duration_s` of wall time (0: until stopped), then say goodbye and wait for the broker."""
        settings = self._engine.settings
        steps_max = round(duration_s * settings.speedup / settings.step_s) if duration_s else math.inf
        began, cpu = time.monotonic(), time.process_time()
        pace = Pace(self._engine.start_ms, settings.speedup)
        while self._engine.steps < steps_max and not self._stop.is_set():
            self._wait(pace, (self._engine.steps + 1) * settings.step_s)
            self._step()
        self._outbox.send(self._engine.finish())
        self._outbox.finish(send, self._stop)
        return Summary(
            numbers=self._outbox.numbers,
            wall_s=time.monotonic() - began,
            cpu_s=time.process_time() - cpu,
            lateness_s={
                "p50": self._lateness.percentile_s(50),
                "p99": self._lateness.percentile_s(99),
                "max": self._lateness.max_s,
            },
            delayed=self._engine.misbehaviour.delayed,
            faults=self._faults(),
        )

    def _wait(self, pace: Pace, simulated_s: float) -> None:
        self._outbox.poll(0.0)
        left_s = pace.wait_s(simulated_s)
        while left_s > 0 and not self._stop.is_set():
            self._outbox.poll(min(left_s, _POLL_S))
            left_s = pace.wait_s(simulated_s)
        self._lateness.note(-left_s)

    def _step(self) -> None:
        self._outbox.send(self._engine.step())
        self._outbox.numbers.simulated_time_ms = self._engine.now_ms
        reports = self._engine.fault_reports[self._reported :]
        self._truth.faults(reports)
        self._reported += len(reports)

    def _faults(self) -> dict[str, dict[str, int]]:
        newest = {(report.asset_id, report.fault): report for report in self._engine.fault_reports}
        counts: dict[str, dict[str, int]] = {}
        for report in newest.values():
            of_kind = counts.setdefault(report.fault, {"begun": 0, "visible": 0, "failed": 0})
            of_kind["begun"] += 1
            of_kind["visible"] += report.visible_ms is not None
            of_kind["failed"] += report.failed_ms is not None
        return counts
