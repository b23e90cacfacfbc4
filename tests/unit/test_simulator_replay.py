"""Replay: mapping files that explain themselves, rows that become sessions, frames and events at the right times."""

import gzip
import itertools
import json
from collections import defaultdict
from datetime import UTC, datetime

import pytest

from simulator.errors import UnusableError
from simulator.replay import frames, mapping, moments
from simulator.replay.table import Table
from simulator.replay.values import Skipped
from tests.simulator_world import decoded
from wire import catalogue
from wire import frames as wire_frames
from wire.topics import Channel, Kind

END_MS = 1_790_000_000_000
CARS = """
[asset]
kind = "vehicle"
id = "car-{who}"
[session]
columns = ["trip"]
[frames]
samples_per_frame = 3
[[moments]]
time = { seconds = "s", session_start_minutes = "minutes" }
signals = [
    { path = "Vehicle.Speed", column = "mph", scale = 1.609344, decimals = 1 },
    { path = "Vehicle.IsMoving", column = "mph", above = 0.5 },
    { path = "Vehicle.Powertrain.FuelSystem.RelativeLevel", column = "fuel", scale = 100.0 },
]
[moments.constants]
"Vehicle.LowVoltageSystemState" = "ON"
"""
STATIONS = """
[asset]
kind = "station"
id = "cp-{station}"
[[moments]]
time = { column = "began" }
[[moments.signals]]
path = "Station.EVSE.Power"
column = "kwh"
scale = 1000.0
[[moments.signals]]
path = "Station.FiscalMetering.EnergyImportRegister"
column = "kwh"
scale = 1000.0
accumulate = "before"
[moments.constants]
"Station.EVSE.AvailabilityState" = "Occupied"
[[moments.events]]
type = "charging_session"
phase = "Started"
transaction_id = "{id}"
meter_values = { "Energy.Active.Import.Register" = { column = "kwh", scale = 1000.0, accumulate = "before" } }
[[moments]]
time = { column = "done", otherwise = "ended", latest = "ended" }
[moments.constants]
"Station.EVSE.Power" = 0
[[moments]]
time = { column = "ended" }
[[moments.signals]]
path = "Station.FiscalMetering.EnergyImportRegister"
column = "kwh"
scale = 1000.0
accumulate = "after"
[moments.constants]
"Station.EVSE.AvailabilityState" = "Available"
"""


def _sessions(text, rows, skipped=None):
    parsed = mapping.parse(text, "test")
    return parsed, moments.sessions(parsed, rows, END_MS, skipped or Skipped())


def _row(trip, s, mph="10", minutes="0", fuel="0.5", who="a"):
    return {"who": who, "trip": trip, "s": str(s), "minutes": minutes, "mph": mph, "fuel": fuel}


def test_units_are_scaled_and_typed_as_the_catalogue_wants():
    _, (session,) = _sessions(CARS, [_row("t", 0, mph="62.5", fuel="0.426")])
    assert session.moments[0].signals == {
        "Vehicle.Speed": 100.6,
        "Vehicle.IsMoving": True,
        "Vehicle.Powertrain.FuelSystem.RelativeLevel": 43,
        "Vehicle.LowVoltageSystemState": "ON",
    }


def test_constants_are_said_once_in_a_session():
    _, (session,) = _sessions(CARS, [_row("t", second) for second in range(3)])
    assert ["Vehicle.LowVoltageSystemState" in moment.signals for moment in session.moments] == [True, False, False]


def test_rows_that_show_the_same_second_are_spread_up_to_the_next():
    _, (session,) = _sessions(CARS, [_row("t", s) for s in (0, 0, 0, 0, 2, 2, 3)])
    offsets = [moment.ts_ms - session.moments[0].ts_ms for moment in session.moments]
    assert offsets == [0, 500, 1_000, 1_500, 2_000, 2_500, 3_000]


def test_sessions_lie_as_they_were_against_each_other_and_end_when_told():
    rows = [_row("late", s, minutes="90") for s in (0, 60)] + [_row("early", s, minutes="30") for s in (0, 60)]
    _, (first, second) = _sessions(CARS, rows)
    assert second.moments[-1].ts_ms == END_MS
    assert second.moments[0].ts_ms - first.moments[0].ts_ms == 60 * 60_000


