"""Laws that hold in every simulated fleet, in its state and in what it sends."""

from collections import defaultdict

import numpy as np
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from simulator import fleet as fleets
from simulator import identity
from simulator.engine import Engine
from simulator.stations import EFFICIENCY_AC, EFFICIENCY_DC
from tests.simulator_world import NO_FAULTS, START_MS, events, run, series, settings
from wire.topics import Kind

# Each example simulates a fleet for minutes, and a smaller seed is no simpler: shrinking would only take long.
few = hypothesis_settings(
    max_examples=4,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
seeds = st.integers(0, 2**31)

_BATTERY = "Vehicle.Powertrain.TractionBattery"


def _engine(seed, **fleet):
    # a second between frames, and nobody dark for an update, so that integrals over what was sent mean something
    size = {"vehicles": 16, "stations": 6, "interval_s": 1, "sleepers": 0.0, "samples_share": 0.0, "updates": 0.0}
    size |= fleet
    return Engine(settings(faults=NO_FAULTS, seed=seed, reboots_per_day=0.0, **size), START_MS)


def _integral(entries, end_ms):
    """Of a value that holds until the next sample, in value·seconds; the mean of neighbours."""
    total = 0.0
    for (ts, value), (next_ts, next_value) in zip(entries, [*entries[1:], (end_ms, entries[-1][1])], strict=True):
        total += (
            0.5 * (value + next_value) * (next_ts - ts) / 1_000
            if next_ts - ts <= 1_000
            else (value * (next_ts - ts) / 1_000)
        )
    return total


@few
@given(seeds)
def test_the_odometer_is_the_integral_of_speed(seed):
    engine = _engine(seed, vehicles=80)
    state = engine.fleet.motion
    driven = -state.odometer_m
    integral = np.zeros(len(driven))
    for _ in range(600):
        before = state.speed
        fleets.step(engine.fleet, 1.0)
        integral += 0.5 * (before + state.speed)
    driven += state.odometer_m
    assert np.allclose(driven, integral, atol=1e-6)
    assert driven.max() > 1_000


@few
@given(seeds)
def test_what_is_sent_as_odometer_agrees_with_what_is_sent_as_speed(seed):
    engine = _engine(seed, vehicles=40)
    sent = series(run(engine, 600))
    moved = 0
    for paths in sent.values():
        if "Vehicle.Speed" not in paths:
            continue
        odometer, speed = paths["Vehicle.TraveledDistance"], paths["Vehicle.Speed"]
        driven = odometer[-1][1] - odometer[0][1]
        integral = _integral(speed, engine.now_ms) / 3.6
        assert abs(driven - integral) <= 0.03 * driven + 60, (driven, integral)
        moved += driven > 500
    assert moved


@few
@given(seeds)
def test_stored_energy_is_the_integral_of_battery_power(seed):
    engine = _engine(seed, vehicles=80)
    state = engine.fleet.energy
    before, integral = state.battery_wh.copy(), np.zeros(len(state.battery_wh))
    for _ in range(600):
        fleets.step(engine.fleet, 1.0)
        integral += np.divide(state.battery_w, 3_600.0, dtype=np.float64)
    assert np.allclose(state.battery_wh - before, integral, atol=1e-6)
    assert np.abs(integral).max() > 50


@few
@given(seeds)
def test_what_is_sent_as_charge_agrees_with_power_and_capacity(seed):
    engine = _engine(seed)
    sent, capacity = series(run(engine, 600)), engine.fleet.energy.capacity_wh
    compared = 0
    for row, asset in enumerate(engine.vehicles.devices.ids):
        paths = sent[asset]
        if not engine.fleet.energy.can_charge[row]:
            continue
        soc, power = paths[f"{_BATTERY}.StateOfCharge.Current"], paths[f"{_BATTERY}.CurrentPower"]
        gained_wh = (soc[-1][1] - soc[0][1]) / 100.0 * capacity[row]
        integral_wh = _integral(power, engine.now_ms) / 3_600.0
        # the deadband of the charge is 0.1 %, that of the power 100 W
        assert abs(gained_wh - integral_wh) <= 0.002 * capacity[row] + 20 + 0.02 * abs(gained_wh)
        compared += 1
    assert compared


@few
@given(seeds)
def test_power_is_voltage_times_current(seed):
    engine = _engine(seed, full_snapshot_s=1.0)
    for paths in series(run(engine, 100)).values():
        volts = dict(paths.get(f"{_BATTERY}.CurrentVoltage", []))
        amperes = dict(paths.get(f"{_BATTERY}.CurrentCurrent", []))
        for ts_ms, watts in paths.get(f"{_BATTERY}.CurrentPower", []):
            rounding = 0.06 * (volts[ts_ms] + abs(amperes[ts_ms])) + 1
            assert abs(watts - volts[ts_ms] * amperes[ts_ms]) <= rounding


@few
@given(seeds)
def test_a_car_gains_what_the_station_meters_times_the_efficiency(seed):
    engine = _engine(seed)
    state, stations = engine.fleet.energy, engine.fleet.stations
    metered = -stations.register_wh
    gained = np.zeros(len(stations))
    for _ in range(900):
        fleets.step(engine.fleet, 1.0)
        rows = np.flatnonzero(stations.power_w > 0)
        cars = stations.vehicle[rows]
        gained[rows] += np.divide(state.battery_w[cars], 3_600.0, dtype=np.float64)
    metered += stations.register_wh
    efficiency = np.where(stations.is_dc, EFFICIENCY_DC, EFFICIENCY_AC)
    assert np.allclose(gained, metered * efficiency, rtol=1e-6, atol=1e-6)  # power is kept in single precision
    assert metered.max() > 100 or not state.can_charge.any()


@few
@given(seeds)
def test_car_and_station_tell_the_same_session(seed):
    engine = _engine(seed, full_snapshot_s=1.0)
    messages = run(engine, 100)
    sent = series(messages)
    checked = 0
    for station, event in events(messages):
        if event["type"] != "charging_session" or event["phase"] != "Started":
            continue
        car, later = event["vehicle_id"], event["ts"] + 20_000
        evse = dict(sent[station]["Station.EVSE.ISO15118EvseId"])
        chosen = dict(sent[car][f"{_BATTERY}.Charging.EvseId"])
        watts = dict(sent[station]["Station.EVSE.Power"])
        taken = dict(sent[car][f"{_BATTERY}.CurrentPower"])
        charging = dict(sent[car][f"{_BATTERY}.Charging.IsCharging"])
        connected = dict(sent[station]["Station.ConnectedEV.VehicleId"])
        if later not in watts or not watts[later]:
            continue
        assert evse[later] == chosen[later] == event["evse_id"]
        assert charging[later] is True
        assert connected[later] == car
        row = engine.stations.devices.ids.index(station)
        efficiency = EFFICIENCY_DC if engine.fleet.stations.is_dc[row] else EFFICIENCY_AC
        assert abs(taken[later] - watts[later] * efficiency) <= 1
        checked += 1
    assert checked or not engine.fleet.energy.can_charge.any()


@few
@given(seeds)
def test_a_finished_session_meters_what_its_events_say(seed):
    engine = _engine(seed, vehicles=30, stations=10, interval_s=10, step_s=2.0)
    by_transaction = defaultdict(list)
    for asset, event in events(run(engine, 1_500)):
        if event["type"] == "charging_session":
            by_transaction[asset, event["transaction_id"]].append(event)
    for told in by_transaction.values():
        assert [event["phase"] for event in told].count("Started") == 1
        assert told[0]["phase"] == "Started"
        registers = [event["meter_values"]["Energy.Active.Import.Register"] for event in told]
        assert registers == sorted(registers)
        charges = [event["meter_values"]["SoC"] for event in told]
        assert charges == sorted(charges)
        if told[-1]["phase"] == "Ended":
            row = engine.vehicles.devices.ids.index(told[0]["vehicle_id"])
            station = engine.stations.devices.ids.index(asset_of(by_transaction, told))
            efficiency = EFFICIENCY_DC if engine.fleet.stations.is_dc[station] else EFFICIENCY_AC
            gained = (charges[-1] - charges[0]) / 100.0 * engine.fleet.energy.capacity_wh[row]
            assert abs(gained - (registers[-1] - registers[0]) * efficiency) <= 25


def asset_of(by_transaction, told):
    return next(key[0] for key, value in by_transaction.items() if value is told)


@few
@given(seeds)
def test_a_trip_event_tells_the_distance_of_the_odometer(seed):
    engine = _engine(seed)
    messages = run(engine, 900)
    sent = series(messages)
    for asset, event in events(messages):
        if event["type"] == "trip" and event["started_ms"] >= START_MS:
            odometer = sent[asset]["Vehicle.TraveledDistance"]
            at_start = [value for ts, value in odometer if ts <= event["started_ms"]][-1]
            at_end = [value for ts, value in odometer if ts <= event["ended_ms"]][-1]
            assert abs(at_end - at_start - event["distance_m"]) <= 3
            assert event["started_ms"] < event["ended_ms"] <= event["ts"]


@few
@given(seeds)
def test_healthy_assets_stay_clear_of_every_threshold(seed):
    engine = _engine(seed, interval_s=10, step_s=2.0)
    for paths in series(run(engine, 1_200)).values():
        for path, entries in paths.items():
            values = [value for _, value in entries]
            if path.endswith("EngineCoolant.Temperature"):
                assert max(values) <= 96
            elif path == "Station.TemperatureSensor.Temperature" or path.endswith("PadWear"):
                assert max(values) < 70
            elif path == "Vehicle.Diagnostics.IsMILOn":
                assert not any(values)
            elif path == "Station.ChargingStation.AvailabilityState":
                assert "Faulted" not in values
        _check_low_voltage(paths)
        _check_tyres(paths)


def _check_low_voltage(paths):
    states, volts = (
        paths.get("Vehicle.LowVoltageSystemState", []),
        paths.get("Vehicle.LowVoltageBattery.CurrentVoltage"),
    )
    for ts_ms, value in volts or ():
        state = [state for at_ms, state in states if at_ms <= ts_ms][-1]
        if state in ("LOCK", "OFF"):
            assert value >= 12.4
        elif state == "ON":
            assert 13.4 <= value <= 14.3


def _check_tyres(paths):
    wheels = [entries for path, entries in paths.items() if path.endswith("Tire.Pressure")]
    if wheels:
        lowest, *others = sorted(entries[-1][1] for entries in wheels)
        assert lowest >= 0.93 * others[1]


def test_batteries_are_a_month_older_after_a_month():
    engine = _engine(3, vehicles=60)
    state, energy = engine.fleet.condition, engine.fleet.energy
    before = {
        "aged": state.low_voltage_aged.copy(),
        "rest": state.rest_v.copy(),
        "health": energy.state_of_health.copy(),
        "spread": energy.cell_spread_v.copy(),
        "stored": energy.battery_wh.copy(),
    }
    engine.fleet.now_s = 86_398.0
    for _ in range(5):  # across midnight
        fleets.step(engine.fleet, 1.0)
    before["stored"] = energy.battery_wh.copy()
    for _ in range(29):
        fleets._grow_older(engine.fleet)
    aged = state.low_voltage_aged - before["aged"]
    replaced = aged < 0
    assert np.allclose(aged[~replaced], 30 / 365.25 / 5, rtol=1e-3)
    assert np.allclose(state.rest_v - before["rest"], -0.2 * aged, atol=2e-5)
    electric = energy.has_battery & (before["health"] > 0.72)
    assert np.allclose(
        energy.state_of_health[electric] / before["health"][electric], 1 - 0.016 * 30 / 365.25, atol=1e-5
    )
    assert np.allclose(energy.state_of_health[~energy.has_battery], before["health"][~energy.has_battery])
    assert (energy.cell_spread_v > before["spread"]).all()
    assert (energy.battery_wh == before["stored"]).all()
    assert (energy.capacity_wh >= energy.battery_wh).all()


@given(seeds, st.integers(1, 60), st.integers(0, 40))
@hypothesis_settings(max_examples=20, deadline=None)
def test_the_first_assets_are_the_same_in_a_larger_fleet(seed, count, more):
    small, large = identity.vehicles(seed, count), identity.vehicles(seed, count + more)
    last = count - 1
    assert identity.vehicle_attributes(small, last) == identity.vehicle_attributes(large, last)
    assert identity.delivered(small, last) == identity.delivered(large, last)
    assert identity.asset_id(seed, Kind.VEHICLE, last) != identity.asset_id(seed, Kind.STATION, last)
