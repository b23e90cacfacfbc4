"""Simulated time and the wall clock: never ahead, meeting at the end; lateness in bounded memory."""

import time

import numpy as np

from simulator import schedule
from simulator.schedule import Lateness, Pace

NOW_MS = 1_790_000_000_123


def test_simulated_time_meets_the_wall_clock_at_the_end_of_the_run():
    begins = schedule.start_ms(None, NOW_MS, 60.0, 60.0, 10)
    end_of_simulation = begins + 60.0 * 60.0 * 1_000
    assert abs(end_of_simulation - (NOW_MS + 60_000)) <= 1_000
    assert begins % 1_000 == 0


def test_without_an_end_it_meets_the_wall_clock_after_a_day():
    begins = schedule.start_ms(None, NOW_MS, 60.0, 0.0, 10)
    assert abs(begins + 60 * 86_400_000 - (NOW_MS + 86_400_000)) <= 1_000


def test_a_given_start_is_taken_as_it_is():
    assert schedule.start_ms(123, NOW_MS, 60.0, 60.0, 10) == 123


def test_slower_than_real_time_begins_now():
    assert schedule.start_ms(None, NOW_MS, 0.5, 60.0, 10) == 1_790_000_000_000


def test_a_step_is_due_when_its_share_of_the_wall_clock_has_passed():
    pace = Pace(int(time.time() * 1_000) - 3_600_000, 60.0)
    assert 0.9 < pace.wait_s(60.0) <= 1.0
    assert pace.wait_s(0.0) <= 0.0


def test_simulated_time_never_runs_ahead_of_the_wall_clock():
    pace = Pace(int(time.time() * 1_000), 60.0)  # ten simulated seconds would be due after 0.17 s
    assert pace.wait_s(10.0) > 9.0


def test_percentiles_of_lateness_are_within_a_bin():
    lateness, values = Lateness(), np.linspace(0.001, 1.0, 1_000)
    for value in values:
        lateness.note(float(value))
    for percent in (50, 90, 99):
        exact = float(np.percentile(values, percent))
        assert exact <= lateness.percentile_s(percent) <= 1.16 * exact
    assert lateness.max_s == 1.0


def test_lateness_of_nothing_and_of_being_early_is_zero():
    lateness = Lateness()
    assert lateness.percentile_s(99) == 0.0
    lateness.note(-5.0)
    assert lateness.percentile_s(99) == 0.0


def test_hours_of_lateness_are_counted_too():
    lateness = Lateness()
    lateness.note(1e9)
    assert lateness.percentile_s(50) > 1_000


def test_a_run_at_the_pace_of_the_clock_begins_when_it_is_prepared():
    """Else everything that a large fleet says would be as old as its making took."""
    assert NOW_MS + 1_000 <= schedule.start_ms(None, NOW_MS, 1.0, 60.0, 20_000) <= NOW_MS + 2_000
    assert NOW_MS + 5_000 <= schedule.start_ms(None, NOW_MS, 1.0, 60.0, 100_000) <= NOW_MS + 6_000
