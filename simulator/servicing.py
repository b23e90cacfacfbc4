"""Regular services of the cars of a seed before a simulation begins: when, at which odometer, and who missed the last.

A service is due after 20,000 km; drivers come every 15,000 km, or after 520 days (`condition` has those who come while
they are simulated, after 15,000 km and within weeks). The lives of the cars tell of the
same services as the cars count from, so that the distance to the next one follows from the odometer of the last.
"""

from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import numpy as np

from simulator import identity
from simulator.arrays import Flags, Floats, Integers, stream, where_true
from simulator.identity import VehicleTraits

INTERVAL_KM: Final = 20_000.0
LAST_PAST_DAY: Final = datetime(2025, 5, 1, 12, tzinfo=UTC)
"""Everything that has happened to a car that drives, has happened by then."""
FIRST_DRIVEN_DAY: Final = LAST_PAST_DAY + timedelta(days=1)
"""No simulation begins before."""
COMES_AFTER_KM: Final = 15_000.0
_COMES_AFTER_DAYS: Final = 520.0
_DAYS_OF_A_YEAR: Final = 365.25
_SURELY_OVERDUE_KM: Final = 500.0
_DAY: Final = timedelta(days=1)


class LastService(NamedTuple):
    """Of each car `[n]`: which one it was (0: there was none yet), and the odometer in km."""

    number: Integers
    odometer_km: Floats


def interval_days(kilometres_per_year: Floats) -> Floats:
    """Days between two services."""
    by_distance = np.floor(COMES_AFTER_KM / kilometres_per_year * _DAYS_OF_A_YEAR)
    return np.asarray(np.minimum(by_distance, _COMES_AFTER_DAYS))


def driven_m(days: Floats | float, kilometres_per_year: Floats | float, most_m: Floats | float) -> Floats:
    """The odometer so many days after delivery; never above what telemetry begins with."""
    return np.asarray(np.minimum(days / _DAYS_OF_A_YEAR * kilometres_per_year * 1_000.0, 0.99 * most_m))


def last(traits: VehicleTraits, missed: Flags) -> LastService:
    """The last service of each car before it is simulated; those who `missed` it had the one before."""
    years, which = np.unique(traits.year, return_inverse=True)
    days = np.array([(LAST_PAST_DAY - datetime(year, 1, 1, 10, tzinfo=UTC)) / _DAY for year in years.tolist()])
    every_days = interval_days(traits.kilometres_per_year)
    number = np.maximum(np.ceil((days[which] - traits.delivered_day) / every_days) - 1.0, 0.0) - missed
    metres = driven_m(number * every_days, traits.kilometres_per_year, identity.odometer_m(traits))
    return LastService(number.astype(np.int64), metres / 1_000.0)


def missed(traits: VehicleTraits, count: int) -> Flags:
    """So many cars whose owners did not come when they should have, and whose service is overdue by now."""
    before = last(traits, np.ones(len(traits), dtype=np.bool_))
    since_km = identity.odometer_m(traits) / 1_000.0 - before.odometer_km
    able = where_true((before.number >= 0) & (since_km > INTERVAL_KM + _SURELY_OVERDUE_KM))
    chosen = able[np.argsort(stream(traits.seed, "missed services").random(len(traits))[able])][:count]
    flags = np.zeros(len(traits), dtype=np.bool_)
    flags[chosen] = True
    return flags
