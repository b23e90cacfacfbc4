"""The agent's loop. Each message takes these steps, in this order:

1. receive      take what MQTT has queued, judge it, apply the collection rules; nothing is acknowledged yet
2. append       one block per class at the end of the spool's newest segments
3. sync         fdatasync: from here on a power cut cannot take it
4. acknowledge  PUBACKs, in the order received
5. read         back from the spool, in order, as much as may be on its way
6. produce      batches per asset, and dead letters, to Kafka
7. delivered    Kafka's reports confirm records
8. checkpoint   what is confirmed becomes durable
9. delete       whole segments before the checkpoint

A failing disk stops at step 3: nothing is acknowledged, the broker keeps what it has, the same block is tried again.
Kafka being away stops at step 7: the spool grows, devices notice nothing.
"""

import math
import threading
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

import structlog

from edge import receive
from edge.clock import Clock
from edge.counts import Counts
from edge.inbox import Delivery
from edge.receive import Arrival, Judged
from edge.sender import Sender
from edge.sequences import SequenceWatch
from edge.spool.spool import Spool

_WAIT_S_MIN: Final = 0.02
_WAIT_S_MAX: Final = 0.1
_WAIT_S_IDLE: Final = 0.25
"""With nothing to do at all; a message ends the wait, a request to stop does not."""
_WORKING_S: Final = 1.0
"""Kafka works when it took or confirmed something so lately."""


class Receiver(Protocol):
    """The MQTT side."""

    def take(self, wait_s: float) -> list[Delivery]:
        """What was received since the last call, oldest first; waits when there is nothing."""

    def acknowledge(self, deliveries: list[Delivery]) -> None:
        """Send PUBACKs, in this order. Never waits."""

    def stop(self) -> None:
        """Receive no more; send what is to be acknowledged, and part from the broker."""


class Timing(NamedTuple):
    """Of the loop. `commit_s_max`: a disk that takes longer for an append is called slow."""

    retry_s: float
    stop_timeout_s: float
    commit_s_max: float = 2.0


