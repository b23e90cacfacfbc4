"""Laws of history: columns keep every value, union has no order, and no cut of the log or of time loses a sample."""

import itertools
from typing import Any

import bson
import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.history import collect, columns, documents, series
from cloud.history.documents import HOUR_MS, Document
from cloud.inbox import Record
from tests.cloud_world import NOW_MS, frame, record
from wire import catalogue

SPEED, MOVING, DISTANCE, STATE, CODES = (
    catalogue.BY_PATH[path].number
    for path in (
        "Vehicle.Speed",
        "Vehicle.IsMoving",
        "Vehicle.TraveledDistance",
        "Vehicle.LowVoltageSystemState",
        "Vehicle.Diagnostics.DTCList",
    )
)
ALL = frozenset(catalogue.BY_NUMBER)

INTEGERS = st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-300, 300))
FLOATS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(allow_nan=False, allow_infinity=False, width=32),
    st.integers(-(10**6), 10**6).map(lambda number: number / 100),
)
TEXTS = st.one_of(st.sampled_from(["", "OFF", "°☃"]), st.lists(st.sampled_from(["P0301", "P0420-1A"]), max_size=3))
LENGTHS = st.sampled_from([1, 2, columns.SHORT, columns.SHORT + 1, 3 * columns.SHORT])


@st.composite
def column(draw: st.DrawFn) -> tuple[list[Any], type]:
    values, dtype = draw(st.sampled_from([(INTEGERS, np.int64), (FLOATS, np.float64), (TEXTS, object)]))
    some = draw(st.lists(values, min_size=1, max_size=20))
    return list(itertools.islice(itertools.cycle(some), draw(LENGTHS))), dtype


def array(values: list[Any], dtype: type) -> Any:
    made = np.empty(len(values), dtype=dtype)
    for place, value in enumerate(values):
        made[place] = value
    return made


@given(column())
def test_a_column_comes_back_as_it_was(given_column: tuple[list[Any], type]) -> None:
    values, dtype = given_column
    read = columns.decode(columns.encode(array(values, dtype)), dtype)
    assert read.dtype == dtype
    assert read.tolist() == values


@pytest.mark.parametrize("values", [list(range(1000)), [7] * 1000, [n * 1000 + n % 2 for n in range(1000)]])
def test_what_goes_on_evenly_takes_next_to_nothing(values: list[int]) -> None:
    assert len(columns.encode(np.array(values, dtype=np.int64))) < 100


def test_decimal_fractions_are_kept_as_whole_numbers() -> None:
    values = np.round(np.cumsum(np.sin(np.arange(2000)) / 7), 2)
    assert len(columns.encode(values)) < 2.0 * len(values)


SAMPLES = st.lists(st.tuples(st.integers(0, 30), st.integers(-3, 3)), max_size=40)


def oracle(samples: list[tuple[int, int]]) -> list[tuple[int, int]]:
    known: dict[int, int] = {}
    for ts, value in samples:
        known[ts] = max(known.get(ts, value), value)
    return sorted(known.items())


def listed(known: series.Series) -> list[tuple[int, Any]]:
    return list(zip(known.times_ms.tolist(), known.values.tolist(), strict=True))


@given(st.lists(SAMPLES.filter(bool), min_size=1, max_size=5), st.randoms(), st.sampled_from([DISTANCE, STATE]))
def test_union_is_the_set_of_samples_in_any_order_and_grouping(
    parts: list[list[tuple[int, int]]], random: Any, number: int
) -> None:
    """Commutative, associative and idempotent; of one moment's values the greatest."""

    def value(given_value: int) -> Any:
        return given_value if number == DISTANCE else f"text {given_value + 5}"

    def part(samples: list[tuple[int, int]]) -> series.Series:
        return series.of([ts for ts, _ in samples], [value(one) for _, one in samples], number)

    made = [part(samples) for samples in parts]
    whole = series.union(made)
    assert listed(whole) == [(ts, value(one)) for ts, one in oracle(list(itertools.chain(*parts)))]
    shuffled = [*made, *made[:2]]
    random.shuffle(shuffled)
    step_by_step = shuffled[0]
    for one in shuffled[1:]:
        step_by_step = series.union([one, step_by_step])
    assert listed(step_by_step) == listed(whole)
    assert listed(series.union([whole, whole])) == listed(whole)


VALUES: dict[int, st.SearchStrategy[Any]] = {
    SPEED: st.integers(-60, 400).map(float),
    MOVING: st.booleans(),
    DISTANCE: st.integers(0, 2**32 - 1),
    STATE: st.sampled_from(["OFF", "ON", "START"]),
    CODES: st.lists(st.sampled_from(["P0301", "P0420"]), max_size=2),
}
FRAMES = st.lists(
    st.tuples(
        st.integers(-2 * HOUR_MS, 2 * HOUR_MS),
        st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=5, unique=True),
        st.integers(0, 9),
    ),
    min_size=1,
    max_size=12,
)