def test_sessions_never_overlap():
    rows = [_row("one", s, minutes="0") for s in (0, 600)] + [_row("two", s, minutes="5") for s in (0, 600)]
    _, (first, second) = _sessions(CARS, rows)
    assert second.moments[0].ts_ms > first.moments[-1].ts_ms


def test_what_is_no_value_is_left_out_and_counted():
    skipped = Skipped()
    rows = [_row("t", 0, mph="fast"), _row("t", 1, mph=""), _row("t", 2, mph="nan"), _row("t", 3, fuel="9")]
    _, (session,) = _sessions(CARS, rows, skipped)
    assert ["Vehicle.Speed" in moment.signals for moment in session.moments] == [False, False, False, True]
    assert skipped.counts == {
        "Vehicle.Speed": 2,
        "Vehicle.IsMoving": 2,
        "Vehicle.Powertrain.FuelSystem.RelativeLevel": 1,
    }


def test_a_row_without_time_or_asset_is_left_out_and_counted():
    skipped = Skipped()
    _, sessions = _sessions(CARS, [_row("t", ""), _row("t", 1, who="#/bad"), _row("t", 2)], skipped)
    assert sum(len(session.moments) for session in sessions) == 1
    assert skipped.counts == {"time": 1, "asset.id": 1}


def test_frames_hold_so_many_samples_and_the_rest():
    parsed, sessions = _sessions(CARS, [_row("t", second) for second in range(7)])
    sent = list(frames.messages(sessions, Kind.VEHICLE, parsed.frames.samples_per_frame))
    bodies = [decoded(timed.message) for timed in sent if timed.message.channel is Channel.SIGNALS]
    assert [body.get("dt") for body in bodies] == [[0, 1_000, 2_000], [0, 1_000, 2_000], None]
    assert [body["seq"] for body in bodies] == [0, 1, 2]
    assert bodies[0]["signals"]["Vehicle.LowVoltageSystemState"] == ["ON", None, None]
    assert frames.count(sessions, 3) == 3


def test_each_session_begins_with_a_birth_and_ends_with_a_farewell():
    parsed, sessions = _sessions(CARS, [_row(trip, s) for trip in "xy" for s in range(4)])
    states = [
        decoded(timed.message)
        for timed in frames.messages(sessions, Kind.VEHICLE, parsed.frames.samples_per_frame)
        if timed.message.channel is Channel.CONNECTION
    ]
    assert [state["online"] for state in states] == [True, False, True, False]
    assert states[0]["session"] == states[1]["session"] != states[2]["session"]


def _charge(id_, began, done, ended, kwh, station="1"):
    day = "2021-05-01T{}+00:00"
    done = day.format(done) if done else ""
    return {
        "id": id_, "station": station, "began": day.format(began), "done": done, "ended": day.format(ended), "kwh": kwh,
    }  # fmt: skip


def test_real_times_stay_real_and_a_missing_one_is_stood_in_for():
    _, (session,) = _sessions(STATIONS, [_charge("x", "10:00:00", "", "11:00:00", "5")])
    began = int(datetime(2021, 5, 1, 10, tzinfo=UTC).timestamp() * 1_000)
    assert [moment.ts_ms - began for moment in session.moments] == [0, 3_600_000, 3_600_000]


def test_a_time_never_passes_its_latest():
    _, (session,) = _sessions(STATIONS, [_charge("x", "10:00:00", "12:30:00", "11:00:00", "5")])
    assert session.moments[1].ts_ms == session.moments[2].ts_ms


def test_a_register_sums_up_the_rows_of_its_asset_whatever_their_order_in_the_file():
    rows = [
        _charge("b", "12:00:00", "12:30:00", "13:00:00", "2.5"),
        _charge("a", "10:00:00", "10:30:00", "11:00:00", "4"),
        _charge("other", "09:00:00", "", "09:30:00", "100", station="2"),
    ]
    _, sessions = _sessions(STATIONS, rows)
    by_asset = {session.asset_id: session for session in sessions}
    register = "Station.FiscalMetering.EnergyImportRegister"
    readings = [m.signals[register] for m in by_asset["cp-1"].moments if register in m.signals]
    assert readings == [0.0, 4_000.0, 4_000.0, 6_500.0]
    told = [event for moment in by_asset["cp-1"].moments for event in moment.events]
    assert [event.meter_values["Energy.Active.Import.Register"] for event in told] == [0.0, 4_000.0]


