"""A week of a simulated town: working days, errands and quiet nights, the same for the same seed."""

import numpy as np
import pytest

from simulator import fleet as fleets
from simulator import habits
from simulator.engine import Engine
from simulator.plans import Mode, Place
from tests.simulator_days import driven
from tests.simulator_world import NO_FAULTS, settings

MONDAY_MS = 1_779_667_200_000 - 3_600_000  # 2026-05-25, midnight in the region
FRIDAY, SATURDAY = 4, 5
HOUR_S, DAY_S = 3_600, 86_400
RATES = np.unique(habits.of(1, 1_000).errands_per_day)


def _hours(day, begins_h, ends_h):
    """By half an hour of a day of that week: shares of the fleet that drive, stand at work, stand at home."""
    start_ms = MONDAY_MS + (day * 24 * HOUR_S + int(begins_h * HOUR_S)) * 1_000
    fleet = Engine(settings(faults=NO_FAULTS, vehicles=300, stations=30), start_ms).fleet
    shares = []
    for _ in range(round(2 * (ends_h - begins_h))):
        of_half = []
        for step in range(900):
            fleets.step(fleet, 2.0)
            if step % 60 == 0:
                parked, place = fleet.plans.mode == Mode.PARKED, fleet.plans.place
                at = [(parked & (place == where)).mean() for where in (Place.WORK, Place.HOME)]
                of_half.append([fleet.plans.driving.mean(), *at])
        shares.append(np.mean(of_half, axis=0))
    return np.array(shares)


@pytest.fixture(scope="module")
def morning():
    """A Friday from 5:30 to 10:00."""
    return _hours(FRIDAY, 5.5, 10.0)


def test_a_town_drives_to_work_in_the_morning_and_is_there_then(morning):
    drives, at_work, at_home = morning.T
    assert drives[3:6].mean() > 2 * drives[0]  # from 7:00 to 8:30, against 5:30
    assert drives[3:6].mean() > 1.3 * drives[7:].mean()
    assert at_work[0] < 0.15 < 0.45 < at_work[-1]
    assert at_home[0] > 0.75 > 0.45 > at_home[-1]


def test_the_evening_is_as_busy_as_the_morning_and_the_night_is_quiet(morning):
    evening, night = _hours(FRIDAY, 15.0, 17.5)[2:, 0].mean(), _hours(FRIDAY, 3.0, 3.5)[0]
    assert evening > 0.7 * morning[3:6, 0].mean()
    assert night[0] < 0.3 * evening
    assert night[2] > 0.8


def test_on_saturdays_few_are_at_work_and_people_are_out():
    driving, at_work, _ = _hours(SATURDAY, 9.0, 12.0)[2:].mean(axis=0)
    assert at_work < 0.15
    assert driving > 0.025


def test_a_night_shift_begins_on_one_day_and_ends_on_the_next():
    one = habits.Habits(
        days=np.array([1], dtype=np.uint8),  # Mondays
        leaves_min=np.array([21 * 60], dtype=np.int16),
        lasts_min=np.array([8 * 60], dtype=np.int16),
        errands_per_day=np.ones(1),
        roams=np.zeros(1, dtype=np.bool_),
    )
    monday_s, rows = habits.local_s(MONDAY_MS / 1_000), np.zeros(1, dtype=np.intp)

    def left_h(hour):
        return float(habits.duty(one, rows, monday_s + hour * HOUR_S).left_s[0]) / HOUR_S

    assert [left_h(hour) for hour in (12, 21, 26, 29, 36, 50)] == [0.0, 8.0, 3.0, 0.0, 0.0, 0.0]
    waits_s = habits.until_work_s(one, rows, monday_s + 26 * HOUR_S, np.random.default_rng(1))
    assert abs(waits_s[0] / HOUR_S - (7 * 24 - 5)) < 1.0  # the next Monday


def test_errands_come_as_often_as_the_driver_has_them_and_rarely_at_night():
    count, random = 12_000, np.random.default_rng(1)
    drivers, rows = habits.of(1, count), np.arange(count)
    monday_s = habits.local_s(MONDAY_MS / 1_000)
    waits_s = habits.until_errand_s(drivers, rows, monday_s, random)
    by_friday = np.array([(waits_s[drivers.errands_per_day == rate] > 5 * DAY_S).mean() for rate in RATES])
    assert np.allclose(by_friday, np.exp(-5 * RATES), atol=0.03)  # nobody needed anything, of a Poisson process
    assert ((waits_s % DAY_S) < 5 * HOUR_S).mean() < 0.04


@pytest.mark.parametrize("seed", [1, 2])
def test_drivers_drive_as_much_in_a_week_as_their_odometers_say_that_they_did_before(seed):
    count, days_of_a_year = 2_500, 365.25
    by_day, by_year = driven(seed, count), habits.kilometres_per_year(seed, count)
    assert by_day.kilometres.mean() * days_of_a_year == pytest.approx(by_year.mean(), rel=0.08)
    rates = habits.of(seed, count).errands_per_day
    for rate in RATES:  # each kind of driver has its own
        of_kind = rates == rate
        assert by_day.kilometres[of_kind].mean() * days_of_a_year == pytest.approx(by_year[of_kind].mean(), rel=0.15)
    assert 3.0 < by_day.trips.mean() < 4.5


def test_the_first_drivers_have_the_same_habits_in_a_larger_fleet():
    few, many = habits.of(7, 10), habits.of(7, 500)
    for name in habits.Habits.__slots__:
        assert (getattr(few, name) == getattr(many, name)[:10]).all(), name
