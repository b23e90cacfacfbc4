"""When things are sent: simulated time mapped to the wall clock, and how late the simulator was."""

import math
import time
from typing import Final

import numpy as np

_PREPARED_MS: Final = 1_000
_PREPARED_MS_PER_DEVICE: Final = 0.05
_BIN_FIRST_S: Final = 1e-4
_BIN_FACTOR: Final = 1.15
_BINS: Final = 120


class Pace:
    """`speedup` simulated seconds per wall second, and never ahead of the wall clock."""

    def __init__(self, start_ms: int, speedup: float) -> None:
        self._start_s = start_ms / 1_000
        self._speedup = speedup
        self._began = time.monotonic()

    def wait_s(self, simulated_s: float) -> float:
        """Seconds until the moment `simulated_s` after the start is due; negative when it is past."""
        by_pace = self._began + simulated_s / self._speedup - time.monotonic()
        by_clock = self._start_s + simulated_s - time.time()
        return max(by_pace, by_clock)


def start_ms(given_ms: int | None, now_ms: int, speedup: float, duration_s: float, devices: int) -> int:
    """When simulated time begins: as given, or so that it meets the wall clock when the run ends.

    A run without an end meets it after a day; one at the wall clock's own pace begins when it is prepared. Whole
    seconds, so that payloads are short.
    """
    if given_ms is not None:
        return given_ms
    if speedup == 1.0:
        return int((now_ms + _PREPARED_MS + devices * _PREPARED_MS_PER_DEVICE) // 1_000 * 1_000)
    horizon_s = duration_s or 86_400.0
    behind_ms = max(speedup - 1.0, 0.0) * horizon_s * 1_000.0
    return int((now_ms - behind_ms) // 1_000 * 1_000)


class Lateness:
    """Percentiles of how late steps were, in bounded memory (bins 15 % wide)."""

    def __init__(self) -> None:
        self._bins = np.zeros(_BINS, dtype=np.int64)
        self.max_s = 0.0

    def note(self, late_s: float) -> None:
        late_s = max(late_s, 0.0)
        self.max_s = max(self.max_s, late_s)
        place = 0 if late_s <= _BIN_FIRST_S else 1 + int(math.log(late_s / _BIN_FIRST_S, _BIN_FACTOR))
        self._bins[min(place, _BINS - 1)] += 1

    def percentile_s(self, percent: float) -> float:
        """The upper edge of the bin that holds the percentile; 0 when nothing was noted."""
        total = int(self._bins.sum())
        if not total:
            return 0.0
        place = int(np.searchsorted(np.cumsum(self._bins), total * percent / 100.0))
        return min(_BIN_FIRST_S * _BIN_FACTOR**place, self.max_s)