def test_a_constant_is_said_again_when_a_column_has_said_something_else():
    rows = [_charge("a", "10:00:00", "", "11:00:00", "4"), _charge("b", "12:00:00", "", "13:00:00", "1")]
    _, (session,) = _sessions(STATIONS, rows)
    told = [
        moment.signals["Station.EVSE.Power"] for moment in session.moments if "Station.EVSE.Power" in moment.signals
    ]
    assert told == [4_000.0, 0.0, 1_000.0, 0.0]


def test_sessions_that_touch_keep_the_order_of_rows():
    rows = [_charge("a", "10:00:00", "", "11:00:00", "4"), _charge("b", "11:00:00", "", "12:00:00", "1")]
    _, (session,) = _sessions(STATIONS, rows)
    register = "Station.FiscalMetering.EnergyImportRegister"
    assert [m.signals[register] for m in session.moments if register in m.signals] == [0.0, 4_000.0, 4_000.0, 5_000.0]


def _refused(text, *expected, header=None):
    with pytest.raises(UnusableError) as refused:
        mapping.check_columns(mapping.parse(text, "my.toml"), "my.toml", header or [])
    for words in expected:
        assert words in str(refused.value), str(refused.value)


def test_a_wrong_column_is_named_with_its_key_and_what_exists():
    header = ["who", "trip", "s", "minute", "mph", "fuel"]
    _refused(CARS, "moments[0].time.session_start_minutes: no column 'minutes'", "did you mean minute?", header=header)
    _refused(CARS, "the table has: who, trip, s, minute, mph, fuel", header=header)


def test_every_wrong_column_is_named_at_once():
    keys = ("asset.id", "session.columns[0]", "moments[0].signals[1].column", "moments[0].time.seconds")
    _refused(CARS, *keys, header=["nothing"])


def test_a_wrong_path_is_named_with_its_key_and_what_is_near():
    _refused(CARS.replace("Vehicle.Speed", "Vehicle.Sped"), "moments[0].signals[0].path", "did you mean Vehicle.Speed")
    _refused(CARS.replace('"Vehicle.LowV', '"Station.LowV'), "moments[0].constants.'Station.LowVoltageSystemState'")


def test_a_signal_of_the_other_kind_of_asset_is_refused():
    _refused(CARS.replace("Vehicle.Speed", "Station.EVSE.Power"), "no vehicle signal 'Station.EVSE.Power'")


def test_a_constant_that_the_catalogue_does_not_allow_is_refused():
    _refused(CARS.replace('= "ON"', '= "FLYING"'), "moments[0].constants", "FLYING")


def test_unknown_keys_missing_keys_and_broken_files_are_named():
    _refused(CARS.replace("samples_per_frame", "samples"), "my.toml: frames.samples: unknown key")
    _refused(CARS.replace('kind = "vehicle"', ""), "asset.kind")
    _refused(CARS.replace("[asset]", "[asset"), "not TOML")
    _refused(CARS.replace('seconds = "s"', 'seconds = "s", column = "s"'), "moments[0].time", "either `column` or")
    _refused(CARS + '[asset.attributes]\ncolour = "red"\n', "no attribute 'colour'; did you mean color")


def test_a_mapping_that_does_not_exist_is_answered_with_those_that_do():
    with pytest.raises(UnusableError, match="acn, carobd"):
        mapping.load("no-such")


def test_a_mapping_file_of_a_user_is_loaded_by_its_path(tmp_path):
    (tmp_path / "mine.toml").write_text(CARS)
    assert mapping.load(str(tmp_path / "mine.toml")).frames.samples_per_frame == 3


def test_placeholders_are_filled_and_compacted():
    assert mapping.fill("x-{a}-{a|compact}", {"a": "2-39 b"}) == "x-2-39 b-239B"