@st.composite
def log(draw: st.DrawFn) -> tuple[list[Record], dict[int, dict[int, Any]]]:
    """Records of one asset, and what they say: signal → time → value."""
    truth: dict[int, dict[int, Any]] = {}
    records: list[Record] = []
    for offset, (after_ms, numbers, repeat) in enumerate(draw(FRAMES)):
        ts = NOW_MS + after_ms
        values = {number: draw(VALUES[number]) for number in numbers}
        many = [ts + step for step in range(repeat * 5 + 1)]
        several = {number: [value] * len(many) for number, value in values.items()}
        dt = [step - ts for step in many]
        records.append(record("a", [frame(ts, several, "s", offset, dt=dt)], offset, received_ms=[NOW_MS + HOUR_MS]))
        for number, value in values.items():
            known = truth.setdefault(number, {})
            for moment in many:
                known[moment] = max(known.get(moment, value), value)
    return records, truth


def told(held: list[Document]) -> dict[int, dict[int, Any]]:
    known = documents.all_samples([bson.decode(bson.encode(document)) for document in held])
    return {number: dict(zip(one.times_ms.tolist(), one.values.tolist(), strict=True)) for number, one in known.items()}


@settings(max_examples=60, deadline=None)
@given(log(), st.data())
def test_any_cut_of_the_log_holds_exactly_what_was_said(
    said: tuple[list[Record], dict[int, dict[int, Any]]], data: st.DataObject
) -> None:
    """Overlapping stretches, in any order, then merged into buckets: always the samples that were sent."""
    records, truth = said
    cuts = data.draw(st.lists(st.integers(0, len(records)), max_size=4))
    bounds = sorted({0, *cuts, len(records)})
    held = [
        piece for first, last in itertools.pairwise(bounds) for piece in collect.pieces(records[first:last], ALL, 0)
    ]
    again = collect.pieces(records[bounds[-2] // 2 :], ALL, 1)
    assert told([*again, *held]) == truth
    by_hour: dict[int, list[Document]] = {}
    for piece in [*held, *again]:
        by_hour.setdefault(int(piece["hour"]) // HOUR_MS, []).append(piece)
    merged = [
        bucket for hour, some in by_hour.items() for bucket in documents.buckets("a", hour, documents.all_samples(some))
    ]
    assert told(merged) == truth
    for document in [*held, *merged]:
        assert_well_formed(document)


def assert_well_formed(document: Document) -> None:
    known = documents.read(document)
    hour_ms = int(document["hour"])
    first, last = documents.span("a", int(document["from"]), int(document["to"]) + 1)
    assert first < document["_id"] < last
    assert document["samples"] == sum(len(one.times_ms) for one in known.values())
    for number, one in known.items():
        assert hour_ms <= int(document["from"]) <= one.times_ms.min()
        assert one.times_ms.max() <= int(document["to"]) < hour_ms + HOUR_MS
        if not documents.is_piece(document):
            assert catalogue.BY_NUMBER[number].data_class == document["class"]


@pytest.mark.parametrize(("kind", "kept"), [("station", 1), ("vehicle", 0)])
def test_what_is_notified_of_a_stations_variable_is_kept_of_stations_alone(kind: str, kept: int) -> None:
    said = {"v": 1, "type": "notify_event", "ts": NOW_MS, "component": "ChargingStation", "trigger": "Delta"}
    said |= {"variable": "AvailabilityState", "actual_value": "Faulted"}
    made = record("a", [bytes(msgpack.packb(said))], channel="events", kind=kind)
    pieces = collect.pieces([made], ALL, NOW_MS)
    assert sum(piece["samples"] for piece in pieces) == kept


@given(log())
@settings(max_examples=20, deadline=None)
def test_the_same_stretch_gives_the_same_documents(said: tuple[list[Record], Any]) -> None:
    records, _ = said
    assert collect.pieces(records, ALL, 0) == collect.pieces(records, ALL, 0)


@given(log())
@settings(max_examples=20, deadline=None)
def test_a_signal_that_is_not_kept_is_nowhere(said: tuple[list[Record], dict[int, dict[int, Any]]]) -> None:
    records, truth = said
    held = told(collect.pieces(records, ALL - {SPEED}, 0))
    assert held == {number: known for number, known in truth.items() if number != SPEED}


def test_a_bucket_is_cut_by_time_before_it_grows_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "BUCKET_BYTES_MAX", 2_000)
    hour = NOW_MS // HOUR_MS
    times = np.arange(3_600, dtype=np.int64) * 1000 + hour * HOUR_MS
    noise = np.random.default_rng(7).normal(size=3_600)
    known = {SPEED: series.Series(times, noise), DISTANCE: series.Series(times, np.arange(3_600))}
    made = documents.buckets("a", hour, known)
    assert len(made) > 10
    assert all(documents.size_bytes(bucket) <= 2_000 for bucket in made)
    assert len({bucket["_id"] for bucket in made}) == len(made)
    assert listed(documents.all_samples(made)[SPEED]) == listed(known[SPEED])
