"""The oracle: a right twin has no difference, and every way of being wrong has one that says what."""

import copy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zlib import crc32

import msgpack
import pytest

from simulator.devices import Message
from simulator.engine import Engine
from simulator.oracle import compare, expect, findings, links, report
from simulator.oracle.compare import Actual
from simulator.oracle.report import Told
from simulator.truth import Truth, TruthWriter
from tests.simulator_world import START_MS, settings
from wire.messages import Attributes, LifecycleStep, Profile, Role
from wire.topics import Channel, Kind

NOW_MS = START_MS + 86_400_000
CAR = "car-1"


def _at(ms):
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)


def _message(channel, body):
    return Message(0, Kind.VEHICLE, CAR, channel, msgpack.packb(body))


def _frame(seq, ts, signals, **more):
    return _message(Channel.SIGNALS, {"v": 1, "session": "s", "seq": seq, "ts": ts, "signals": signals, **more})


MESSAGES = [
    _message(Channel.CONNECTION, {"v": 1, "online": True, "session": "s", "ts": START_MS, "software": "tcu 2"}),
    _frame(0, START_MS, {"Vehicle.Speed": 10, "Vehicle.CurrentLocation.Latitude": 48.0, 10: 11.5}),
    _frame(2, START_MS + 2_000, {"1": 30.5, "Vehicle.IsMoving": True}),
    _frame(1, START_MS + 1_000, {"Vehicle.Speed": [20, None], "Vehicle.IsMoving": [None, False]}, dt=[0, 500]),
    _message(Channel.EVENTS, {"v": 1, "type": "trip", "session": "s", "seq": 0, "ts": START_MS, "distance_m": 7.5}),
    _message(
        Channel.CONNECTION, {"v": 1, "online": False, "session": "s", "ts": START_MS + 9_000, "software": "tcu 2"}
    ),
]
ROLES = [
    Role(1, "r0", CAR, "cust-before", "owner", START_MS - 9_000, START_MS, START_MS - 1_000),
    Role(1, "r1", CAR, "cust-1", "owner", START_MS - 1_000, START_MS),
    Role(1, "r2", CAR, "cust-next", "owner", NOW_MS + 1, START_MS),
    Role(1, "r3", CAR, "cust-driver", "driver", START_MS, START_MS),
    Role(1, "r4", CAR, "cust-mistake", "owner", START_MS + 5, START_MS + 1, retracted=True),
]
PROFILES = [
    Profile(1, "cust-1", "Ada Old", START_MS, consents={"marketing": True}),
    Profile(1, "cust-1", "Ada New", START_MS + 1, city="Ulm", consents={"marketing": False}),
]
CUSTOMER = {"display_name": "Ada New", "city": "Ulm", "consents": {"marketing": False}}
TOLD = Told(frozenset(), {"cust-1": CUSTOMER})
STEPS = [
    LifecycleStep(1, CAR, Kind.VEHICLE, "delivered", START_MS - 5_000, Attributes(plate="FF-A 2"), "Ulm", 12, "WO-1"),
    LifecycleStep(1, CAR, Kind.VEHICLE, "built", START_MS - 9_000, Attributes(plate="FF-A 1", year=2020)),
]

TWIN = {
    "_id": CAR,
    "signals": {
        "Vehicle": {
            "Speed": {"value": 30.5, "ts": _at(START_MS + 2_000)},
            "IsMoving": {"value": True, "ts": _at(START_MS + 2_000)},
            "CurrentLocation": {
                "Latitude": {"value": 48.0, "ts": _at(START_MS)},
                "Longitude": {"value": 11.5, "ts": _at(START_MS)},
            },
        }
    },
    "location": {"type": "Point", "coordinates": [11.5, 48.0]},
    "connection": {"online": False, "session": "s", "software": "tcu 2"},
    "counters": {"frames": 3, "events": 1, "samples": 7, "duplicates": 4},
    "owner": {"customer_id": "cust-1", "display_name": "Ada New", "role": "owner", "since": _at(START_MS - 1_000)},
    "lifecycle": {
        "state": "delivered",
        "since": _at(START_MS - 5_000),
        "steps": [
            {"step": "built", "ts": _at(START_MS - 9_000)},
            {"step": "delivered", "ts": _at(START_MS - 5_000), "place": "Ulm", "odometer_m": 12, "reference": "WO-1"},
        ],
    },
    "attributes": {"plate": "FF-A 2", "year": 2020},
}
EVENTS = {f"{CAR}:s:0": {"_id": f"{CAR}:s:0", "type": "trip", "ts": _at(START_MS), "data": {"distance_m": 7.5}}}


