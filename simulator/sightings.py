"""Faults that have begun, and how far each has come by what was sent: begun, visible, failed."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from simulator import visibility
from simulator.arrays import Flags, where_true
from simulator.faults import DETECTOR_OF, MODEM_KINDS, Fault, FaultKind
from simulator.reporters import Reporter
from wire.topics import Kind


class FaultReport(NamedTuple):
    """A fault as the truth knows it: when it began, when the sent data showed it first, when it showed that the part
    had failed. `detector` None: nothing looks for it."""

    asset_id: str
    fault: str
    detector: str | None
    onset_ms: int
    visible_ms: int | None
    failed_ms: int | None


@dataclass(slots=True)
class _Watched:
    """A fault that has begun, and how far it has come."""

    fault: Fault
    reporter: Reporter
    visible_ms: int | None = None
    failed_ms: int | None = None

    @property
    def device(self) -> int:
        return self.reporter.devices.first_device + self.fault.row


class Sightings:
    """Follows every fault until its part has failed."""

    def __init__(self, start_ms: int) -> None:
        self.reports: list[FaultReport] = []
        self._start_ms = start_ms
        self._watched: list[_Watched] = []

    def begin(self, fault: Fault, reporter: Reporter) -> None:
        """A fault begins on a device of `reporter`."""
        self._watched.append(_Watched(fault, reporter))
        self.reports.append(self._report(self._watched[-1]))

    def see(self, said: Mapping[Kind, Flags], faded: Mapping[int, float], now_ms: int) -> None:
        """Note which faults the sent data shows for the first time, and which parts have failed by it. `said`: who has
        sent a frame in this step; `faded`: devices whose link is bad, 1 when nothing gets through."""
        by_kind: dict[FaultKind, list[_Watched]] = defaultdict(list)
        for watched in self._watched:
            if said[watched.reporter.devices.kind][watched.fault.row]:
                by_kind[watched.fault.kind].append(watched)
        for kind, several in by_kind.items():
            reporter, rows = several[0].reporter, np.array([watched.fault.row for watched in several])
            visible, failed = visibility.visible(kind, reporter, rows), visibility.failed(kind, reporter, rows)
            if kind in MODEM_KINDS:
                failed = np.array([faded.get(watched.device) == 1.0 for watched in several])
            for place in where_true(visible | failed).tolist():
                self._saw(several[place], bool(failed[place]), now_ms)
        if any(watched.failed_ms is not None for several in by_kind.values() for watched in several):
            self._watched = [watched for watched in self._watched if watched.failed_ms is None]

    def _saw(self, watched: _Watched, failed: bool, now_ms: int) -> None:
        before = (watched.visible_ms, watched.failed_ms)
        watched.visible_ms = watched.visible_ms or now_ms
        watched.failed_ms = now_ms if failed else None
        if (watched.visible_ms, watched.failed_ms) != before:
            self.reports.append(self._report(watched))

    def _report(self, watched: _Watched) -> FaultReport:
        fault, boxes = watched.fault, watched.reporter.devices
        return FaultReport(
            asset_id=boxes.ids[fault.row],
            fault=str(fault.kind),
            detector=DETECTOR_OF.get(fault.kind),
            onset_ms=self._start_ms + round(fault.onset_s * 1_000),
            visible_ms=watched.visible_ms,
            failed_ms=watched.failed_ms,
        )
