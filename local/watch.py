"""Watching a run: take a snapshot twice a second, show it, say when everything has arrived."""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from local import waiting
from local.findings import FindingsReader
from local.observe import Observer, Snapshot
from local.view import View

_REFRESH_S: Final = 0.5
_STILL_S: Final = 2.0
"""Counters must agree for this long: the twin service counts its backlog once a second."""


class Watch:
    """Shows the run in `view` while it waits. `check` raises when a service is gone."""

    def __init__(
        self,
        observer: Observer,
        findings: FindingsReader,
        view: View,
        stop: threading.Event,
        check: Callable[[], None],
    ) -> None:
        self._observer, self._findings, self._view = observer, findings, view
        self._stop, self._check = stop, check
        self._began_s = time.monotonic()
        self.last: Snapshot | None = None
        self.first_twin_at_s: float | None = None

    def until(self, phase: str, condition: Callable[[Snapshot], bool], limit_s: float = float("inf")) -> bool:
        """Show `phase` until `condition` holds; whether it did within `limit_s`. Raises InterruptedByUserError."""
        deadline = time.monotonic() + limit_s
        while not condition(self._show(phase)):
            if time.monotonic() >= deadline:
                return False
            waiting.pause(self._stop, _REFRESH_S)
        return True

    def until_drained(self, phase: str, limit_s: float) -> bool:
        """Show `phase` until all that was sent has been folded, seen so for two seconds on end."""
        since_s: float | None = None

        def still_drained(now: Snapshot) -> bool:
            nonlocal since_s
            if not now.drained:
                since_s = None
                return False
            since_s = now.at_s if since_s is None else since_s
            return now.at_s - since_s >= _STILL_S

        return self.until(phase, still_drained, limit_s)

    def _show(self, phase: str) -> Snapshot:
        self._check()
        now = self._observer.snapshot()
        if self.first_twin_at_s is None and now.cloud_count("twins"):
            self.first_twin_at_s = now.at_s
        self._view.show(phase, now.at_s - self._began_s, now, self._findings.read())
        self.last = now
        return now

    def __enter__(self) -> Self:
        self._view.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._view.__exit__(kind, error, trace)
        self._findings.close()
