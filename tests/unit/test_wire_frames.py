"""A device's payload to samples: decode, check shape, resolve names, judge each value."""

import math

import pytest

from wire import catalogue, codec, frames, limits
from wire.frames import Reading, Sample
from wire.malformed import Malformed, Reason
from wire.messages import Frame
from wire.topics import Kind

TS = 1_700_000_000_000
SPEED = catalogue.BY_PATH["Vehicle.Speed"]
MOVING = catalogue.BY_PATH["Vehicle.IsMoving"]
POWER = catalogue.BY_PATH["Station.EVSE.Power"]


def payload(**changes) -> bytes:
    """A good frame with some fields changed; `...` removes one."""
    fields = {"v": 1, "ts": TS, "signals": {"Vehicle.Speed": 50.5}, **changes}
    return codec.to_msgpack({name: value for name, value in fields.items() if value is not ...})


def decoded(**changes) -> Frame:
    frame = frames.decode(payload(**changes))
    assert isinstance(frame, Frame), frame
    return frame


def refused(**changes) -> Malformed:
    frame = frames.decode(payload(**changes))
    assert isinstance(frame, Malformed), frame
    return frame


def read(received_ms: int = TS, kind: Kind | None = None, **changes) -> Reading:
    reading = frames.read(decoded(**changes), received_ms, kind)
    assert isinstance(reading, Reading), reading
    return reading


@pytest.mark.parametrize("json", [False, True])
def test_a_frame_is_read_as_it_was_written(json):
    frame = Frame(v=1, ts=TS, signals={"Vehicle.Speed": [1.5, None]}, session="s1", seq=0, dt=[0, 100])
    assert frames.decode(frames.encode(frame, json)) == frame


def test_what_is_not_given_is_not_sent():
    assert codec.decode(frames.encode(Frame(v=1, ts=TS, signals={}))) == {"v": 1, "ts": TS, "signals": {}}


@pytest.mark.parametrize("key", ["Vehicle.Speed", SPEED.number, str(SPEED.number)])
def test_a_signal_may_be_named_by_path_or_by_number_or_by_the_number_as_text(key):
    assert read(signals={key: 50.5}).samples == [Sample(TS, {SPEED.number: 50.5})]


def test_numbers_survive_json_as_text():
    frame = frames.decode(frames.encode(Frame(v=1, ts=TS, signals={SPEED.number: 1.5}), json=True))
    assert isinstance(frame, Frame)
    assert frames.read(frame, TS) == Reading(None, None, [Sample(TS, {SPEED.number: 1.5})], [])


def test_a_frame_of_several_samples_has_their_times_and_leaves_out_nulls():
    reading = read(dt=[0, 500, -250], signals={"Vehicle.Speed": [1, None, 3], "Vehicle.IsMoving": [None, True, False]})
    assert reading.samples == [
        Sample(TS, {SPEED.number: 1.0}),
        Sample(TS + 500, {MOVING.number: True}),
        Sample(TS - 250, {SPEED.number: 3.0, MOVING.number: False}),
    ]
    assert reading.rejected == []


def test_a_null_without_dt_is_no_sample_and_no_fault():
    assert read(signals={"Vehicle.Speed": None}) == Reading(None, None, [Sample(TS, {})], [])


