"""Cars that wait at a charging site until a station there is free. First come, first served, as long as they fit."""

from typing import Final

import numpy as np

from simulator.arrays import Flags, Floats, Rows, where_true
from simulator.charging import Chargeable
from simulator.plans import NOBODY, Mode, Place, Plans
from simulator.stations import Stations

LENGTH_MAX: Final = 3
"""Nobody joins a longer queue."""
_PATIENCE_S: Final = 2_400.0


def waiting(plans: Plans) -> Flags:
    """Which cars stand in a queue, `[n]`."""
    return np.isfinite(plans.waits_since_s)


def shortest(stations: Stations, plans: Plans, distance_m: Floats, can_dc: bool) -> int:
    """The working station that a car with `distance_m [stations]` to go would wait for: near, and with a short queue;
    -1 for none."""
    queued = np.bincount(plans.station[waiting(plans)], minlength=len(stations))
    usable = ~stations.faulted & (queued < LENGTH_MAX)
    if not can_dc:
        usable &= ~stations.is_dc
    if not usable.any():
        return NOBODY
    distance = distance_m + 4_000.0 * queued
    return int(np.argmin(np.where(usable, distance, np.inf)))


def join(plans: Plans, vehicle: int, now_s: float) -> None:
    """A car that arrived at its station finds it taken, and waits; not for ever."""
    plans.waits_since_s[vehicle] = now_s
    plans.departs_s[vehicle] = now_s + _PATIENCE_S
    plans.place[vehicle] = Place.SITE


def leave(plans: Plans, rows: Rows) -> None:
    """Cars that wait no longer."""
    plans.waits_since_s[rows] = np.inf


def wanted(stations: Stations, plans: Plans) -> Rows:
    """Free, working stations at a site where cars wait: one has become free, or a neighbour of the one that they chose
    was."""
    rows = where_true(waiting(plans))
    free = ~stations.occupied & ~stations.faulted & (stations.reserved == NOBODY)
    return where_true(free & np.isin(stations.spots.road, stations.spots.road[plans.station[rows]]))


def next_in_line(stations: Stations, plans: Plans, cars: Chargeable, station: int) -> int:
    """Who may plug in at a free station: the first who waits for it, or for its neighbours at the site and fits;
    -1 for nobody."""
    rows = where_true(waiting(plans) & (plans.mode == Mode.PARKED))
    same_site = stations.spots.road[plans.station[rows]] == stations.spots.road[station]
    fits = same_site & ((cars.dc_max_w[rows] > 0) | ~stations.is_dc[station])
    rows = rows[fits]
    return int(rows[np.argmin(plans.waits_since_s[rows])]) if len(rows) else NOBODY
