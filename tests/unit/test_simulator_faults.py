"""Faults: chosen by the seed, begun at their onset, visible in what is sent, and nothing else looks broken."""

import itertools
import statistics

import numpy as np
import pytest

from simulator import faults, identity
from simulator.engine import Engine
from simulator.faults import DETECTOR_OF, FaultKind
from simulator.oracle import expect, findings
from simulator.settings import FaultSection
from simulator.stations import FAILED_OHM, HEALTHY_OHM
from simulator.truth import Sent
from tests.simulator_world import START_MS, events, run, series, settings

HOUR_S = 3_600


@pytest.fixture(scope="module")
def demo():
    """The fleet of the demo, for an hour of its time."""
    engine = Engine(settings(vehicles=200, stations=20, misbehave=0.01), START_MS)
    return engine, run(engine, HOUR_S)


def _plan(seed, vehicles=200, stations=20, **rates):
    return faults.plan(FaultSection(**rates), identity.vehicles(seed, vehicles), identity.stations(seed, stations))


def test_a_fleet_has_a_handful_of_each_kind_and_an_asset_at_most_one():
    planned = _plan(1)
    for kind in FaultKind:
        assert 1 <= sum(fault.kind is kind for fault in planned) <= 6, kind
    vehicles = [fault.row for fault in planned if not fault.of_station]
    stations = [fault.row for fault in planned if fault.of_station]
    assert len(set(vehicles)) == len(vehicles)
    assert len(set(stations)) == len(stations)


def _only(**rates):
    return FaultSection(**{**{kind.value: 0.0 for kind in FaultKind}, **rates})


def test_the_seed_chooses_who_breaks():
    assert _plan(1) == _plan(1)
    assert _plan(1) != _plan(2)


def test_a_rate_of_zero_breaks_nothing_and_a_rate_of_one_everything():
    kinds = {kind.value: 0.0 for kind in FaultKind}
    assert _plan(1, **kinds) == []
    everything = _plan(1, **{**kinds, "tyre_leak": 1.0, "station_failure": 1.0})
    assert len(everything) == 220


def test_only_engines_overheat():
    traits = identity.vehicles(1, 200)
    for fault in _plan(1, coolant_overheating=0.1):
        if fault.kind is FaultKind.COOLANT_OVERHEATING:
            assert identity.vehicle_model(traits, fault.row).battery_kwh == 0


def test_every_fault_shows_in_the_sent_data_long_enough_to_be_found(demo):
    engine, messages = demo
    reports = [report for report in _newest(engine).values() if report.detector is not None]
    world = _world(messages, engine)
    for report in reports:
        assert START_MS <= report.onset_ms <= report.visible_ms
        assert report.failed_ms is None or report.visible_ms <= report.failed_ms
        shown_ms = findings.visible_ms(world.assets[report.asset_id], report.detector)
        if report.fault != FaultKind.TROUBLE_CODE or report.onset_ms <= START_MS + 900_000:
            assert shown_ms >= findings.LONG_ENOUGH_MS, (report, shown_ms / 60_000)


def test_what_is_broken_leads_to_the_trouble_code_that_its_physics_means(demo):
    engine, messages = demo
    newest = _newest(engine)
    codes = {asset: body["code"] for asset, body in events(messages) if body["type"] == "dtc"}
    means = {
        FaultKind.COOLANT_OVERHEATING: "P0217",
        FaultKind.COOLANT_LOSS: "P0217",
        FaultKind.THERMOSTAT_STUCK_OPEN: "P0128",
        FaultKind.OIL_LOSS: "P0524",
    }
    for kind, code in means.items():
        broken = [asset for asset, fault in newest if fault == kind]
        assert broken
        assert [codes.get(asset) for asset in broken] == [code] * len(broken), kind
        assert all((asset, FaultKind.TROUBLE_CODE) in newest for asset in broken)


def test_a_freeze_frame_shows_what_made_its_code(demo):
    _, messages = demo
    frozen = {body["code"]: body["freeze_frame"] for _, body in events(messages) if body["type"] == "dtc"}
    coolant = "Vehicle.Powertrain.CombustionEngine.EngineCoolant.Temperature"
    assert frozen["P0217"][coolant] >= 118
    assert frozen["P0128"][coolant] < 75


