"""`run`: simulated devices against a real broker, with the truth on disk before anything is sent.

`Run.go` is the loop: let the fleet make the step's messages; write them into the truth; send each part of them when it
is due, reading acknowledgements meanwhile. At the end every device says goodbye and the loop waits for the
broker. The wall clock decides when things are sent, never what.

The messages of a step of a second are sent spread over most of the second that follows, as those of real devices are;
meanwhile the next step is made.
"""

import itertools
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from simulator.arrays import Integers
from simulator.cells import Cells
from simulator.devices import Message
from simulator.engine import Engine
from simulator.schedule import Lateness, Pace
from simulator.settings import SendSection
from simulator.truth import TruthWriter
from wire.messages import LifecycleStep
from wire.topics import Channel

_PROGRESS_S: Final = 1.0
_POLL_S: Final = 0.05
_SPREAD: Final = 0.75
"""Share of a step's time over which its messages are sent; the rest is for making the next ones."""
_PART_S: Final = 0.05
_TOGETHER_S: Final = 0.01
"""When time runs so fast that steps are shorter than this, several are sent at once."""
_FAREWELLS: Final = 1_000
"""So many devices say goodbye at once."""


class Broker(Protocol):
    """Where messages go; `simulator.mqtt.Publisher` is the real one."""

    def publish(self, messages: Sequence[Message], positions: Sequence[int]) -> None: ...
    def poll(self, timeout_s: float) -> None: ...
    def take_acknowledged(self) -> Integers: ...
    @property
    def unacknowledged(self) -> int: ...
    @property
    def refused(self) -> int: ...
    @property
    def sent_bytes(self) -> int: ...


class Teller(Protocol):
    """Where steps of life go; `simulator.kafka.Teller` is the real one."""

    def tell(self, facts: Iterable[LifecycleStep]) -> None: ...


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
    sent_bytes: int = 0
    simulated_time_ms: int = 0
    behind_s: float = 0.0
    """How late the messages are that are being sent, by the wall clock."""
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
        self.hand_over(messages, self.record(messages, []))

    def record(self, messages: list[Message], cells: list[Cells]) -> list[int]:
        """Step 1 alone: positions in the truth."""
        return self._truth.sent(messages, cells)

    def hand_over(self, messages: list[Message], positions: list[int]) -> None:
        """Step 2 alone, of recorded messages."""
        self._broker.publish(messages, positions)
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
        self.numbers.sent_bytes = self._broker.sent_bytes
        self._truth.progress(as_dict(self.numbers))
        self._show(self.numbers)

    def finish(self, send: SendSection, stop: threading.Event) -> None:
        """Wait for the broker."""
        deadline = time.monotonic() + send.end_timeout_s(stop.is_set())
        while self._broker.unacknowledged and time.monotonic() < deadline:
            self.poll(_POLL_S)
        self.numbers.finished = True
        self.note()


def _parts(step_wall_s: float) -> int:
    """Into how many parts the messages of a step are split, so that they do not come all at once."""
    return max(1, round(_SPREAD * step_wall_s / _PART_S))


def as_dict(numbers: Numbers) -> dict[str, Any]:
    """For JSON."""
    return {name: getattr(numbers, name) for name in Numbers.__slots__}


@dataclass(slots=True)
class Summary:
    """What a run comes to."""

    numbers: Numbers
    wall_s: float
    cpu_s: float
    speedup: float
    speedup_reached: float
    lateness_s: dict[str, float]
    delayed: int
    dropped: int
    updated: int
    serviced: int
    faults: dict[str, dict[str, int]]

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        messages = self.numbers.frames + self.numbers.events
        return {
            **as_dict(self.numbers),
            "delayed": self.delayed,
            "dropped": self.dropped,
            "updated": self.updated,
            "serviced": self.serviced,
            "wall_s": round(self.wall_s, 3),
            "cpu_s": round(self.cpu_s, 3),
            "messages_per_s": round(messages / self.wall_s, 1) if self.wall_s else 0.0,
            "core_share": round(self.cpu_s / self.wall_s, 3) if self.wall_s else 0.0,
            "speedup": self.speedup,
            "speedup_reached": round(self.speedup_reached, 2),
            "lateness_s": {name: round(value, 4) for name, value in self.lateness_s.items()},
            "faults": self.faults,
        }


