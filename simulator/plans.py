"""What drivers do next: where to, how long to stay, when to charge. Arrays are `[n]`.

Stays are drawn by place and hour. The shares are chosen so that every hour of the day shows driving, parking and
charging; a real night would be quieter.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from simulator import world
from simulator.arrays import Flags, Floats, Integers, Rows
from simulator.roads import Roads, Spots
from simulator.world import Places


class Mode:
    """What a car is doing. Plain integers: numpy compares arrays with them, not with enum members, at full speed."""

    PARKED: Final = 0
    DRIVING: Final = 1
    PLUGGED: Final = 2


class Place:
    """Where a car stands, or is going to."""

    HOME: Final = 0
    WORK: Final = 1
    ERRAND: Final = 2
    SITE: Final = 3


NOBODY: Final = -1

# minutes, uniform within the bounds: short stay, long stay, and how often the stay is a short one
_STAYS: Final = {
    Place.HOME: ((5.0, 40.0), (60.0, 300.0), 0.6),
    Place.WORK: ((10.0, 45.0), (90.0, 300.0), 0.5),
    Place.ERRAND: ((4.0, 20.0), (20.0, 60.0), 0.75),
    Place.SITE: ((4.0, 12.0), (15.0, 40.0), 0.8),
}
_NIGHT_FACTOR: Final = 2.0


@dataclass(slots=True)
class Plans:
    """Mode, place and the next departure; times are seconds of simulated time since the start."""

    places: Places
    mode: Integers
    place: Integers
    since_s: Floats
    """When the present mode began."""
    departs_s: Floats
    trip_began_s: Floats
    trips: Integers
    station: Integers
    """The station a car is plugged into, waits for or is on its way to; -1 for none."""
    waits_since_s: Floats
    """When a car joined the queue of its station; infinite for those that do not wait."""

    @property
    def driving(self) -> Flags:
        return np.asarray(self.mode == Mode.DRIVING)

    @property
    def plugged(self) -> Flags:
        return np.asarray(self.mode == Mode.PLUGGED)


def stays_s(place: Integers, hour: float, random: np.random.Generator) -> Floats:
    """How long cars stay where they just arrived, in s."""
    u, which = random.random(len(place)), random.random(len(place))
    minutes = np.zeros(len(place))
    for kind, (short, long, share_short) in _STAYS.items():
        low = np.where(which < share_short, short[0], long[0])
        high = np.where(which < share_short, short[1], long[1])
        minutes = np.where(place == kind, low + u * (high - low), minutes)
    is_night = hour >= 22.0 or hour < 5.0
    return minutes * 60.0 * (_NIGHT_FACTOR if is_night else 1.0)


def next_places(plans: Plans, roads: Roads, rows: Rows, random: np.random.Generator) -> tuple[Integers, Spots]:
    """Where the drivers of `rows` want to go next: places and where they are, `[rows]`."""
    u = random.random(len(rows))
    here = plans.place[rows]
    from_home = np.where(u < 0.5, Place.WORK, Place.ERRAND)
    from_elsewhere = np.where(u < 0.65, Place.HOME, Place.ERRAND)
    place = np.where(here == Place.HOME, from_home, from_elsewhere).astype(np.int64)
    homes, works = plans.places.homes.of(rows), plans.places.works.of(rows)
    errands = world.errands(roads, homes.where(u < 0.75, works), random)
    return place, homes.where(place == Place.HOME, works.where(place == Place.WORK, errands))


def begin_trip(plans: Plans, rows: Rows, place: Integers, now_s: float) -> None:
    """The cars of `rows` set off towards `place [rows]`."""
    plans.mode[rows] = Mode.DRIVING
    plans.place[rows] = place
    plans.since_s[rows] = now_s
    plans.trip_began_s[rows] = now_s
    plans.trips[rows] += 1


def park(plans: Plans, rows: Rows, now_s: float, hour: float, random: np.random.Generator) -> None:
    """The cars of `rows` have arrived and stay for a while."""
    plans.mode[rows] = Mode.PARKED
    plans.since_s[rows] = now_s
    plans.departs_s[rows] = now_s + stays_s(plans.place[rows], hour, random)