def _world(tmp_path, acknowledged=True, faults=()):
    with TruthWriter(tmp_path / "truth", {}) as writer:
        positions = writer.sent(MESSAGES)
        writer.acknowledged(positions if acknowledged is True else acknowledged)
        writer.faults(faults)
        writer.facts([*ROLES, *reversed(PROFILES), *STEPS])
    return expect.read([Truth(tmp_path / "truth")])


@pytest.fixture
def world(tmp_path):
    return _world(tmp_path)


def _found(world, twin=TWIN, events=EVENTS, anomalies=()):
    there = Actual(twin, events, anomalies)
    found = list(compare.differences(world.assets[CAR], there))
    return found + (list(links.differences(world, world.assets[CAR], twin, NOW_MS)) if twin is not None else [])


def test_a_right_twin_has_no_difference(world):
    assert _found(world) == []


def _set(twin, path, value):
    *parents, leaf = path.split("/")
    for parent in parents:
        twin = twin[int(parent) if parent.isdigit() else parent]
    if value is None:
        del twin[leaf]
    else:
        twin[leaf] = value


@pytest.mark.parametrize(
    ("path", "value", "kind", "words"),
    [
        ("counters/frames", 2, "lost", "4 frames and events sent, 3 folded"),
        ("counters/frames", 5, "doubled", "4 frames and events sent, 6 folded"),
        ("counters/samples", 8, "wrong", "7 samples sent, 8 counted"),
        ("counters", {"frames": 4, "events": 0, "samples": 7}, "wrong", "1 events sent, 0 counted"),
        ("signals/Vehicle/Speed/value", 20.0, "wrong", "Vehicle.Speed is 20.0 at"),
        ("signals/Vehicle/Speed/ts", _at(START_MS + 2_001), "wrong", "expected 30.5 at"),
        ("signals/Vehicle/IsMoving/value", 1, "wrong", "Vehicle.IsMoving is 1"),
        ("signals/Vehicle/Speed", None, "wrong", "Vehicle.Speed is missing"),
        ("signals/Vehicle/Extra", {"value": 1, "ts": _at(START_MS)}, "wrong", "Vehicle.Extra is 1, but was never sent"),
        ("location/coordinates", [48.0, 11.5], "wrong", "location is [48.0, 11.5], expected [11.5, 48.0]"),
        ("location", None, "wrong", "location is []"),
        ("connection/session", "old", "wrong", "last session is 'old'"),
        ("connection/online", True, "wrong", "online is True, expected False"),
        ("connection/software", "tcu 1", "wrong", "software is 'tcu 1', expected 'tcu 2'"),
        ("owner/customer_id", "cust-before", "wrong", "owner's customer_id is 'cust-before'"),
        ("owner/display_name", "Ada Old", "wrong", "owner's display_name is 'Ada Old', expected 'Ada New'"),
        ("owner/since", _at(START_MS), "wrong", "owner's since_ms"),
        ("owner", None, "wrong", "owner's customer_id is None"),
        ("lifecycle/state", "built", "wrong", "lifecycle is 'built', expected 'delivered'"),
        (
            "lifecycle/since",
            _at(START_MS),
            "wrong",
            "lifecycle is so since 2026-05-28T06:30:00.000+00:00, expected 2026",
        ),
        ("lifecycle/since", None, "wrong", "lifecycle is so since None, expected 2026-05-28T06:29:55.000+00:00"),
        ("attributes/color", "pink", "wrong", "attribute color was never told"),
        ("lifecycle/steps/1/odometer_m", 13, "wrong", "+00:00: odometer_m is 13, expected 12"),
        (
            "lifecycle/steps/1/place",
            None,
            "wrong",
            "lifecycle step 'delivered' of 2026-05-28T06:29:55.000+00:00: place",
        ),
        ("lifecycle/steps/1/reference", "WO-2", "wrong", "reference is 'WO-2', expected 'WO-1'"),
        ("lifecycle/steps/0/ts", _at(START_MS - 8_000), "wrong", "lifecycle step 'built' of 2026-05-28T06:29:51.000"),
        ("lifecycle/steps/0/step", "painted", "wrong", "'painted' of 2026-05-28T06:29:51.000+00:00 was never told"),
        (
            "lifecycle/steps/0/step",
            "painted",
            "wrong",
            "lifecycle step 'built' of 2026-05-28T06:29:51.000+00:00 is mis",
        ),
        ("attributes/plate", "FF-A 1", "wrong", "attribute plate is not as told 'FF-A 1', expected 'FF-A 2'"),
    ],
)
def test_every_way_of_being_wrong_is_said(world, path, value, kind, words):
    twin = copy.deepcopy(TWIN)
    _set(twin, path, value)
    found = _found(world, twin)
    assert {item.kind for item in found} == {kind}
    assert any(words in item.text for item in found), found


