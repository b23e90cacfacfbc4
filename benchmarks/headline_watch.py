"""What is measured from outside while a headline run lasts: processes, hops, and how old twins are."""

import contextlib
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import psutil
import pymongo
from pymongo.errors import PyMongoError

from local.processes import Child

PANEL: Final = 300
"""Vehicles whose twins are looked at; drawn by the database."""
_LOOK_S: Final = 0.5
_RESOURCES_S: Final = 2.0
_LATELY_S: Final = 5.0
_SIGNAL: Final = "Vehicle.Speed"
"""Is in every frame of the fleet."""
OBSERVER: Final = "observer"
STARTED: Final = "'s children"


class Use(NamedTuple):
    """CPU seconds since the start; bytes of memory now."""

    cpu_s: float
    rss_bytes: int


class Moment(NamedTuple):
    """Everything at one time (`time.time()`)."""

    at_s: float
    uses: dict[str, Use]
    hops: dict[str, float]


class Age(NamedTuple):
    """A panel's twin showed a newer frame at `at_s`, whose source time was `age_s` ago."""

    at_s: float
    age_s: float


class Stale(NamedTuple):
    """At `at_s`, by how much the newest frame of the panel's worst twin was older than the interval."""

    at_s: float
    overdue_s: float


def uses(children: Sequence[Child]) -> dict[str, Use]:
    """Of each program, apart from what it started itself (history beside the fold), and of this observer.

    A process that has ended is left out.
    """
    found = {OBSERVER: _use([psutil.Process()])}
    for child in children:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(child.pid)
            found[child.name] = _use([process])
            started = process.children(recursive=True)
            if started:
                found[f"{child.name}{STARTED}"] = _use(started)
    return found


def _use(processes: Sequence[psutil.Process]) -> Use:
    times = [process.cpu_times() for process in processes]
    cpu_s = sum(each.user + each.system for each in times)
    return Use(cpu_s, sum(process.memory_info().rss for process in processes))


class Watcher:
    """Measures in two threads from `begin` to `end`; `children` says whose use is measured, by name."""

    def __init__(
        self,
        children: Callable[[], Sequence[Child]],
        hops: Callable[[], dict[str, float]],
        twins: "pymongo.collection.Collection[dict[str, Any]]",
        interval_s: float,
    ) -> None:
        self.moments: list[Moment] = []
        self.ages: list[Age] = []
        self.stale: list[Stale] = []
        self._children, self._hops, self._twins, self._interval_s = children, hops, twins, interval_s
        self._over = threading.Event()
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._resources, self._look)]

    def begin(self) -> None:
        """All devices are on now."""
        drawn = self._twins.aggregate([{"$sample": {"size": PANEL}}, {"$project": {"_id": 1}}])
        self._panel = [twin["_id"] for twin in drawn]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def typical_age_s(self) -> float:
        """The median of what was seen in the last seconds; when nothing was, by how much the worst twin is overdue."""
        since_s = time.time() - _LATELY_S
        lately = [age.age_s for age in list(self.ages) if age.at_s >= since_s]
        if lately:
            return statistics.median(lately)
        return self.stale[-1].overdue_s if self.stale else 0.0

    def _resources(self) -> None:
        while not self._over.wait(_RESOURCES_S):
            self.moments.append(Moment(time.time(), uses(self._children()), self._hops()))

    def _look(self) -> None:
        newest: dict[str, float] = {}
        while not self._over.wait(_LOOK_S):
            try:
                seen = list(self._twins.find({"_id": {"$in": self._panel}}, {f"signals.{_SIGNAL}.ts": 1}))
            except PyMongoError:
                continue  # the twins it would have shown are seen late, and count as old
            now_s = time.time()
            overdue_s = 0.0
            for twin in seen:
                source_s = _source_s(twin)
                if source_s is None:  # it was born, and no frame of it has arrived yet
                    continue
                if twin["_id"] in newest and source_s > newest[twin["_id"]]:
                    self.ages.append(Age(now_s, now_s - source_s))
                newest[twin["_id"]] = source_s
                overdue_s = max(overdue_s, now_s - source_s - self._interval_s)
            self.stale.append(Stale(now_s, overdue_s))


def _source_s(twin: dict[str, Any]) -> float | None:
    node: Any = twin.get("signals", {})
    for name in _SIGNAL.split("."):
        node = node.get(name, {})
    moment: datetime | None = node.get("ts")
    return None if moment is None else moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