def test_insulation_fades_before_the_station_stops():
    engine = Engine(settings(vehicles=4, stations=8, faults=_only(isolation_loss=1.0, from_the_start=0.0)), START_MS)
    sent = series(run(engine, 1_500))
    faded = [report for report in _newest(engine).values() if report.fault == FaultKind.ISOLATION_LOSS]
    assert faded
    for report in faded:
        ohm = sent[report.asset_id]["Station.GroundIsolationProtection.Impedance"]
        assert any(FAILED_OHM < value < 0.5 * HEALTHY_OHM for ts, value in ohm if ts < report.visible_ms)
        assert report.visible_ms - report.onset_ms > 60_000
        assert ohm[-1][1] == FAILED_OHM


@pytest.fixture(scope="module")
def worn():
    """Stations whose contactors are at the end of their lives, for an hour and a half."""
    worn = _only(contactor_wear=0.5)
    engine = Engine(settings(vehicles=120, stations=16, sleepers=0.0, faults=worn), START_MS)
    return engine, run(engine, 1.5 * HOUR_S)


def test_a_worn_contactor_drops_out_ever_sooner_until_it_does_not_close(worn):
    engine, messages = worn
    told = [(asset, body) for asset, body in events(messages) if body.get("component") == "PowerContactor"]
    assert {body["tech_code"] for _, body in told} == {"MREC17EVSEContactorFault"}
    failed = [report for report in _newest(engine).values() if report.failed_ms is not None]
    assert len(failed) > 2
    for report in failed:
        assert report.onset_ms <= report.visible_ms < report.failed_ms
        opened = [body["ts"] for asset, body in told if asset == report.asset_id and body["actual_value"]]
        closed = [body["ts"] for asset, body in told if asset == report.asset_id and not body["actual_value"]]
        assert opened[0] == report.visible_ms
        assert opened[-1] == report.failed_ms
        assert len(opened) == len(closed) + 2  # it is open when it fails for good, which is told, too
        assert all(begin < end for begin, end in zip(opened, closed, strict=False))


def test_no_current_flows_while_a_contactor_is_open_and_its_signal_says_so(worn):
    engine, messages = worn
    sent, seen = series(messages), 0
    for report in _newest(engine).values():
        tripped = sent[report.asset_id]["Station.PowerContactor.Tripped"]
        watts = dict(sent[report.asset_id]["Station.EVSE.Power"])
        for (ts, is_open), (until, _) in itertools.pairwise(tripped):
            between = [value for at, value in watts.items() if is_open and ts < at < until]
            assert not any(between)
            seen += len(between)
    assert seen > 10


def test_contactors_wear_with_cycles_and_healthy_ones_never_drop_out(worn):
    engine, messages = worn
    stations, broken = engine.fleet.stations, {report.asset_id for report in engine.fault_reports}
    healthy = [row for row, asset in enumerate(engine.stations.devices.ids) if asset not in broken]
    fresh = Engine(settings(vehicles=120, stations=16, faults=_only()), START_MS).fleet.stations
    cycles = stations.sessions[healthy] - fresh.sessions[healthy]
    assert cycles.sum() > 2
    assert np.allclose(stations.contactor_wear[healthy] - fresh.contactor_wear[healthy], cycles / 50_000)
    sent = series(messages)
    for row in healthy:
        assert not any(value for _, value in sent[engine.stations.devices.ids[row]]["Station.PowerContactor.Tripped"])


def _newest(engine):
    return {(report.asset_id, report.fault): report for report in engine.fault_reports}


def _world(messages, engine):
    world = expect.World()
    for report in engine.fault_reports:
        if report.detector is not None:
            world.asset(report.asset_id).faults.setdefault(report.detector, []).append(report._asdict())
    for m in messages:
        if not m.again:
            expect.take(world, Sent(m.kind, m.asset_id, m.channel, m.payload, acknowledged=True))
    return world


def test_about_half_of_the_faults_are_there_from_the_start_and_the_others_come(demo):
    engine, _ = demo
    led_to = {asset for asset, fault in _newest(engine) if fault != FaultKind.TROUBLE_CODE}
    onsets = {
        (asset, fault): report.onset_ms - START_MS
        for (asset, fault), report in _newest(engine).items()
        if fault != FaultKind.TROUBLE_CODE or asset not in led_to
    }
    from_the_start = sum(onset == 0 for onset in onsets.values())
    assert 0.25 * len(onsets) <= from_the_start <= 0.9 * len(onsets)
    assert max(onsets.values()) <= 900_000