@pytest.mark.parametrize(
    ("held", "words"),
    [
        (None, "the customer is missing"),
        (CUSTOMER | {"consents": {"marketing": True}}, "consent marketing is True, expected False"),
        (CUSTOMER | {"consents": {}}, "consent marketing is None, expected False"),
        (CUSTOMER | {"consents": {"marketing": False, "more": True}}, "consent more is True, expected None"),
        (CUSTOMER | {"city": "Bonn"}, "the customer's city is not the newest that was told"),
    ],
)
def test_a_customer_who_is_not_as_told_is_named_with_the_consent_but_without_personal_data(world, held, words):
    (found,) = links.customers(world, {} if held is None else {"cust-1": held})
    assert (found.kind, found.asset_id, found.text) == ("wrong", "cust-1", words)
    assert list(links.customers(world, {"cust-1": CUSTOMER})) == []


def test_a_missing_twin_has_lost_everything(world):
    (lost,) = _found(world, twin=None)
    assert (lost.kind, lost.amount) == ("lost", 4)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"type": "dtc"}, "type is 'dtc', expected 'trip'"),
        ({"ts": _at(START_MS + 1)}, f"ts is {START_MS + 1}, expected {START_MS}"),
        ({"data": {"distance_m": 7.0}}, "distance_m is 7.0, expected 7.5"),
        ({"data": {}}, "distance_m is None, expected 7.5"),
        ({"data": {"distance_m": 7.5, "fuel_l": 1}}, "fuel_l is 1, expected None"),
    ],
)
def test_missing_foreign_and_garbled_events_are_named(world, change, text):
    (id_,) = EVENTS
    assert [found.text for found in _found(world, events={})] == [f"event {id_} is missing"]
    (foreign,) = _found(world, events=EVENTS | {f"{CAR}:s:9": EVENTS[id_]})
    assert foreign.text == f"event {CAR}:s:9 was never sent"
    (garbled,) = _found(world, events={id_: EVENTS[id_] | change})
    assert garbled.text == f"event {id_}: {text}"


OPEN = {"_id": "a1", "detector": "brake_pads_worn", "subject": "x", "severity": "service", "status": "open"}
RESOLVED = OPEN | {"_id": "a2", "severity": "critical", "status": "resolved"}


@pytest.mark.parametrize(
    ("health", "texts"),
    [
        ({"status": "service", "open": [{"anomaly_id": "a1"}]}, []),
        ({"status": "watch", "open": [{"anomaly_id": "a1"}]}, ["health is 'watch', expected 'service'"]),
        (
            {"status": "ok", "open": []},
            ["finding a1 is open, but its twin does not show it", "health is 'ok', expected 'service'"],
        ),
        (
            {"status": "service", "open": [{"anomaly_id": "a1"}, {"anomaly_id": "a2"}]},
            ["the twin shows finding a2, which is not open"],
        ),
    ],
)
def test_a_twin_shows_what_is_open_and_the_worst_of_it(world, health, texts):
    world.assets[CAR].faults = {"brake_pads_worn": [{"fault": "brake_pads_worn"}]}
    assert [item.text for item in _found(world, TWIN | {"health": health}, anomalies=[OPEN, RESOLVED])] == texts


