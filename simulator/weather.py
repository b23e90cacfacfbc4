"""The weather of the region: the year, the day, and fronts that pass within days. Same seed and time: same weather."""

import math
from functools import cache
from typing import Final, NamedTuple

from simulator.arrays import stream

_MEAN_CELSIUS: Final = 10.0
_YEAR_CELSIUS: Final = 10.0
_DAY_CELSIUS: Final = 5.0
_WARMEST_DAY: Final = 200.0
_WARMEST_HOUR_UTC: Final = 14.0
_FRONTS: Final = ((1.7, 1.6), (3.1, 2.2), (6.3, 2.6))
"""Period in days and amplitude in K of each wave of fronts."""
_WET_ABOVE: Final = 0.9
_WET_ROAD: Final = 0.88
"""Share of the usual speed that is driven on a wet road."""


class Weather(NamedTuple):
    """Air temperature in °C; `road` is the share of the usual speed."""

    celsius: float
    is_wet: bool

    @property
    def road(self) -> float:
        return _WET_ROAD if self.is_wet else 1.0


def at(seed: int, time_s: float) -> Weather:
    """The weather at a time (s since 1970)."""
    days = time_s / 86_400.0
    year = math.cos(2 * math.pi * (days - _WARMEST_DAY) / 365.25)
    day = math.cos(2 * math.pi * (time_s / 3_600.0 - _WARMEST_HOUR_UTC) / 24.0)
    phases = _phases(seed)
    front = sum(
        amplitude * math.sin(2 * math.pi * (days / period + phase))
        for (period, amplitude), phase in zip(_FRONTS, phases, strict=False)
    )
    wetness = math.sin(2 * math.pi * (days / 2.3 + phases[3])) + 0.6 * math.sin(2 * math.pi * (days / 0.37 + phases[4]))
    return Weather(_MEAN_CELSIUS + _YEAR_CELSIUS * year + _DAY_CELSIUS * day + front, wetness > _WET_ABOVE)


@cache
def _phases(seed: int) -> tuple[float, ...]:
    return tuple(stream(seed, "fronts").random(len(_FRONTS) + 2).tolist())
