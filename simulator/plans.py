"""What drivers do next: where to, how long to stay, when to charge. Arrays are `[n]`.

From home to work and back on working days, with errands between, by the habits of each driver.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from simulator import habits, world
from simulator.arrays import Flags, Floats, Integers, Rows
from simulator.habits import Habits
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

_STAYS: Final = {
    Place.ERRAND: ((6.0, 35.0), (40.0, 150.0), 0.7),
    Place.SITE: ((4.0, 12.0), (15.0, 40.0), 0.8),
}
"""Minutes, uniform within the bounds: short stay, long stay, and how often the stay is a short one."""
_STOPS_MIN: Final = (20.0, 75.0)
"""Of those who are on the road for their work."""
_AT_HOME_S: Final = 600.0
"""Nobody leaves again earlier."""
_OUT_AT_NOON: Final = 0.25
"""Share of those at work who have an errand in between."""
_WORTH_GOING_S: Final = 3_600.0
"""Nobody goes to work for less."""
_NIGHT_HOURS: Final = (22.0, 5.0)


@dataclass(slots=True)
class Plans:
    """Mode, place and the next departure; times are seconds of simulated time since the start."""

    places: Places
    habits: Habits
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


def stays_s(plans: Plans, rows: Rows, at_s: float, random: np.random.Generator) -> Floats:
    """How long the cars of `rows` stay where they have just arrived at local time `at_s`, in s."""
    place, mine = plans.place[rows], plans.habits
    u, which, early = random.random((3, len(rows)))
    minutes = np.zeros(len(rows))
    for kind, (short, long, share_short) in _STAYS.items():
        low, high = (np.where(which < share_short, *bounds) for bounds in zip(short, long, strict=True))
        minutes = np.where(place == kind, low + u * (high - low), minutes)
    left_s = habits.duty(mine, rows, at_s).left_s
    on_the_road = (place != Place.SITE) & mine.roams[rows] & (left_s > 0)
    minutes = np.where(on_the_road, _STOPS_MIN[0] + u * (_STOPS_MIN[1] - _STOPS_MIN[0]), minutes)
    goes_out = (which < _OUT_AT_NOON) & (left_s > 3.0 * _WORTH_GOING_S)
    at_work_s = np.maximum(left_s * np.where(goes_out, 0.3 + 0.3 * u, 1.0) + 600.0 * (early - 0.3), 300.0)
    until_errand_s = np.maximum(habits.until_errand_s(mine, rows, at_s, random), _AT_HOME_S)
    at_home_s = np.minimum(until_errand_s, habits.until_work_s(mine, rows, at_s, random))
    settled = np.where(place == Place.HOME, at_home_s, np.where(place == Place.WORK, at_work_s, 60.0 * minutes))
    return np.asarray(np.where(on_the_road, 60.0 * minutes, settled))


def next_places(
    plans: Plans, roads: Roads, rows: Rows, at_s: float, random: np.random.Generator
) -> tuple[Integers, Spots]:
    """Where the drivers of `rows` want to go next at local time `at_s`: places and where they are, `[rows]`."""
    u = random.random(len(rows))
    here, roams = plans.place[rows], plans.habits.roams[rows]
    has_work = habits.duty(plans.habits, rows, at_s).left_s > _WORTH_GOING_S
    hour = at_s % habits.DAY_S / 3_600.0
    is_night = hour >= _NIGHT_HOURS[0] or hour < _NIGHT_HOURS[1]
    off = np.where((here == Place.HOME) | (u < (0.0 if is_night else 0.27)), Place.ERRAND, Place.HOME)
    place = np.where(has_work & (roams | (here == Place.WORK)), Place.ERRAND, np.where(has_work, Place.WORK, off))
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


def park(plans: Plans, rows: Rows, now_s: float, at_s: float, random: np.random.Generator) -> None:
    """The cars of `rows` have arrived at local time `at_s` and stay for a while."""
    plans.mode[rows] = Mode.PARKED
    plans.since_s[rows] = now_s
    plans.departs_s[rows] = now_s + stays_s(plans, rows, at_s, random)