def test_a_finding_about_a_healthy_asset_is_a_false_alarm(world):
    (found,) = _found(world, anomalies=[{"detector": "brake_pads_worn", "subject": "x", "status": "resolved"}])
    assert "false alarm: brake_pads_worn" in found.text


@pytest.mark.parametrize("speeds", [(5.0, 4.0), (4.0, 5.0)])
def test_the_greater_value_wins_at_equal_times(tmp_path, speeds):
    with TruthWriter(tmp_path / "t", {}) as writer:
        sent = [_frame(seq, START_MS, {"Vehicle.Speed": speed}) for seq, speed in enumerate(speeds)]
        writer.acknowledged(writer.sent(sent))
    asset = expect.read([Truth(tmp_path / "t")]).assets[CAR]
    assert asset.signals["Vehicle.Speed"].value == 5.0


def test_what_was_not_acknowledged_may_have_arrived_or_not(tmp_path):
    world = _world(tmp_path, acknowledged=[0, 1, 3, 4, 5])  # without the newest frame
    assert _found(world) == []
    twin = copy.deepcopy(TWIN)
    twin["counters"] |= {"frames": 2, "samples": 5}
    twin["signals"]["Vehicle"]["Speed"] = {"value": 20, "ts": _at(START_MS + 1_000)}
    twin["signals"]["Vehicle"]["IsMoving"] = {"value": False, "ts": _at(START_MS + 1_500)}
    assert _found(world, twin) == []
    twin["counters"]["frames"] = 1
    assert [item.kind for item in _found(world, twin)] == ["lost"]


def test_runs_add_up_and_the_same_directory_twice_counts_once(tmp_path):
    world = _world(tmp_path)
    twice = expect.read([Truth(tmp_path / "truth"), Truth(tmp_path / "truth")])
    assert twice.sent == world.sent == 4


SICK = {"Vehicle.LowVoltageBattery.CurrentVoltage": 11.4, "Vehicle.LowVoltageSystemState": "LOCK"}


def _sick(tmp_path, times_s, values=SICK, detector="low_voltage_battery"):
    class Report(dict):
        def _asdict(self):
            return dict(self)

    with TruthWriter(tmp_path / "truth", {}) as writer:
        frames = [_frame(seq, START_MS + 1_000 * second, values) for seq, second in enumerate(times_s)]
        writer.acknowledged(writer.sent(frames))
        fault = {"asset_id": CAR, "fault": "f", "detector": detector, "onset_ms": START_MS, "visible_ms": START_MS}
        writer.faults([Report(fault)])
    return expect.read([Truth(tmp_path / "truth")]).assets[CAR]


def test_a_fault_that_showed_for_ten_minutes_must_have_been_found(tmp_path):
    assert findings.required(_sick(tmp_path / "a", range(0, 601, 10))) == {"low_voltage_battery": 600_000}
    assert findings.required(_sick(tmp_path / "b", range(0, 600, 10))) == {}


def test_a_silence_ends_what_showed(tmp_path):
    times = [*range(0, 400, 10), *range(700, 1_000, 10)]
    assert findings.required(_sick(tmp_path, times)) == {}


def test_the_order_in_which_frames_were_sent_does_not_matter(tmp_path):
    assert findings.required(_sick(tmp_path, reversed(range(0, 601, 10)))) == {"low_voltage_battery": 600_000}


def test_a_fault_that_did_not_show_need_not_be_found(tmp_path):
    healthy = SICK | {"Vehicle.LowVoltageBattery.CurrentVoltage": 12.5}
    assert findings.required(_sick(tmp_path, range(0, 900, 10), healthy)) == {}


_WHEEL = "Vehicle.Chassis.Axle.{}.Wheel.{}"
_PRESSURES = {_WHEEL.format(r, s) + ".Tire.Pressure": 240 for r in ("Row1", "Row2") for s in ("Left", "Right")}


