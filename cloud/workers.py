"""Several workers on one machine: processes of one consumer group under a supervisor.

Kafka shares the partitions among them. The first also does the periodic work, which is the same for all. A worker
that dies is started again, after a pause that doubles while it keeps dying; what it had not committed is read again.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from typing import Final

import structlog

from cloud import children, service
from cloud.config import CloudSettings

log: Final = structlog.get_logger()

_LOOK_S: Final = 0.5
_PAUSE_MAX_S: Final = 30.0
_SETTLED_AFTER_S: Final = 60.0
"""A worker that lived this long was well: the next pause is short again."""

Start = Callable[[int], BaseProcess]


@dataclass(slots=True)
class _Place:
    """One worker's place. `due_s`: when to start it again."""

    number: int
    process: BaseProcess | None = None
    started_s: float = 0.0
    deaths: int = 0
    due_s: float = 0.0


def run(settings: CloudSettings, stop: threading.Event) -> None:
    """Keep `fold.workers` workers running until `stop` is set."""
    supervise(
        lambda number: children.start(f"worker-{number}", service.run, settings_of(settings, number)),
        settings.fold.workers,
        stop,
    )


def settings_of(settings: CloudSettings, number: int) -> CloudSettings:
    """What worker `number` is told: metrics and health `number` ports above the first, periodic work in the first."""
    if number == 0:
        return settings
    http = settings.http.model_copy(update={"port": settings.http.port and settings.http.port + number})
    fold = settings.fold.model_copy(update={"upkeep": False})
    return settings.model_copy(update={"http": http, "fold": fold})


def supervise(start: Start, count: int, stop: threading.Event) -> None:
    """Keep `count` processes running; when told to stop, ask all, then wait for them; see `children.end_within`."""
    places = [_Place(number) for number in range(count)]
    try:
        while not stop.is_set():
            for place in places:
                _look_after(place, start)
            sentinels = [place.process.sentinel for place in places if place.process is not None]
            connection.wait(sentinels, _LOOK_S)  # a death is seen at once, a stop a little later
    finally:
        running = [place.process for place in places if place.process is not None]
        for process in running:
            process.terminate()
        for process in running:
            process.join()


def _look_after(place: _Place, start: Start) -> None:
    now_s = time.monotonic()
    if place.process is not None and not place.process.is_alive():
        place.deaths = 1 if now_s - place.started_s > _SETTLED_AFTER_S else place.deaths + 1
        pause_s = min(_PAUSE_MAX_S, 2.0 ** (place.deaths - 1))
        log.error("worker died", worker=place.number, exit_code=place.process.exitcode, again_in_s=pause_s)
        place.process, place.due_s = None, now_s + pause_s
    if place.process is None and now_s >= place.due_s:
        place.process, place.started_s = start(place.number), now_s