@pytest.mark.parametrize("compress", [False, True])
def test_a_table_is_read_gzipped_or_not(tmp_path, compress):
    text = "\ufeffa,b,c\r\n1,2,3\r\n\r\n4,5\r\n".encode()
    path = tmp_path / "table"
    path.write_bytes(gzip.compress(text) if compress else text)
    with Table(path) as table:
        assert table.header == ["a", "b", "c"]
        assert list(table.rows(["c", "a"], None)) == [{"c": "3", "a": "1"}, {"c": "", "a": "4"}]


def test_a_limit_ends_reading(tmp_path):
    (tmp_path / "t.csv").write_text("a\n1\n2\n3\n")
    with Table(tmp_path / "t.csv") as table:
        assert [row["a"] for row in table.rows(["a"], 2)] == ["1", "2"]


def test_tables_that_cannot_be_read_are_explained(tmp_path):
    with pytest.raises(UnusableError, match="cannot be read"):
        Table(tmp_path / "absent.csv")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(UnusableError, match="empty"):
        Table(tmp_path / "empty.csv")
    whole = gzip.compress(b"a,b\n" + b"1,2\n" * 10_000)
    (tmp_path / "torn.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnusableError, match="damaged after line"), Table(tmp_path / "torn.csv.gz") as table:
        list(table.rows(["a"], None))


def _real(data_directory, file, name, limit):
    parsed, skipped = mapping.load(name), Skipped()
    with Table(data_directory / file) as table:
        mapping.check_columns(parsed, name, table.header)
        rows = list(table.rows(sorted(set(parsed.columns().values())), limit))
    sessions = moments.sessions(parsed, rows, END_MS, skipped)
    sent = list(frames.messages(sessions, parsed.asset.kind, parsed.frames.samples_per_frame))
    return rows, sessions, [timed.message for timed in sent], skipped


def _valid(messages):
    for message in messages:
        if message.channel is Channel.SIGNALS:
            frame = wire_frames.decode(message.payload)
            assert isinstance(frame, wire_frames.Frame), frame
            reading = wire_frames.read(frame, END_MS)
            assert isinstance(reading, wire_frames.Reading)
            assert reading.rejected == []
            yield reading


def test_the_recorded_drives_lose_no_row(data_directory):
    rows, sessions, messages, skipped = _real(data_directory, "carobd/telemetry.csv.gz", "carobd", 30_000)
    assert skipped.total == 0
    assert sum(len(session.moments) for session in sessions) == len(rows)
    assert sum(len(reading.samples) for reading in _valid(messages)) == len(rows)
    for session in sessions:
        times = [moment.ts_ms for moment in session.moments]
        assert all(later > earlier for earlier, later in itertools.pairwise(times))
        assert times[-1] <= END_MS
    numbers = [catalogue.BY_PATH["Vehicle.Speed"].number]
    fastest = max(sample.values.get(numbers[0], 0) for reading in _valid(messages) for sample in reading.samples)
    assert fastest == max(float(row["speed_kmh"]) for row in rows)


def test_the_recorded_charging_sessions_keep_times_and_energy(data_directory):
    rows, sessions, messages, skipped = _real(data_directory, "acn_caltech/sessions.csv.gz", "acn", None)
    assert skipped.counts.keys() <= {"Station.EVSE.Power"}
    assert len(sessions) == 21
    list(_valid(messages))
    told = defaultdict(dict)
    for message in messages:
        if message.channel is Channel.EVENTS:
            event = decoded(message)
            told[event["transaction_id"]][event["phase"]] = event
    assert len(told) == len(rows)
    for row in rows:
        begun, ended = told[row["session_id"]]["Started"], told[row["session_id"]]["Ended"]
        assert begun["ts"] == int(datetime.fromisoformat(row["connect"]).timestamp() * 1_000)
        assert ended["ts"] == int(datetime.fromisoformat(row["disconnect"]).timestamp() * 1_000)
        register = "Energy.Active.Import.Register"
        metered = ended["meter_values"][register] - begun["meter_values"][register]
        assert abs(metered - 1_000 * float(row["kwh_delivered"])) < 0.2
    assert json.dumps(begun)  # an event is plain values
