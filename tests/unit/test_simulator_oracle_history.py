"""The oracle reads what the keeper of history writes, with code of its own, and finds what is missing or too much."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.history import columns, documents, series
from simulator.oracle import history, times
from simulator.oracle.expected import At, Expected

HOUR = 494_444
NOW_MS = (HOUR + 1) * documents.HOUR_MS
SPEED, STATE, CODES = "Vehicle.Speed", "Vehicle.LowVoltageSystemState", "Vehicle.Diagnostics.DTCList"
NUMBER = {
    path: next(n for n, signal in history.BY_NUMBER.items() if signal.path == path) for path in (SPEED, STATE, CODES)
}


def _times(count):
    return [HOUR * documents.HOUR_MS + 1_000 * place for place in range(count)]


def _piece(values, path=SPEED, origin="1"):
    return documents.piece("car-1", HOUR, origin, {NUMBER[path]: (_times(len(values)), values)}, NOW_MS)


def _asset(values, path=SPEED):
    return Expected("car-1", series={path: list(map(At, _times(len(values)), values))})


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-60, 400) | st.integers(0, 400).map(lambda n: n / 10), min_size=1, max_size=200))
def test_numbers_are_read_back_however_they_were_written(values):
    assert history.read([_piece(values)])[SPEED] == dict(zip(_times(len(values)), values, strict=True))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=100))
def test_whole_numbers_of_any_width_are_read_back(numbers):
    assert history._column(columns.encode(np.array(numbers, dtype=np.int64))) == numbers


@pytest.mark.parametrize(("path", "value"), [(STATE, "LOCK"), (CODES, ["P0301"])])
def test_texts_and_lists_are_read_back(path, value):
    assert set(map(repr, history.read([_piece([value] * 50, path)])[path].values())) == {repr(value)}


def test_buckets_are_read_like_pieces():
    known = {NUMBER[SPEED]: series.of(_times(90), [float(place % 7) for place in range(90)], NUMBER[SPEED])}
    written = documents.buckets("car-1", HOUR, known)
    assert history.read(written) == history.read([_piece([float(place % 7) for place in range(90)])])


def test_right_history_has_no_differences_and_pieces_may_overlap():
    said = history.read([_piece([1.0, 2.0, 3.0]), _piece([1.0, 2.0], origin="2")])
    assert list(history.differences(_asset([1.0, 2.0, 3.0]), said, NOW_MS)) == []


def test_a_missing_and_an_invented_sample_are_told():
    lacks = list(history.differences(_asset([1.0, 2.0, 3.0]), history.read([_piece([1.0, 2.0])]), NOW_MS))
    assert lacks == [f"history of {SPEED} lacks 1 of 3 samples, the first at {times.said(_times(3)[2])}"]
    invented = list(history.differences(_asset([1.0]), history.read([_piece([1.0, 9.0])]), NOW_MS))
    assert invented == [
        f"history of {SPEED} has 1 samples that were never sent, the first at {times.said(_times(2)[1])}"
    ]


def test_what_was_not_acknowledged_may_be_there():
    asset = _asset([1.0])
    asset.maybe = {SPEED: [At(_times(2)[1], 9.0)]}
    assert list(history.differences(asset, history.read([_piece([1.0, 9.0])]), NOW_MS)) == []
    assert list(history.differences(asset, history.read([_piece([1.0])]), NOW_MS)) == []


def test_what_retention_may_have_taken_is_not_asked_for():
    later_ms = NOW_MS + 90_000_000
    assert list(history.differences(_asset([1.0, 2.0]), {}, later_ms)) == []