def test_an_empty_frame_is_a_frame():
    assert read(signals={}) == Reading(None, None, [Sample(TS, {})], [])


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"v": ...}, id="no version"),
        pytest.param({"v": 2}, id="another version"),
        pytest.param({"v": 1.0}, id="a version with a fraction"),
        pytest.param({"v": True}, id="true is not 1"),
        pytest.param({"ts": ...}, id="no time"),
        pytest.param({"signals": ...}, id="no signals"),
        pytest.param({"signals": []}, id="signals in a list"),
        pytest.param({"signals": {True: 1}}, id="a boolean as a name"),
        pytest.param({"signals": {1.0: 1}}, id="a float as a name"),
        pytest.param({"signals": {b"Vehicle.Speed": 1}}, id="bytes as a name"),
        pytest.param({"signals": {f"s{i}": 1 for i in range(limits.SIGNALS_PER_FRAME_MAX + 1)}}, id="too many"),
        pytest.param({"session": ""}, id="an empty session"),
        pytest.param({"session": "a b"}, id="a session with a space"),
        pytest.param({"session": "a\n"}, id="a session with a line end"),
        pytest.param({"session": "@gw/e1"}, id="the agent's own form of a session"),
        pytest.param({"session": "s" * 65}, id="a long session"),
        pytest.param({"seq": -1}, id="a negative sequence"),
        pytest.param({"seq": 2**53}, id="a sequence beyond JSON"),
        pytest.param({"seq": 1.0}, id="a sequence with a fraction"),
        pytest.param({"seq": False}, id="false is not 0"),
        pytest.param({"dt": []}, id="no samples"),
        pytest.param({"dt": [0.5]}, id="half a millisecond"),
        pytest.param({"dt": 5}, id="dt without a list"),
        pytest.param({"dt": [2**64 - 1]}, id="an offset beyond JSON"),
    ],
)
def test_another_shape_refuses_the_frame(changes):
    assert refused(**changes).reason is Reason.WRONG_SHAPE


def test_as_many_samples_as_the_limit_and_no_more():
    most = limits.SAMPLES_PER_FRAME_MAX
    assert len(read(dt=list(range(most)), signals={}).samples) == most
    assert isinstance(frames.decode(payload(dt=list(range(most + 1)))), Malformed)


@pytest.mark.parametrize(
    "ts", [0, -1, 5, limits.TIME_MS_MIN - 1, limits.TIME_MS_MAX + 1, 2**64 - 1, 1.7e12, math.nan, "2024-01-01", None]
)
def test_a_time_that_cannot_be_is_a_bad_time(ts):
    assert refused(ts=ts).reason is Reason.BAD_TIME


@pytest.mark.parametrize("ts", [limits.TIME_MS_MIN, limits.TIME_MS_MAX])
def test_the_first_and_the_last_possible_times_are_good(ts):
    assert decoded(ts=ts, dt=[0]).ts == ts


@pytest.mark.parametrize(
    ("ts", "offset"), [(TS, 2**53 - 1), (TS, 1 - 2**53), (limits.TIME_MS_MIN, -1), (limits.TIME_MS_MAX, 1)]
)
def test_offsets_may_not_leave_possible_time(ts, offset):
    assert refused(ts=ts, dt=[0, offset]).reason is Reason.BAD_TIME


def test_offsets_forward_from_the_first_possible_time_are_good():
    assert decoded(ts=limits.TIME_MS_MIN, dt=[0, 5_000]).dt == [0, 5_000]


@pytest.mark.parametrize("dt", [None, [0, -10], [-10, 0]])
def test_a_clock_is_ahead_by_its_latest_sample(dt):
    ahead = limits.CLOCK_AHEAD_MS_MAX
    frame = decoded(dt=dt, signals={})
    assert isinstance(frames.read(frame, TS - ahead), Reading)
    refused = frames.read(frame, TS - ahead - 1)
    assert isinstance(refused, Malformed)
    assert refused.reason is Reason.CLOCK_AHEAD