@pytest.mark.parametrize(
    ("detector", "shows", "does_not"),
    [
        ("low_voltage_battery", SICK, SICK | {"Vehicle.LowVoltageSystemState": "ON"}),
        (
            "coolant_overheating",
            {"Vehicle.Powertrain.CombustionEngine.EngineCoolant.Temperature": 110.0},
            {"Vehicle.Powertrain.CombustionEngine.EngineCoolant.Temperature": 109.9},
        ),
        (
            "tyre_pressure_low",
            _PRESSURES | {_WHEEL.format("Row1", "Left") + ".Tire.Pressure": 180},
            _PRESSURES | {_WHEEL.format("Row1", "Left") + ".Tire.Pressure": 181},
        ),
        (
            "diagnostic_trouble_code",
            {"Vehicle.Diagnostics.IsMILOn": True, "Vehicle.Diagnostics.DTCList": ["P0301"]},
            {"Vehicle.Diagnostics.IsMILOn": False, "Vehicle.Diagnostics.DTCList": ["P0301"]},
        ),
        (
            "brake_pads_worn",
            {_WHEEL.format("Row2", "Left") + ".Brake.PadWear": 91},
            {_WHEEL.format("Row2", "Left") + ".Brake.PadWear": 90},
        ),
        (
            "connector_over_temperature",
            {"Station.TemperatureSensor.Temperature": 90.1},
            {"Station.TemperatureSensor.Temperature": 90.0},
        ),
        (
            "service_overdue",
            {"Vehicle.Service.DistanceToService": -1.0},
            {"Vehicle.Service.DistanceToService": 0.0},
        ),
        (
            "station_faulted",
            {"Station.ChargingStation.AvailabilityState": "Faulted"},
            {"Station.ChargingStation.AvailabilityState": "Unavailable"},
        ),
    ],
)
def test_each_condition_holds_where_the_field_says_so(tmp_path, detector, shows, does_not):
    times = range(0, 601, 60)
    assert findings.required(_sick(tmp_path / "a", times, shows, detector)) == {detector: 600_000}
    assert findings.required(_sick(tmp_path / "b", times, does_not, detector)) == {}


def test_a_missing_finding_is_said(tmp_path):
    asset = _sick(tmp_path, range(0, 1_201, 10))
    world = expect.World(assets={CAR: asset})
    twin = {"counters": {"frames": 121, "samples": 242}, "signals": {"Vehicle": {}}}
    texts = [item.text for item in _found(world, twin, {})]
    assert "f was visible for 20 min, but there is no finding low_voltage_battery" in texts
    raised = [{"detector": "low_voltage_battery", "subject": "", "status": "resolved"}]
    assert not [item for item in _found(world, twin, {}, raised) if "finding" in item.text]


def test_a_finding_that_is_open_twice_is_said(tmp_path):
    world = expect.World(assets={CAR: _sick(tmp_path, [0])})
    raised = [OPEN | {"_id": name, "detector": "low_voltage_battery", "subject": ""} for name in "ab"]
    assert any("open 2 times" in item.text for item in _found(world, TWIN, EVENTS, raised))


def test_the_last_line_and_the_verdict(world):
    good = report.verdict(world, [(CAR, Actual(TWIN, EVENTS, []))], NOW_MS, TOLD)
    assert good.good
    assert good.lines(20) == ["verified: 4 sent, 4 folded, 0 lost, 0 doubled, 0 wrong"]
    twin = copy.deepcopy(TWIN)
    twin["counters"]["frames"] = 1
    twin["connection"]["session"] = "x"
    bad = report.verdict(world, [(CAR, Actual(twin, EVENTS, []))], NOW_MS, TOLD)
    assert not bad.good
    assert bad.lines(1)[0] == f"lost: {CAR}: 4 frames and events sent, 2 folded"
    assert bad.lines(1)[1] == "and 1 more differences"
    assert bad.lines(1)[-1] == "verified: 4 sent, 2 folded, 2 lost, 0 doubled, 1 wrong"