class Agent:
    """Runs in the thread that calls `run`; `turn` is one round of the loop."""

    def __init__(
        self,
        receiver: Receiver,
        spool: Spool,
        sender: Sender,
        clock: Clock,
        counts: Counts,
        timing: Timing,
        observe_sync_s: Callable[[float], None],
        watch: SequenceWatch | None = None,
        collect: Callable[[dict[bytes, Arrival]], dict[bytes, Arrival]] | None = None,
    ) -> None:
        self._receiver = receiver
        self._spool = spool
        self._sender = sender
        self._clock = clock
        self._counts = counts
        self._timing = timing
        self._observe_sync_s = observe_sync_s
        self._watch = watch
        self._collect = collect
        self._log = structlog.get_logger("edge.agent")
        self._unacknowledged: list[Delivery] = []
        self._disk_faults: dict[str, str] = {}
        self._not_before_s: dict[str, float] = {}
        self._checkpoint_due = False
        self._lost_logged = 0
        self._wait_s = _WAIT_S_MIN
        self._worked_s = -math.inf
        """When Kafka took or confirmed something."""
        self._posted: deque[Callable[[], object]] = deque()
        self.last_turn_s = clock.monotonic_s()
        """When the loop last came round, on the monotonic clock: whoever watches sees that it turns."""
        self._disk_since_s: float | None = None
        self._last_commit_s = 0.0

    @property
    def disk_fault(self) -> str | None:
        """For people: what the disk refuses at present, or that it is slow."""
        refused = next(iter(list(self._disk_faults.values())), None)
        return refused or self._slowness()

    def _slowness(self) -> str | None:
        """The loop waits for the disk, and so do devices; MQTT's keepalive has its own thread."""
        since_s = self._disk_since_s
        waited_s = 0.0 if since_s is None else self._clock.monotonic_s() - since_s
        if waited_s > self._timing.commit_s_max:
            return f"it has not answered for {waited_s:.1f} s"
        if self._last_commit_s > self._timing.commit_s_max:
            return f"the last append took {self._last_commit_s:.1f} s"
        return None

    def request_checkpoint(self) -> None:
        """Make the next turn write a checkpoint; callable from any thread."""
        self._checkpoint_due = True

    def post(self, action: Callable[[], object]) -> None:
        """Let the loop do something between two rounds; callable from any thread. `action` must not raise."""
        self._posted.append(action)

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; then `finish` is due."""
        while not stop.is_set():
            self.turn()

    def turn(self) -> None:
        """One round. It waits in step 1, the longer the less there is to do; under pressure in step 7 instead."""
        self._begin_turn()
        self._receive()  # step 1
        if self._make_durable():  # step 2, step 3
            self._receiver.acknowledge(self._unacknowledged)  # step 4
            self._unacknowledged = []
        self._on_disk("read", self._sender.read)  # step 5
        produced = self._sender.produce()  # step 6
        settled = self._sender.settle(self._wait_for_kafka())  # step 7
        if self._checkpoint_due:
            self._checkpoint_due = False
            self._checkpoint()  # step 8, step 9
        self._pace(produced + settled)

    def _begin_turn(self) -> None:
        self.last_turn_s = self._clock.monotonic_s()
        while self._posted:
            self._posted.popleft()()

    def _receive(self) -> None:
        if self._spool.is_staged:  # the disk has not taken the last ones: the broker waits
            self._clock.sleep(self._wait())
            return
        deliveries = self._receiver.take(self._wait())
        if deliveries:
            judged = receive.judge(deliveries)
            if self._watch is not None:
                self._watch.look(judged.arrivals)
            arrivals = judged.arrivals if self._collect is None else self._collect(judged.arrivals)
            self._spool.stage([*(arrival.bundle() for arrival in arrivals.values()), *judged.refused])
            self._unacknowledged = deliveries
            self._count(deliveries, judged)  # last: who sees it received must see it undelivered

    def _count(self, deliveries: list[Delivery], judged: Judged) -> None:
        self._counts.received += sum(delivery.count for delivery in deliveries)
        self._counts.received_bytes += sum(delivery.size_bytes for delivery in deliveries)
        self._counts.cleared += judged.cleared
        for refused in judged.refused:
            self._counts.dead_letters[refused.reason] += 1

    def _make_durable(self) -> bool:
        """True when everything received is on disk."""
        if not self._spool.must_commit:
            return True
        started_s = self._clock.monotonic_s()
        is_durable = self._on_disk("append", self._spool.commit)
        if is_durable:
            self._last_commit_s = self._clock.monotonic_s() - started_s
            self._observe_sync_s(self._last_commit_s)
        return is_durable

    def _checkpoint(self) -> None:
        self._on_disk("expire", self._spool.expire)
        if self._on_disk("checkpoint", self._spool.checkpoint):
            self._on_disk("delete", self._spool.trim)
        lost = self._spool.lost.total()
        if lost != self._lost_logged:
            self._log.error("records_lost", records=lost - self._lost_logged, since_start=lost)
            self._lost_logged = lost
        if self._watch is not None:
            self._watch.report()

    def _on_disk(self, operation: str, action: Callable[[], None]) -> bool:
        """Do something that the disk may refuse; when it did so lately, not yet again."""
        now_s = self._clock.monotonic_s()
        if now_s < self._not_before_s.get(operation, now_s):
            return False
        self._disk_since_s = now_s
        try:
            action()
        except OSError as error:
            self._counts.disk_errors[operation] += 1
            if operation not in self._disk_faults:
                self._log.error("disk_failed", operation=operation, error=str(error))
            self._disk_faults[operation] = f"{operation}: {error.strerror or error}"
            self._not_before_s[operation] = now_s + self._timing.retry_s
            return False
        finally:
            self._disk_since_s = None
        fault = self._disk_faults.pop(operation, None)
        if fault is not None:
            self._log.warning("disk_works_again", was=fault)
        return True

    @property
    def _is_pressed(self) -> bool:
        """With as much on its way as may be, what Kafka reports is what lets us go on, while it works."""
        is_working = self._clock.monotonic_s() - self._worked_s < _WORKING_S
        return is_working and (self._sender.has_more or self._sender.is_held_up)

    def _wait_for_kafka(self) -> float:
        return _WAIT_S_MIN if self._is_pressed and not self._sender.has_more else 0.0

    def _pace(self, done: int) -> None:
        if done:
            self._worked_s = self._clock.monotonic_s()
        if self._is_pressed:
            self._wait_s = 0.0
        elif not self._sender.is_waiting:
            is_held = self._spool.undelivered > 0 and self._sender.due_s is None
            self._wait_s = _WAIT_S_MAX if is_held else _WAIT_S_IDLE
        elif done:
            self._wait_s = _WAIT_S_MIN
        else:
            self._wait_s = min(_WAIT_S_MAX, max(_WAIT_S_MIN, self._wait_s * 2))

    def _wait(self) -> float:
        """How long step 1 may wait: batches have to leave in time."""
        due_s = self._sender.due_s
        return self._wait_s if due_s is None else min(self._wait_s, max(0.0, due_s - self._clock.monotonic_s()))

    def finish(self) -> None:
        """Stop receiving, deliver what can be delivered in time, checkpoint. The rest stays in the spool."""
        deadline_s = self._clock.monotonic_s() + self._timing.stop_timeout_s
        self.turn()
        self._receiver.stop()
        while self._spool.undelivered and self._clock.monotonic_s() < deadline_s:
            self._begin_turn()
            self._make_durable()
            self._on_disk("read", self._sender.read)
            done = self._sender.produce(everything=True) + self._sender.settle()
            self._pace(done)
            if done == 0:
                self._clock.sleep(self._wait_s)
        self._checkpoint()
        self._log.info("stopped", undelivered=self._spool.undelivered)
