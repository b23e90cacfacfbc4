"""The coarse copies that questions find twins by: near enough that no question misses a twin, and seldom renewed."""

from typing import Any

import pytest
from bson.datetime_ms import DatetimeMS
from hypothesis import given
from hypothesis import strategies as st

from cloud import search
from cloud.queries import signals
from cloud.queries.signals import Comparison
from cloud.search import SEEN_STEP_MS, Search
from wire import catalogue

VOLTAGE, SPEED, DTCS, KIND = 6, 1, 57, 14
NUMERIC = [signal for signal in catalogue.SIGNALS if signal.search_step]
HOLDS = {
    "$lt": lambda held, bound: held < bound,
    "$lte": lambda held, bound: held <= bound,
    "$gt": lambda held, bound: held > bound,
    "$gte": lambda held, bound: held >= bound,
    "$eq": lambda held, bound: held == bound,
    "$ne": lambda held, bound: held != bound,
    "$exists": lambda _held, _bound: True,
}


def matches(condition: dict[str, Any], field: str, value: Any) -> bool:
    return all(HOLDS[operator](value, bound) for operator, bound in condition.get(field, {}).items())


def test_the_first_copies_are_exact_and_only_of_what_is_searched() -> None:
    made = search.renewed(None, {VOLTAGE: 12.3, SPEED: 50.0, DTCS: ["P0301"]}, (11.5, 48.1), 1_000)
    assert made == Search({VOLTAGE: 12.3, DTCS: ["P0301"]}, (11.5, 48.1), 1_000)


@pytest.mark.parametrize(
    ("values", "place", "seen_ms"),
    [
        ({VOLTAGE: 12.6}, (11.5, 48.1), 1_000),
        ({VOLTAGE: 12.0, SPEED: 90.0}, (11.549, 48.051), 1_000 + SEEN_STEP_MS),
        ({VOLTAGE: 12.3}, None, 1_000),
    ],
)
def test_what_moved_less_than_a_step_leaves_the_copies_alone(values: Any, place: Any, seen_ms: int) -> None:
    held = Search({VOLTAGE: 12.3}, (11.5, 48.1), 1_000)
    assert search.renewed(held, values, place, seen_ms) is held


@pytest.mark.parametrize(
    ("values", "place", "seen_ms", "renewed"),
    [
        ({VOLTAGE: 11.0}, (11.51, 48.1), 2_000, Search({VOLTAGE: 11.0, KIND: "HYBRID"}, (11.5, 48.1), 1_000)),
        ({KIND: "ELECTRIC"}, None, 2_000, Search({VOLTAGE: 12.3, KIND: "ELECTRIC"}, (11.5, 48.1), 1_000)),
        ({DTCS: []}, None, 2_000, Search({VOLTAGE: 12.3, KIND: "HYBRID", DTCS: []}, (11.5, 48.1), 1_000)),
        ({}, (11.5, 48.16), 2_000, Search({VOLTAGE: 12.3, KIND: "HYBRID"}, (11.5, 48.16), 1_000)),
        ({}, None, 999, Search({VOLTAGE: 12.3, KIND: "HYBRID"}, (11.5, 48.1), 999)),
        ({}, None, 901_001, Search({VOLTAGE: 12.3, KIND: "HYBRID"}, (11.5, 48.1), 901_001)),
    ],
)
def test_only_what_moved_further_is_renewed(values: Any, place: Any, seen_ms: int, renewed: Search) -> None:
    held = Search({VOLTAGE: 12.3, KIND: "HYBRID"}, (11.5, 48.1), 1_000)
    assert search.renewed(held, values, place, seen_ms) == renewed


def test_a_value_of_another_type_than_its_copy_is_copied() -> None:
    assert search.renewed(Search({VOLTAGE: "12"}, None, 0), {VOLTAGE: 12.3}, None, 0).values == {VOLTAGE: 12.3}


@given(
    st.sampled_from(NUMERIC),
    st.lists(st.floats(-1.0, 1.0), min_size=1, max_size=30),
    st.sampled_from(["<", ">", "<=", ">=", "=", "!="]),
    st.data(),
)
def test_whatever_a_value_did_a_comparison_that_it_meets_is_met_by_its_copy(
    signal: catalogue.Signal, moves: list[float], operator: str, data: st.DataObject
) -> None:
    low, high = max(signal.min, -1e9), min(signal.max, 1e9)
    value, held = (low + high) / 2, None
    for move in moves:
        value = min(high, max(low, value + move * 3 * signal.search_step))
        held = search.renewed(held, {signal.number: value}, None, 0)
    asked = data.draw(st.one_of(st.just(value), st.floats(low, high)))
    condition = Comparison(signal, operator, asked).condition()
    if matches(condition, f"signals.{signal.path}.value", value):
        assert held is not None
        copied = condition["search.values"]["$elemMatch"]
        assert copied["number"] == signal.number
        assert matches(copied, "value", held.values[signal.number])


def test_a_stored_search_is_read_as_it_was() -> None:
    for held in (Search({VOLTAGE: 12.3, DTCS: ["P0301", "P0420"]}, (11.5, 48.1), 1_000), Search({DTCS: []}, None, 0)):
        assert search.from_document(search.document(held)) == held
    assert search.document(Search({}, None, 5))["seen"] == DatetimeMS(5)
    assert search.from_document(None) is None


def test_a_comparison_of_an_unsearched_signal_asks_for_its_value_alone() -> None:
    comparison = signals.parse("Vehicle.Speed>100")
    assert isinstance(comparison, Comparison)
    assert list(comparison.condition()) == ["signals.Vehicle.Speed.value"]