def test_unacknowledged_messages_are_reported_apart(tmp_path):
    world = _world(tmp_path, acknowledged=[0, 1, 3, 4, 5])
    lines = report.verdict(world, [(CAR, Actual(TWIN, EVENTS, []))], NOW_MS, TOLD).lines(20)
    assert lines[0].startswith("unacknowledged: 1 messages")
    assert lines[-1] == "verified: 4 sent, 4 folded, 0 lost, 0 doubled, 0 wrong"


def test_a_vin_is_never_printed(tmp_path):
    world = expect.World()
    step = LifecycleStep(1, CAR, Kind.VEHICLE, "built", START_MS, Attributes(vin="9Z1ABCDE7R0000001"))
    world.asset(CAR).steps[step.ts, step.step] = step
    life = {"state": "built", "since": _at(START_MS), "steps": [{"step": "built", "ts": _at(START_MS)}]}
    twin = {"lifecycle": life, "attributes": {"vin": "other"}, "signals": {}}
    (found,) = _found(world, twin, {})
    assert "vin" in found.text
    assert "9Z1ABCDE7R0000001" not in found.text


def test_an_activity_that_the_database_does_not_have_is_named_with_its_customer(world):
    world.activities = {"c-1:booked:1": "c-1", "c-2:moved:2": "c-2"}
    actual = [(CAR, Actual(TWIN, EVENTS, []))]
    all_of_them = {"c-1:booked:1", "c-2:moved:2", "of-another-run"}
    assert report.verdict(world, actual, NOW_MS, TOLD._replace(activity_ids=all_of_them)).good
    bad = report.verdict(world, actual, NOW_MS, TOLD._replace(activity_ids={"c-1:booked:1"}))
    assert bad.lines(20)[0] == "wrong: c-2: activity c-2:moved:2 is missing"


def test_frames_kept_as_cells_are_expected_as_frames_kept_as_messages_are(tmp_path):
    """The oracle's two ways to the same expectation: payloads one by one, arrays of what was to be said."""
    for name, keeps_cells in (("cells", True), ("messages", False)):
        engine = Engine(settings(vehicles=12, stations=3, misbehave=0.05), START_MS)
        with TruthWriter(tmp_path / name, {}) as writer:
            writer.assets(engine.assets)
            for step in range(1_201):
                messages = engine.step() if step < 1_200 else list(engine.finish())
                if not keeps_cells:
                    messages = [message._replace(cells_at=None) for message in messages]
                positions = writer.sent(messages, engine.cells if keeps_cells and step < 1_200 else ())
                # by what it is, not by its position, which differs
                is_lost = [crc32(message.payload) % 5 == 0 for message in messages]
                known = zip(positions, is_lost, messages, strict=True)
                writer.acknowledged([position for position, lost, message in known if not lost and not message.again])
            writer.faults(engine.fault_reports)
    by_cells, by_messages = (expect.read([Truth(tmp_path / name)]) for name in ("cells", "messages"))
    assert by_cells.asset_ids == by_messages.asset_ids
    assert by_cells.sent == by_messages.sent > 1_000
    assert by_cells.unacknowledged == by_messages.unacknowledged > 100
    for asset_id in by_cells.asset_ids:
        one, other = (_comparable(world.expected(asset_id)) for world in (by_cells, by_messages))
        assert one == other


def _comparable(asset):
    return replace(
        asset,
        sessions={},
        maybe={path: sorted(map(repr, at)) for path, at in asset.maybe.items()},
        series={path: sorted(map(repr, at)) for path, at in asset.series.items()},
    )


def test_gaps_are_only_where_messages_may_be_missing(world, tmp_path):
    assert [item.text for item in _found(world, _changed("counters/gaps", 1))] == [
        "1 gaps counted, 0 messages may be missing"
    ]
    some = _world(tmp_path / "some", acknowledged=[0, 1, 2, 4, 5])
    assert not any("gaps" in item.text for item in _found(some, _changed("counters/gaps", 1)))


def _changed(path, value):
    twin = copy.deepcopy(TWIN)
    _set(twin, path, value)
    return twin