class Run:
    """One `run` command."""

    def __init__(
        self,
        engine: Engine,
        truth: TruthWriter,
        outbox: Outbox,
        stop: threading.Event,
        teller: Teller | None = None,
    ) -> None:
        """`teller` None: nobody tells of services, and they are not in the truth."""
        self._engine, self._truth, self._outbox, self._stop, self._teller = engine, truth, outbox, stop, teller
        self._lateness = Lateness()
        self._reported = self._updated = self._serviced = 0

    def go(self, duration_s: float, send: SendSection) -> Summary:
        """Simulate `duration_s` of wall time (0: until stopped), then say goodbye and wait for the broker."""
        settings = self._engine.settings
        steps_max = round(duration_s * settings.speedup / settings.step_s) if duration_s else math.inf
        began, cpu = time.monotonic(), time.process_time()
        pace = Pace(self._engine.start_ms, settings.speedup)
        parts = _parts(settings.step_s / settings.speedup)
        self._truth.assets(self._engine.assets)
        together = max(1, int(_TOGETHER_S * settings.speedup / settings.step_s))
        while self._engine.steps < steps_max and not self._stop.is_set():
            # Steps are made before their time, so that what they cost delays nothing.
            steps = min(together, steps_max - self._engine.steps)
            self._send(*self._made(steps), pace, parts)
        simulated_s, behind_s = self._engine.now_s, self._outbox.numbers.behind_s
        reached = simulated_s / max(simulated_s / settings.speedup + behind_s, 1e-9)
        owed = self._engine.finish()
        while some := list(itertools.islice(owed, _FAREWELLS)):
            self._outbox.send(some)
            self._outbox.poll(0.0)
        self._outbox.finish(send, self._stop)
        return Summary(
            numbers=self._outbox.numbers,
            wall_s=time.monotonic() - began,
            cpu_s=time.process_time() - cpu,
            speedup=settings.speedup,
            speedup_reached=reached,
            lateness_s={
                "p50": self._lateness.percentile_s(50),
                "p99": self._lateness.percentile_s(99),
                "max": self._lateness.max_s,
            },
            delayed=self._engine.misbehaviour.delayed,
            dropped=self._engine.links.dropped,
            updated=len(self._engine.updates),
            serviced=len(self._engine.services),
            faults=self._faults(),
        )

    def _made(self, steps: float) -> tuple[list[Message], list[Cells]]:
        """What the fleet does in so many steps, with the cells of its frames."""
        messages, cells = self._engine.step(), self._engine.cells
        for _ in range(1, int(steps)):
            messages += self._engine.step()
            cells += self._engine.cells
        return messages, cells

    def _send(self, messages: list[Message], cells: list[Cells], pace: Pace, parts: int) -> None:
        """Into the truth at once; to the broker part by part, when each is due."""
        engine = self._engine
        reports = engine.fault_reports[self._reported :]
        self._truth.faults(reports)
        self._reported += len(reports)
        self._truth.updates(engine.updates[self._updated :])
        self._updated = len(engine.updates)
        services = engine.services[self._serviced :]
        self._serviced = len(engine.services)
        positions = self._outbox.record(messages, cells)
        self._truth.dropped(engine.links.take_dropped())
        size = -(-len(messages) // parts)
        for part in range(parts):
            self._wait(pace, engine.now_s + part / parts * _SPREAD * engine.settings.step_s)
            of_part = slice(part * size, (part + 1) * size)
            self._outbox.hand_over(messages[of_part], positions[of_part])
        self._tell(services)
        self._outbox.numbers.simulated_time_ms = engine.now_ms

    def _tell(self, services: list[LifecycleStep]) -> None:
        if self._teller is not None and services:
            self._truth.facts(services)
            self._teller.tell(services)

    def _wait(self, pace: Pace, simulated_s: float) -> None:
        self._outbox.poll(0.0)
        left_s = pace.wait_s(simulated_s)
        while left_s > 0 and not self._stop.is_set():
            self._outbox.poll(min(left_s, _POLL_S))
            left_s = pace.wait_s(simulated_s)
        self._lateness.note(-left_s)
        self._outbox.numbers.behind_s = round(max(-left_s, 0.0), 3)

    def _faults(self) -> dict[str, dict[str, int]]:
        newest = {(report.asset_id, report.fault): report for report in self._engine.fault_reports}
        counts: dict[str, dict[str, int]] = {}
        for report in newest.values():
            of_kind = counts.setdefault(report.fault, {"begun": 0, "visible": 0, "failed": 0})
            of_kind["begun"] += 1
            of_kind["visible"] += report.visible_ms is not None
            of_kind["failed"] += report.failed_ms is not None
        return counts