@pytest.mark.parametrize(
    ("signals", "reason", "named"),
    [
        ({"Vehicle.Spede": 5}, Reason.UNKNOWN_SIGNAL, "'Vehicle.Spede'"),
        ({"x" * 9_000: 5}, Reason.UNKNOWN_SIGNAL, "xxx"),
        ({0: 5}, Reason.UNKNOWN_SIGNAL, "'0'"),
        ({2**63: 5}, Reason.UNKNOWN_SIGNAL, "'9223372036854775808'"),
        ({"Vehicle.Speed": 401}, Reason.OUT_OF_RANGE, "Vehicle.Speed"),
        ({"Vehicle.Speed": math.nan}, Reason.OUT_OF_RANGE, "Vehicle.Speed"),
        ({"Vehicle.Speed": math.inf}, Reason.OUT_OF_RANGE, "Vehicle.Speed"),
        ({"Vehicle.Speed": 2**64 - 1}, Reason.OUT_OF_RANGE, "Vehicle.Speed"),
        ({"Vehicle.Speed": True}, Reason.WRONG_TYPE, "Vehicle.Speed"),
        ({"Vehicle.Speed": "50"}, Reason.WRONG_TYPE, "Vehicle.Speed"),
        ({"Vehicle.Speed": [50]}, Reason.WRONG_TYPE, "Vehicle.Speed"),
        ({"Vehicle.Speed": {"value": 50}}, Reason.WRONG_TYPE, "Vehicle.Speed"),
        ({"Vehicle.Speed": b"50"}, Reason.WRONG_TYPE, "Vehicle.Speed"),
        ({"Vehicle.IsMoving": 1}, Reason.WRONG_TYPE, "Vehicle.IsMoving"),
        ({"Vehicle.TraveledDistance": 1.5}, Reason.WRONG_TYPE, "Vehicle.TraveledDistance"),
        ({"Vehicle.TraveledDistance": -1}, Reason.OUT_OF_RANGE, "Vehicle.TraveledDistance"),
        ({"Vehicle.Powertrain.Type": "STEAM"}, Reason.OUT_OF_RANGE, "Vehicle.Powertrain.Type"),
        ({"Vehicle.Diagnostics.DTCList": "P0300"}, Reason.WRONG_TYPE, "Vehicle.Diagnostics.DTCList"),
        ({"Vehicle.Diagnostics.DTCList": ["P0300", 5]}, Reason.WRONG_TYPE, "Vehicle.Diagnostics.DTCList"),
        ({"Vehicle.Diagnostics.DTCList": ["P0300"] * 257}, Reason.OUT_OF_RANGE, "Vehicle.Diagnostics.DTCList"),
        ({"Vehicle.VehicleIdentification.Model": "x" * 1_025}, Reason.OUT_OF_RANGE, "Vehicle.VehicleIdentification"),
    ],
)
def test_a_bad_value_is_rejected_by_name_and_the_others_are_kept(signals, reason, named):
    reading = read(signals={**signals, "Vehicle.Exterior.AirTemperature": 20})
    assert [why.reason for why in reading.rejected] == [reason]
    assert named in reading.rejected[0].detail
    assert len(reading.rejected[0].detail) < 300
    assert [list(sample.values.values()) for sample in reading.samples] == [[20.0]]


def test_an_integer_of_thousands_of_digits_is_out_of_range():
    frame = frames.decode(b'{"v":1,"ts":%d,"signals":{"Vehicle.Speed":%s}}' % (TS, b"9" * 4_300))
    assert isinstance(frame, Frame)
    reading = frames.read(frame, TS)
    assert isinstance(reading, Reading)
    assert reading.rejected[0].reason is Reason.OUT_OF_RANGE


@pytest.mark.parametrize("column", [[1], [1, 2, 3], 5, None, {"0": 1}])
def test_a_column_of_another_length_than_dt_is_rejected_whole(column):
    reading = read(dt=[0, 1], signals={"Vehicle.Speed": column, "Vehicle.IsMoving": [True, None]})
    assert [why.reason for why in reading.rejected] == [Reason.WRONG_SHAPE]
    assert [sample.values for sample in reading.samples] == [{MOVING.number: True}, {}]


def test_bad_values_in_a_column_are_counted_and_the_good_ones_kept():
    reading = read(dt=[0, 1, 2, 3], signals={"Vehicle.Speed": [1, 999, None, "x"]})
    assert [sample.values for sample in reading.samples] == [{SPEED.number: 1.0}, {}, {}, {}]
    assert len(reading.rejected) == 1
    assert reading.rejected[0].detail.endswith("(2 of 4 values refused)")


def test_with_a_kind_the_signals_of_the_other_kind_are_rejected():
    reading = read(kind=Kind.VEHICLE, signals={"Station.EVSE.Power": 5, "Vehicle.Speed": 5})
    assert [sample.values for sample in reading.samples] == [{SPEED.number: 5.0}]
    assert [why.reason for why in reading.rejected] == [Reason.UNKNOWN_SIGNAL]
    assert read(signals={"Station.EVSE.Power": 5}).samples == [Sample(TS, {POWER.number: 5.0})]


def test_fields_of_a_newer_device_are_ignored():
    assert decoded(firmware="9.9") == decoded()
