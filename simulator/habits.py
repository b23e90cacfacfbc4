"""Habits of drivers: on which days and when they work, how often they are out for errands. Arrays are `[n]`.

A working day begins when its driver leaves home. Most work at one place in daytime, some in shifts; some are on the
road all day, such as couriers and carers; some do not work. Besides, everybody has errands: a Poisson process whose
rate follows the hours of the week. The shapes are those of household travel surveys (two peaks on working days, a broad
one on Saturdays, a late one on Sundays); the shares are ours.
"""

from dataclasses import dataclass
from functools import cache
from typing import Final, NamedTuple

import numpy as np

from simulator.arrays import Flags, Floats, Integers, Rows, singles, stream

DAY_S: Final = 86_400.0
WEEK_S: Final = 7 * DAY_S
_CLOCK_OF_REGION_S: Final = 3_600.0  # UTC+1
_MONDAY: Final = 3
"""1970 began on a Thursday."""
_EARLY_S: Final = 1_800.0
"""Who leaves so much before the usual time is on the way to work."""
_PUNCTUAL_S: Final = 420.0


class _Kind(NamedTuple):
    """Drivers of one kind: usual times in hours with their spread, days of work in a week, errands in a day.

    `km_per_year`: what the others come to on the roads of a region, measured (a test compares).
    """

    share: float
    leaves_h: tuple[float, ...]
    spread_h: float
    lasts_h: float
    days: int
    weekend: bool
    errands_per_day: float
    km_per_year: float
    roams: bool = False


_KINDS: Final = (
    _Kind(0.52, (7.4,), 0.7, 8.9, 5, False, 0.7, 12_700.0),  # full time
    _Kind(0.16, (8.2,), 0.8, 5.2, 4, False, 1.2, 13_400.0),  # part time
    _Kind(0.09, (5.2, 13.2, 21.2), 0.25, 8.6, 5, True, 0.8, 13_400.0),  # shifts
    _Kind(0.07, (7.0, 10.5, 15.5, 20.5), 0.8, 9.0, 6, True, 0.4, 38_000.0, roams=True),  # on the road
    _Kind(0.16, (9.0,), 1.0, 0.0, 0, False, 1.6, 10_000.0),  # at home
)
_MORE_OR_LESS: Final = 0.22
_LEAST_AND_MOST: Final = (0.5, 1.5)
_WORKDAY: Final = (0, 0, 0, 0, 0, 1, 2, 4, 6, 8, 9, 8, 7, 6, 7, 8, 10, 11, 10, 8, 5, 3, 2, 1)
_SATURDAY: Final = (1, 1, 0, 0, 0, 0, 1, 2, 5, 9, 11, 11, 10, 9, 8, 8, 7, 7, 8, 7, 5, 4, 4, 2)
_SUNDAY: Final = (2, 1, 1, 0, 0, 0, 0, 1, 3, 6, 8, 9, 8, 8, 9, 9, 8, 8, 7, 5, 3, 2, 1, 0)
_LEAST: Final = 0.15
"""Somebody is always on the road."""
_WEEK: Final = (*_WORKDAY * 5, *_SATURDAY, *_SUNDAY)
_WEEK_HOURS: Final = 168


class _Week(NamedTuple):
    """Errands of a driver with one on a working day: in each hour, and since Monday, 0:00, at the hours `hours_s`."""

    per_hour: Floats
    hours_s: Floats
    by_then: Floats


@dataclass(frozen=True, slots=True)
class Habits:
    """What a seed says about its drivers."""

    days: Integers
    """Bit 0: works on Mondays; bit 6: on Sundays."""
    leaves_min: Integers
    """Minutes after midnight."""
    lasts_min: Integers
    errands_per_day: Floats
    roams: Flags
    """Has no place of work, is on the road while at work."""


class Duty(NamedTuple):
    """Of each driver: working time passed and left, in s; none left for those who are off."""

    done_s: Floats
    left_s: Floats


def of(seed: int, count: int) -> Habits:
    """The habits of the first `count` drivers of a seed."""
    kind = _kinds(seed, count)
    shift = stream(seed, "shifts").random(count)
    usual_h = np.array(
        [_KINDS[k].leaves_h[int(at * len(_KINDS[k].leaves_h))] for k, at in zip(kind, shift, strict=True)]
    )
    spread_h = np.array([each.spread_h for each in _KINDS])[kind] * stream(seed, "leaves").standard_normal(count)
    lasts_h = np.array([each.lasts_h for each in _KINDS])[kind]
    longer = 1.0 + 0.06 * stream(seed, "lasts").standard_normal(count)
    return Habits(
        days=_days(kind, stream(seed, "days").random((count, 7))),
        leaves_min=np.rint(60.0 * (usual_h + spread_h)).astype(np.int16),
        lasts_min=np.rint(60.0 * lasts_h * longer).astype(np.int16),
        errands_per_day=singles([each.errands_per_day for each in _KINDS])[kind],
        roams=np.array([each.roams for each in _KINDS])[kind],
    )


