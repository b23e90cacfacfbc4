"""Frames packed by the column say exactly what frames packed one by one would say."""

import msgpack
import numpy as np
import pytest

from simulator import columns, encode, packing, readings
from simulator.columns import STATION, VEHICLE
from simulator.engine import Engine
from simulator.packing import Assembly, Packer
from tests.simulator_world import START_MS, settings

TEXTS = ["", "a", "LOCK", "a text of more than thirty-one characters", ["P0301", "U0100"], []]
ROWS = 60  # enough for whole columns at a time


def _table(of):
    return columns.table(of, {column.path: TEXTS for column in of if column.form == "text"})


def _world(of, seed):
    """Random values at the resolution of the wire, and which of them are sent."""
    random, table = np.random.default_rng(seed), _table(of)
    values = random.uniform(0, 200, (ROWS, len(of)))
    for index, column in enumerate(of):
        if column.form in ("text", "flag"):
            values[:, index] = random.integers(0, 2 if column.form == "flag" else len(TEXTS), ROWS)
    return table, table.rounded(np.where([c.form == "integer" for c in of], np.rint(values), values)), random


@pytest.mark.parametrize("of", [VEHICLE, STATION], ids=["vehicle", "station"])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("keys", ["paths", "numbers"])
def test_a_packed_frame_says_what_its_cells_say(of, share, keys):
    table, values, random = _world(of, 1)
    send = random.random(values.shape) < share
    sessions = np.array([f"19e0b6ae398-{row % 3 * 200:x}" for row in range(ROWS)], dtype="S24")
    sequences = random.integers(0, 2**32, ROWS)
    names = getattr(table, keys)
    packed = Packer(table, names).frames(send, values, 1_780_000_000_123, sessions, sequences)
    for row, payload in enumerate(packed):
        frame = msgpack.unpackb(payload, strict_map_key=False)
        assert list(frame) == ["v", "ts", "signals", "session", "seq"]
        expected = {names[c]: table.value(c, float(values[row, c])) for c in np.flatnonzero(send[row]).tolist()}
        assert list(map(repr, frame["signals"].items())) == list(map(repr, expected.items()))
        assert (frame["v"], frame["ts"]) == (1, 1_780_000_000_123)
        assert (frame["session"], frame["seq"]) == (sessions[row].decode(), sequences[row])


@pytest.mark.parametrize("of", [VEHICLE, STATION], ids=["vehicle", "station"])
@pytest.mark.parametrize("keys", ["paths", "numbers"])
def test_a_few_frames_have_the_same_bytes_as_many(of, keys):
    table, values, random = _world(of, 7)
    send = random.random(values.shape) < 0.5
    sessions = np.array([f"19e0b6ae398-{row % 3 * 200:x}" for row in range(ROWS)], dtype="S24")
    sequences = random.integers(0, 2**32, ROWS)
    packer = Packer(table, getattr(table, keys))
    many = packer.frames(send, values, 1_780_000_000_123, sessions, sequences)
    assert ROWS > packing._FEW > 7
    for begin in range(0, ROWS, 7):
        some = slice(begin, begin + 7)
        few = packer.frames(send[some], values[some], 1_780_000_000_123, sessions[some], sequences[some])
        assert few == many[some]


def test_what_is_sampled_between_frames_is_what_a_frame_would_say():
    engine = Engine(settings(vehicles=40, stations=4), START_MS)
    for _ in range(300):
        engine.step()
    table, rows = engine.vehicles.table, np.arange(40)
    whole = readings.of_vehicles(table, engine.fleet, rows, engine.news.lamp, engine.news.code)
    sampled = readings.fast_of_vehicles(table, engine.fleet, rows)
    assert np.array_equal(sampled[:, table.fast], whole[:, table.fast], equal_nan=True)
    assert np.isfinite(sampled).any(axis=0).nonzero()[0].tolist() == list(table.fast)


@pytest.mark.parametrize("of", [VEHICLE, STATION], ids=["vehicle", "station"])
def test_units_are_the_values_again(of):
    table, values, random = _world(of, 4)
    values[random.random(values.shape) < 0.3] = np.nan
    units = table.units(values)
    assert units.dtype == np.int32
    assert np.array_equal(table.of_units(units), values, equal_nan=True)


def test_a_value_with_too_many_digits_is_noticed_before_it_is_sent():
    table, values, _ = _world(VEHICLE, 5)
    values[0, table.index_of["Vehicle.CurrentLocation.Latitude"]] = 5_000.0
    with pytest.raises(AssertionError, match="too many digits"):
        table.units(values)


def test_no_rows_are_no_frames():
    table, values, _ = _world(VEHICLE, 2)
    none = np.zeros((0, values.shape[1]))
    assert Packer(table, table.paths).frames(none > 0, none, 0, np.zeros(0, dtype="S24"), np.zeros(0)) == []


def test_a_row_that_is_not_complete_is_noticed():
    assembly = Assembly(np.array([4, 3]))
    assembly.put(np.array([0, 1]), np.array([b"ab", b"cd"], dtype="V2"))
    assembly.put(np.array([0]), np.array([b"ef"], dtype="V2"))
    with pytest.raises(AssertionError, match="another length"):
        assembly.rows()


def test_a_given_number_of_signals_are_the_first_that_a_device_has():
    table, values, random = _world(VEHICLE, 3)
    values[random.random(values.shape) < 0.3] = np.nan
    reporter = type("R", (), {"order": np.arange(values.shape[1])[::-1]})
    send = encode.first_known(reporter, table.units(values), 20)
    assert (send.sum(axis=1) == 20).all()
    assert np.isfinite(values[send]).all()
    for row in range(ROWS):
        last = np.flatnonzero(send[row])[0]  # the order begins with the last column
        assert (send[row, last:] == np.isfinite(values[row, last:])).all()
