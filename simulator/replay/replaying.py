"""`replay`: the messages of a recording, sent at its own pace times `speedup`, or at a bounded rate."""

import threading
import time
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from simulator.replay.frames import Timed
from simulator.running import Outbox, as_dict
from simulator.settings import SendSection

_BATCH: Final = 64


class Tempo(NamedTuple):
    """How fast: `speedup` recorded seconds a second, or else `rate` messages a second. `duration_s` 0: to the end."""

    speedup: float | None
    rate: float
    duration_s: float

    def due_s(self, index: int, ts_ms: int, first_ms: int) -> float:
        """Seconds after the start at which message number `index` is due."""
        if self.speedup is not None:
            return (ts_ms - first_ms) / 1_000 / self.speedup
        return index / self.rate


def go(
    stream: Iterator[Timed], tempo: Tempo, outbox: Outbox, stop: threading.Event, send: SendSection
) -> dict[str, Any]:
    """Send until the end of the recording, of `duration_s`, or `stop`; then wait for the broker."""
    began, cpu = time.monotonic(), time.process_time()
    ended_early = False
    first_ms: int | None = None
    batch: list[Timed] = []
    for index, timed in enumerate(stream):
        first_ms = timed.ts_ms if first_ms is None else first_ms
        due = began + tempo.due_s(index, timed.ts_ms, first_ms)
        if due > time.monotonic() or len(batch) >= _BATCH:
            _send(outbox, batch)
            batch = []
            ended_early = _wait(outbox, due, began + tempo.duration_s if tempo.duration_s else None, stop)
        if ended_early:
            break
        batch.append(timed)
    _send(outbox, batch)
    outbox.finish(send, stop)
    wall_s, numbers = time.monotonic() - began, outbox.numbers
    return {
        **as_dict(numbers),
        "complete": not ended_early,
        "wall_s": round(wall_s, 3),
        "cpu_s": round(time.process_time() - cpu, 3),
        "messages_per_s": round((numbers.frames + numbers.events) / max(wall_s, 1e-9), 1),
        "core_share": round((time.process_time() - cpu) / max(wall_s, 1e-9), 3),
    }


def _send(outbox: Outbox, batch: list[Timed]) -> None:
    if batch:
        outbox.send([timed.message for timed in batch])
        outbox.numbers.simulated_time_ms = max(outbox.numbers.simulated_time_ms, batch[-1].ts_ms)


def _wait(outbox: Outbox, due: float, ends: float | None, stop: threading.Event) -> bool:
    """Until `due`, reading acknowledgements; True when it is over before."""
    outbox.poll(0.0)
    while not stop.is_set() and (ends is None or time.monotonic() < ends):
        left_s = due - time.monotonic()
        if left_s <= 0:
            return False
        outbox.poll(min(left_s, 0.05))
    return True