def test_nothing_shows_before_its_onset(demo):
    engine, messages = demo
    sent = series(messages)
    for report in engine.fault_reports:
        if report.fault == FaultKind.WEAK_LOW_VOLTAGE_BATTERY and report.visible_ms:
            volts = sent[report.asset_id]["Vehicle.LowVoltageBattery.CurrentVoltage"]
            assert all(value > 12.2 for ts_ms, value in volts if ts_ms < report.onset_ms)


def test_a_healthy_asset_meets_no_condition_of_any_fault(demo):
    engine, messages = demo
    broken = {report.asset_id for report in engine.fault_reports}
    world = expect.World()
    for message in messages:
        if message.asset_id not in broken and not message.again:
            world.asset(message.asset_id).faults.setdefault("watched", [])
            sent = Sent(message.kind, message.asset_id, message.channel, message.payload, acknowledged=True)
            expect.take(world, sent)
    assert len(world.assets) == 220 - len(broken) > 160
    for asset in world.assets.values():
        for detector in findings.CONDITIONS:
            assert findings.visible_ms(asset, detector) == 0, (asset.asset_id, detector)


def test_a_leaking_tyre_is_far_below_its_peers(demo):
    engine, messages = demo
    sent = series(messages)
    leaking = [report for report in engine.fault_reports if report.fault == FaultKind.TYRE_LEAK]
    for report in leaking:
        wheels = [entries[-1][1] for path, entries in sent[report.asset_id].items() if path.endswith("Tire.Pressure")]
        lowest, *others = sorted(wheels)
        assert lowest <= 0.75 * statistics.median(others)


def test_an_overheating_engine_passes_both_limits(demo):
    engine, messages = demo
    sent = series(messages)
    for report in engine.fault_reports:
        if report.fault == FaultKind.COOLANT_OVERHEATING:
            path = "Vehicle.Powertrain.CombustionEngine.EngineCoolant.Temperature"
            assert max(value for _, value in sent[report.asset_id][path]) >= 118


def test_a_station_tells_its_failure_as_events_and_signals_at_once(demo):
    engine, messages = demo
    sent = series(messages)
    failed = {r.asset_id for r in engine.fault_reports if r.fault == FaultKind.STATION_FAILURE}
    told = [(asset, body) for asset, body in events(messages) if body["type"] == "notify_event" and asset in failed]
    assert failed == {asset for asset, _ in told}
    for asset, body in told:
        path = f"Station.{body['component']}.{body['variable']}"
        assert dict(sent[asset][path])[body["ts"]] == body["actual_value"]
        assert dict(sent[asset]["Station.ChargingStation.AvailabilityState"])[body["ts"]] == "Faulted"
    assert any(body.get("tech_code", "").startswith("MREC") for _, body in told)


def test_a_hot_connector_is_told_once_and_derates_on_both_sides(demo):
    engine, messages = demo
    hot = {r.asset_id for r in engine.fault_reports if r.fault == FaultKind.CONNECTOR_OVERHEATING}
    told = [
        (asset, body)
        for asset, body in events(messages)
        if body["type"] == "notify_event" and body["variable"] == "Temperature" and not body.get("cleared")
    ]
    assert {asset for asset, _ in told} == hot
    sent = series(messages)
    for asset, body in told:
        readings = dict(sent[asset]["Station.TemperatureSensor.Temperature"])
        assert readings[body["ts"]] == body["actual_value"] > 90
    for asset in hot:
        row = engine.stations.devices.ids.index(asset)
        assert engine.fleet.stations.temperature[row] < 120
    assert {body["tech_code"] for _, body in told} == {faults.CONNECTOR_CODE}


def test_every_finding_that_is_due_has_a_condition():
    assert set(DETECTOR_OF.values()) == findings.CONDITIONS.keys()
    assert set(FaultKind) - set(DETECTOR_OF) == {
        FaultKind.STORED_CODE,
        FaultKind.THERMOSTAT_STUCK_OPEN,
        FaultKind.OIL_LOSS,
        FaultKind.WEAK_CELL,
        FaultKind.MODEM_LOSS,
        FaultKind.STATION_MODEM_LOSS,
    }
