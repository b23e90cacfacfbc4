"""Laws of resampling: the same as counting by hand, whatever the cut into hours."""

import itertools
import math
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cloud.history import resample, series
from cloud.history.resample import Steps
from wire import catalogue

SPEED, DISTANCE, STATE = (
    catalogue.BY_PATH[path].number
    for path in ("Vehicle.Speed", "Vehicle.TraveledDistance", "Vehicle.LowVoltageSystemState")
)
VALUES: dict[int, st.SearchStrategy[Any]] = {
    SPEED: st.floats(-1e300, 1e300),
    DISTANCE: st.integers(0, 2**32 - 1),
    STATE: st.sampled_from(["ON", "OFF"]),
}


@st.composite
def samples(draw: st.DrawFn) -> tuple[int, dict[int, Any]]:
    number = draw(st.sampled_from(sorted(VALUES)))
    return number, draw(st.dictionaries(st.integers(0, 500), VALUES[number], max_size=30))


def by_hand(known: dict[int, Any], every: int) -> list[tuple[int, list[Any]]]:
    grouped = itertools.groupby(sorted(known), lambda ts: ts // every * every)
    return [(start, [known[ts] for ts in times]) for start, times in grouped]


def check(steps: Steps, expected: list[tuple[int, list[Any]]]) -> None:
    assert steps.from_ms.tolist() == [start for start, _ in expected]
    assert steps.samples.tolist() == [len(values) for _, values in expected]
    assert steps.last.tolist() == [values[-1] for _, values in expected]
    if steps.minimum is None or steps.maximum is None or steps.mean is None:
        assert not expected or isinstance(expected[0][1][0], str)
        return
    assert steps.minimum.tolist() == [min(values) for _, values in expected]
    assert steps.maximum.tolist() == [max(values) for _, values in expected]
    for mean, (_, values) in zip(steps.mean.tolist(), expected, strict=True):
        exact = math.fsum(value / len(values) for value in values)
        assert math.isclose(mean, exact, rel_tol=1e-9, abs_tol=1e-12 * max(map(abs, values)))


@given(samples(), st.integers(1, 200))
def test_steps_are_what_counting_by_hand_gives(given_samples: tuple[int, dict[int, Any]], every: int) -> None:
    number, known = given_samples
    whole = series.of(sorted(known), [known[ts] for ts in sorted(known)], number)
    check(resample.resample(whole, every), by_hand(known, every))


@given(samples(), st.integers(1, 200), st.lists(st.integers(0, 500), max_size=4))
def test_steps_do_not_depend_on_where_time_is_cut(
    given_samples: tuple[int, dict[int, Any]], every: int, cuts: list[int]
) -> None:
    number, known = given_samples
    whole = series.of(sorted(known), [known[ts] for ts in sorted(known)], number)
    bounds = sorted({0, *cuts, 501})
    parts = [resample.resample(series.between(whole, *pair), every) for pair in itertools.pairwise(bounds)]
    check(resample.combine(parts), by_hand(known, every))


def test_the_mean_of_the_greatest_numbers_is_a_number() -> None:
    greatest = float(np.finfo(np.float64).max)
    steps = resample.resample(series.of([1, 2, 3], [greatest] * 3, SPEED), 10)
    assert steps.mean is not None
    assert math.isfinite(steps.mean[0])
