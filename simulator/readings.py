"""What the sensors of each device read now: fleet state to the matrices of `columns`."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from simulator import condition, energy, identity, models, world
from simulator.arrays import Flags, Floats, Integers, Rows
from simulator.charging import LIMIT_AC, LIMIT_DC
from simulator.columns import STATION, VEHICLE, Table, table
from simulator.condition import LEVEL_LOW_BELOW
from simulator.consequences import CODES
from simulator.energy import Energy
from simulator.faults import Fault
from simulator.fleet import Fleet
from simulator.plans import Mode
from simulator.updates import VERSIONS
from wire.topics import Kind

SYSTEM_STATES: Final = ("LOCK", "OFF", "ON", "START")
AVAILABILITY: Final = ("Available", "Occupied", "Faulted")
_LEVELS: Final = ("NORMAL", "LOW")
_LOCKED_AFTER_S: Final = 40.0
_IDLE_RPM: Final = 780.0
_RPM_PER_M_S: Final = np.array([230.0, 132.0, 92.0, 70.0, 55.0])
_SERVICE_SOON_KM: Final = 1_000.0
_YEAR_S: Final = 365.25 * 86_400.0

Values = dict[str, Any]


def vehicle_table(fleet: Fleet, codes: list[str]) -> Table:
    """The columns of vehicles; `codes` are the trouble codes that can occur in this run."""
    specs = models.VEHICLES
    evse_ids = [identity.evse_id(fleet.traits.seed, row) for row in range(len(fleet.stations))]
    return table(
        VEHICLE,
        {
            "Vehicle.LowVoltageSystemState": SYSTEM_STATES,
            "Vehicle.Powertrain.Type": models.SIGNAL_TYPE,
            "Vehicle.Powertrain.CombustionEngine.EngineCoolant.Level": _LEVELS,
            "Vehicle.Powertrain.CombustionEngine.EngineOil.Level": _LEVELS,
            "Vehicle.Powertrain.TractionBattery.Charging.EvseId": evse_ids,
            "Vehicle.Diagnostics.DTCList": [[], *([code] for code in codes)],
            "Vehicle.VehicleIdentification.Brand": [spec.brand for spec in specs],
            "Vehicle.VehicleIdentification.Model": [spec.model for spec in specs],
        },
    )


def station_table(fleet: Fleet, vehicle_ids: Sequence[str]) -> Table:
    """The columns of stations."""
    specs, seed = models.STATIONS, fleet.traits.seed
    rows = range(len(fleet.stations))
    return table(
        STATION,
        {
            "Station.ChargingStation.AvailabilityState": AVAILABILITY,
            "Station.EVSE.AvailabilityState": AVAILABILITY,
            "Station.Connector.AvailabilityState": AVAILABILITY,
            "Station.ChargingStation.Model": [spec.model for spec in specs],
            "Station.ChargingStation.VendorName": [spec.vendor for spec in specs],
            "Station.ChargingStation.SerialNumber": [identity.serial_number(seed, row) for row in rows],
            "Station.Controller.FirmwareVersion": VERSIONS[Kind.STATION],
            "Station.EVSE.ISO15118EvseId": [identity.evse_id(seed, row) for row in rows],
            "Station.Connector.ConnectorType": [spec.connector for spec in specs],
            "Station.ConnectedEV.VehicleId": vehicle_ids,
        },
    )


def _matrix(layout: Table, values: Values, count: int) -> Floats:
    matrix = np.full((count, len(layout.columns)), np.nan)
    for path, column in values.items():
        matrix[:, layout.index_of[path]] = column
    return layout.rounded(matrix)


def of_vehicles(layout: Table, fleet: Fleet, rows: Rows, lamp: Flags, code: Integers) -> Floats:
    """`[rows, columns]`; `lamp` and `code` say what the engine control unit has stored for each vehicle."""
    values = (
        _fast(fleet, rows) | _moving(fleet, rows) | _engine(fleet, rows) | _battery(fleet, rows) | _body(fleet, rows)
    )
    values |= {
        "Vehicle.Diagnostics.DTCList": code[rows],
        "Vehicle.Diagnostics.DTCCount": np.minimum(code[rows], 1),
        "Vehicle.Diagnostics.IsMILOn": lamp[rows],
    }
    return _matrix(layout, values, len(rows))


def fast_of_vehicles(layout: Table, fleet: Fleet, rows: Rows) -> Floats:
    """The fast columns alone of `[rows, columns]`; the others are NaN."""
    return _matrix(layout, _fast(fleet, rows), len(rows))


def _fast(fleet: Fleet, rows: Rows) -> Values:
    """Those columns of vehicles that are `fast`."""
    motion, state = fleet.motion, fleet.energy
    latitude, longitude = world.coordinates(motion.roads.position(motion.spots(rows)))
    rpm = engine_rpm(state, rows, motion.speed[rows])
    return {
        "Vehicle.Speed": motion.speed[rows] * 3.6,
        "Vehicle.LowVoltageBattery.CurrentVoltage": fleet.condition.low_voltage[rows],
        "Vehicle.CurrentLocation.Latitude": latitude,
        "Vehicle.CurrentLocation.Longitude": longitude,
        "Vehicle.Powertrain.CombustionEngine.Speed": np.where(state.has_engine[rows], rpm, np.nan),
        "Vehicle.Powertrain.TractionBattery.CurrentPower": np.where(
            state.has_battery[rows], state.battery_w[rows], np.nan
        ),
    }


def _moving(fleet: Fleet, rows: Rows) -> Values:
    motion, mode = fleet.motion, fleet.plans.mode[rows]
    driving = mode == Mode.DRIVING
    state = np.where(fleet.now_s - fleet.plans.since_s[rows] < _LOCKED_AFTER_S, 1, 0)
    state = np.where(mode == Mode.PLUGGED, 0, state)
    state = np.where(driving, np.where(fleet.cranking[rows], 3, 2), state)
    return {
        "Vehicle.IsMoving": motion.speed[rows] > 0.1,
        "Vehicle.TraveledDistance": motion.odometer_m[rows],
        "Vehicle.TraveledDistanceSinceStart": motion.trip_of(rows),
        "Vehicle.LowVoltageSystemState": state,
        "Vehicle.CurrentLocation.Heading": motion.heading_degrees(rows),
        "Vehicle.CurrentLocation.HorizontalAccuracy": np.where(driving, 4.0, 2.5),
    }


def _engine(fleet: Fleet, rows: Rows) -> Values:
    state = fleet.energy
    has = state.has_engine[rows]
    on = state.engine_on[rows]
    load = engine_load(state, rows, engine_rpm(state, rows, fleet.motion.speed[rows]))
    pedal = np.clip(fleet.motion.wheel_w[rows] / 90_000.0, 0.0, 1.0)
    coolant_low = (fleet.condition.coolant_extra[rows] > 0) | (fleet.condition.coolant_left[rows] < LEVEL_LOW_BELOW)
    oil_low = fleet.condition.oil_left[rows] < LEVEL_LOW_BELOW

    def engine_only(values: Any) -> Floats:
        return np.where(has, values, np.nan)

    prefix = "Vehicle.Powertrain.CombustionEngine"
    return {
        f"{prefix}.IsRunning": engine_only(on),
        f"{prefix}.MAP": engine_only(np.where(on, 28.0 + 72.0 * load, 98.0)),
        f"{prefix}.TPS": engine_only(np.where(on, 12.0 + 75.0 * load, 0.0)),
        f"{prefix}.EngineCoolant.Temperature": engine_only(fleet.condition.coolant[rows]),
        f"{prefix}.EngineCoolant.Level": engine_only(coolant_low),
        f"{prefix}.EngineOil.Temperature": engine_only(fleet.condition.oil[rows]),
        f"{prefix}.EngineOil.Level": engine_only(oil_low),
        "Vehicle.Powertrain.FuelSystem.RelativeLevel": engine_only(
            100.0 * state.fuel_l[rows] / np.maximum(state.tank_l[rows], 1.0)
        ),
        "Vehicle.Chassis.Accelerator.PedalPosition": 100.0 * pedal,
    }


def engine_rpm(state: Energy, rows: Rows, speed: Floats) -> Floats:
    """The highest gear that keeps the engine above 1,300/min; hybrids run with their load."""
    by_gear = speed[:, None] * _RPM_PER_M_S
    gear = np.maximum((by_gear >= 1_300.0).sum(axis=1) - 1, 0)
    geared = by_gear[np.arange(len(rows)), gear]
    continuous = 1_150.0 + 0.035 * state.engine_w[rows]
    rpm = np.where(state.has_battery[rows], continuous, geared)
    return np.where(state.engine_on[rows], np.clip(rpm, _IDLE_RPM, 6_000.0), 0.0)


def engine_load(state: Energy, rows: Rows, rpm: Floats) -> Floats:
    """Share of what the engine can give at this speed, 0 to 1."""
    available = 1_000.0 * state.engine_kw[rows] * np.clip(rpm / 5_000.0, 0.12, 1.0)
    return np.asarray(np.clip(state.engine_w[rows] / np.maximum(available, 1.0), 0.0, 1.0))


def _battery(fleet: Fleet, rows: Rows) -> Values:
    state, cars = fleet.energy, fleet.cars
    has, charges = state.has_battery[rows], state.can_charge[rows]
    voltage, current = state.pack_v[rows], state.pack_a[rows]
    soc = 100.0 * state.state_of_charge[rows]
    cell = voltage / np.maximum(state.cells[rows], 1.0)
    spread = state.cell_spread_v[rows]
    weakest = (rows * 7) % np.maximum(state.cells[rows], 1.0)
    celsius = fleet.condition.battery[rows]
    prefix = "Vehicle.Powertrain.TractionBattery"
    flows = {
        "StateOfCharge.Current": soc,
        "StateOfCharge.Displayed": np.clip((soc - 3.0) / 0.95, 0.0, 100.0),
        "StateOfHealth": 100.0 * state.state_of_health[rows],
        "Temperature.Min": celsius - 1.0,
        "Temperature.Max": celsius + 1.2,
        "Temperature.Average": celsius,
        "CellVoltage.Min": cell - spread,
        "CellVoltage.Max": cell + 0.5 * spread,
        "CellVoltage.IdMin": weakest + 1,
        "CellVoltage.IdMax": (weakest + 17) % np.maximum(state.cells[rows], 1.0) + 1,
        "CurrentVoltage": voltage,
        "CurrentCurrent": current,
    }
    values = {f"{prefix}.{leaf}": np.where(has, column, np.nan) for leaf, column in flows.items()}
    charging = _charging(fleet, rows, soc, cars.inlet_w[rows])
    return values | {
        f"{prefix}.Charging.{leaf}": np.where(charges, column, np.nan) for leaf, column in charging.items()
    }


def _charging(fleet: Fleet, rows: Rows, soc: Floats, inlet_w: Floats) -> Values:
    cars, station = fleet.cars, fleet.cars.last_station[rows]
    is_dc = np.where(station >= 0, fleet.stations.is_dc[station], False) if len(fleet.stations) else station >= 0
    limit = np.where(is_dc, LIMIT_DC, LIMIT_AC)
    missing_wh = np.maximum(limit - soc / 100.0, 0.0) * fleet.energy.capacity_wh[rows]
    active = inlet_w > 0
    seconds = missing_wh * 3_600.0 / np.maximum(inlet_w * 0.9, 1.0)
    ever = cars.metered_s[rows] > 0
    average_kw = cars.metered_wh[rows] * 3.6 / np.maximum(cars.metered_s[rows], 1.0)
    return {
        "IsCharging": active,
        "ChargeLimit": 100.0 * limit,
        "AveragePower": np.where(ever, average_kw, np.nan),
        "TimeToComplete": np.where(active, np.minimum(seconds, 1e6), 0.0),
        "EvseId": np.where(station >= 0, station, np.nan),
    }


def _body(fleet: Fleet, rows: Rows) -> Values:
    state = fleet.condition
    pressure = condition.tyre_pressure_kpa(state.cold_kpa[rows], state.tyre[rows])
    has_engine = fleet.energy.has_engine
    to_service_km = condition.to_service_km(state, fleet.motion.odometer_m, has_engine, rows)
    oil_km = np.where(has_engine[rows], condition.oil_km(state, rows), np.nan)
    s_per_km = _YEAR_S / fleet.traits.kilometres_per_year[rows]
    weak = state.low_voltage_drop[rows] > 0
    values: Values = {
        "Vehicle.LowVoltageBattery.CurrentCurrent": state.low_voltage_a[rows],
        "Vehicle.LowVoltageBattery.StateOfHealth": np.where(weak, 34.0, 60.0 + 150.0 * (state.rest_v[rows] - 12.48)),
        "Vehicle.Exterior.AirTemperature": fleet.ambient + state.ambient_offset[rows],
        "Vehicle.Powertrain.Type": fleet.energy.powertrain[rows],
        "Vehicle.Powertrain.Range": energy.range_m(fleet.energy, fleet.motion.mass_kg, rows),
        "Vehicle.Service.IsServiceDue": to_service_km < _SERVICE_SOON_KM,
        "Vehicle.Service.DistanceToService": to_service_km,
        "Vehicle.Service.TimeToService": to_service_km * s_per_km,
        "Vehicle.Powertrain.CombustionEngine.EngineOil.LifeRemaining": oil_km * s_per_km,
        "Vehicle.VehicleIdentification.Brand": fleet.traits.model[rows],
        "Vehicle.VehicleIdentification.Model": fleet.traits.model[rows],
        "Vehicle.VehicleIdentification.Year": fleet.traits.year[rows],
    }
    for index, wheel in enumerate(condition.WHEELS):
        values[f"Vehicle.Chassis.Axle.{wheel}.Tire.Pressure"] = pressure[:, index]
        values[f"Vehicle.Chassis.Axle.{wheel}.Tire.AirTemperature"] = state.tyre[rows]
        values[f"Vehicle.Chassis.Axle.{wheel}.Brake.PadWear"] = state.pad_wear[rows, index]
    return values


def of_stations(layout: Table, fleet: Fleet, rows: Rows, firmware: Integers) -> Floats:
    """`[rows, columns]`; the signal as it is without what the link loses; `firmware`: which version each runs."""
    stations = fleet.stations
    connected = stations.vehicle[rows]
    occupied = connected >= 0
    availability = np.where(stations.faulted[rows], 2, np.where(occupied, 1, 0))
    is_dc, power = stations.is_dc[rows], stations.power_w[rows]
    soc = fleet.energy.state_of_charge[connected] if len(fleet) else np.full(len(rows), np.nan)
    cause = stations.cause[rows]
    values: Values = {
        "Station.ChargingStation.AvailabilityState": availability,
        "Station.EVSE.AvailabilityState": availability,
        "Station.Connector.AvailabilityState": availability,
        "Station.ChargingStation.Problem": stations.faulted[rows],
        "Station.ChargingStation.Model": stations.traits.model[rows],
        "Station.ChargingStation.VendorName": stations.traits.model[rows],
        "Station.ChargingStation.SerialNumber": rows,
        "Station.Controller.FirmwareVersion": firmware[rows],
        "Station.EVSE.Power": power,
        "Station.EVSE.DCCurrent": np.where(is_dc, stations.current_a[rows], np.nan),
        "Station.EVSE.DCVoltage": np.where(is_dc, stations.voltage_v[rows], np.nan),
        "Station.EVSE.ACCurrent": np.where(is_dc, np.nan, stations.current_a[rows]),
        "Station.EVSE.ACVoltage": np.where(is_dc, np.nan, np.where(occupied, stations.voltage_v[rows], 0.0)),
        "Station.EVSE.ISO15118EvseId": rows,
        "Station.Connector.ConnectorType": stations.traits.model[rows],
        "Station.ConnectorPlugRetentionLock.Problem": False,
        "Station.ConnectedEV.StateOfCharge": np.where(is_dc & occupied, 100.0 * soc, np.nan),
        "Station.ConnectedEV.VehicleId": np.where(occupied, connected, np.nan),
        "Station.TemperatureSensor.Temperature": stations.temperature[rows],
        "Station.AcDcConverter.Temperature": np.where(is_dc, 22.0 + 30.0 * power / stations.power_max_w[rows], np.nan),
        "Station.AcDcConverter.FanSpeed": np.where(is_dc, 4_200.0 * power / stations.power_max_w[rows], np.nan),
        "Station.GroundIsolationProtection.Impedance": np.where(is_dc, stations.isolation_ohm[rows], np.nan),
        "Station.RCD.Tripped": np.where(is_dc, np.nan, cause == 3),
        "Station.PowerContactor.Tripped": (cause == 0) | (cause == 1) | stations.contactor_open[rows],
        "Station.FiscalMetering.EnergyImportRegister": stations.register_wh[rows],
        "Station.DataLink.SignalStrength": stations.signal_dbm[rows],
    }
    return _matrix(layout, values, len(rows))


def trouble_codes(planned: list[Fault]) -> list[str]:
    """Every code that the planned faults can set, or lead to."""
    return sorted({fault.code for fault in planned if fault.code} | CODES)