def kilometres_per_year(seed: int, count: int) -> Floats:
    """What the first `count` drivers of a seed drive in a year, about: by their kind, and more or less of it."""
    usual = np.array([each.km_per_year for each in _KINDS])[_kinds(seed, count)]
    return usual * np.clip(stream(seed, "mileage").normal(1.0, _MORE_OR_LESS, count), *_LEAST_AND_MOST)


def _kinds(seed: int, count: int) -> Integers:
    shares = np.cumsum([kind.share for kind in _KINDS])
    return np.searchsorted(shares[:-1], stream(seed, "habits").random(count), side="right")


def _days(kind: Integers, draws: Floats) -> Integers:
    """The days with the highest draws; weekends only of those who work then."""
    weekend = np.array([each.weekend for each in _KINDS])[kind]
    draws[:, 5:] -= np.where(weekend, 0.3, 2.0)[:, None]
    place = np.argsort(np.argsort(-draws, axis=1), axis=1)
    works = place < np.array([each.days for each in _KINDS])[kind][:, None]
    return (works @ (1 << np.arange(7))).astype(np.uint8)


@cache
def _week() -> _Week:
    per_hour = (np.array(_WEEK) + _LEAST) / (sum(_WORKDAY) + 24 * _LEAST)
    hours_s = 3_600.0 * np.arange(_WEEK_HOURS + 1)
    return _Week(per_hour, hours_s, np.concatenate([np.zeros(1), np.cumsum(per_hour)]))


def local_s(time_s: float) -> float:
    """The clock of the region at a time (s since 1970), in s since its 1970."""
    return time_s + _CLOCK_OF_REGION_S


def duty(habits: Habits, rows: Rows, at_s: float) -> Duty:
    """Who of `rows` works at a local time. Night shifts began the day before."""
    lasts_s, leaves_s = 60.0 * habits.lasts_min[rows], 60.0 * habits.leaves_min[rows]
    done_s, left_s = np.zeros(len(rows)), np.zeros(len(rows))
    today = int(at_s // DAY_S)
    for day in (today - 1, today):
        since_s = at_s - day * DAY_S - leaves_s
        inside = _works(habits, rows, day) & (since_s >= -_EARLY_S) & (since_s < lasts_s)
        done_s = np.where(inside, np.maximum(since_s, 0.0), done_s)
        left_s = np.where(inside, lasts_s - np.maximum(since_s, 0.0), left_s)
    return Duty(done_s, left_s)


def until_work_s(habits: Habits, rows: Rows, at_s: float, random: np.random.Generator) -> Floats:
    """How long until the drivers of `rows` leave for work next, give or take some minutes; infinite for those who never
    do."""
    leaves_s = 60.0 * habits.leaves_min[rows]
    waits_s = np.full(len(rows), np.inf)
    today = int(at_s // DAY_S)
    for day in range(today, today + 8):
        wait_s = day * DAY_S + leaves_s - at_s
        comes = _works(habits, rows, day) & (wait_s > 0) & np.isinf(waits_s)
        waits_s = np.where(comes, wait_s, waits_s)
    return np.maximum(waits_s + _PUNCTUAL_S * random.standard_normal(len(rows)), 60.0)


def until_errand_s(habits: Habits, rows: Rows, at_s: float, random: np.random.Generator) -> Floats:
    """How long until the drivers of `rows` need something."""
    of_week_s = (at_s - _midnight_of_monday_s(at_s)) % WEEK_S
    _, hours_s, by_then = _week()
    due = np.interp(of_week_s, hours_s, by_then) + random.exponential(1.0, len(rows)) / habits.errands_per_day[rows]
    weeks, within = np.divmod(due, by_then[-1])
    return np.asarray(weeks * WEEK_S + np.interp(within, by_then, hours_s) - of_week_s)


def errands_per_hour(habits: Habits, rows: Rows, at_s: float) -> Floats:
    """The rate of errands at a local time."""
    hour = int((at_s - _midnight_of_monday_s(at_s)) % WEEK_S // 3_600.0)
    return np.asarray(habits.errands_per_day[rows] * _week().per_hour[hour])


def _midnight_of_monday_s(at_s: float) -> float:
    """When the week of a local time began."""
    day = int(at_s // DAY_S)
    return (day - _weekday(day)) * DAY_S


def _weekday(day: int) -> int:
    """0: Monday, of a day since 1970."""
    return (day + _MONDAY) % 7


def _works(habits: Habits, rows: Rows, day: int) -> Flags:
    return np.asarray(habits.days[rows] >> _weekday(day) & 1, dtype=np.bool_)
