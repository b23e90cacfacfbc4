"""When a fault can be seen in what was sent: conditions on the newest sent values of each device."""

from collections.abc import Callable
from typing import Final

import numpy as np

from simulator.arrays import Flags, Floats
from simulator.columns import Table
from simulator.condition import WHEELS
from simulator.encode import Reporter
from simulator.faults import FaultKind
from simulator.readings import SYSTEM_STATES

_AT_REST: Final = tuple(SYSTEM_STATES.index(state) for state in ("LOCK", "OFF"))
_FAULTED: Final = 2.0

Condition = Callable[[Table, Floats], Flags]


def _column(table: Table, last: Floats, path: str) -> Floats:
    return np.asarray(last[:, table.index_of[path]])


def _low_voltage(table: Table, last: Floats) -> Flags:
    resting = np.isin(_column(table, last, "Vehicle.LowVoltageSystemState"), _AT_REST)
    return np.asarray(resting & (_column(table, last, "Vehicle.LowVoltageBattery.CurrentVoltage") < 11.8))


def _coolant(table: Table, last: Floats) -> Flags:
    path = "Vehicle.Powertrain.CombustionEngine.EngineCoolant.Temperature"
    return np.asarray(_column(table, last, path) >= 110.0)


def _tyre(table: Table, last: Floats) -> Flags:
    paths = [f"Vehicle.Chassis.Axle.{wheel}.Tire.Pressure" for wheel in WHEELS]
    pressure = np.sort(np.stack([_column(table, last, path) for path in paths], axis=1), axis=1)
    return np.asarray(pressure[:, 0] <= 0.75 * pressure[:, 2])  # the middle one of the other three


def _pads(table: Table, last: Floats) -> Flags:
    paths = [f"Vehicle.Chassis.Axle.{wheel}.Brake.PadWear" for wheel in WHEELS]
    return np.asarray(np.stack([_column(table, last, path) > 90.0 for path in paths], axis=1).any(axis=1))


def _lamp(table: Table, last: Floats) -> Flags:
    return np.asarray(_column(table, last, "Vehicle.Diagnostics.IsMILOn") == 1.0)


def _connector(table: Table, last: Floats) -> Flags:
    return np.asarray(_column(table, last, "Station.TemperatureSensor.Temperature") > 90.0)


def _failed(table: Table, last: Floats) -> Flags:
    return np.asarray(_column(table, last, "Station.ChargingStation.AvailabilityState") == _FAULTED)


_CONDITIONS: Final[dict[FaultKind, Condition]] = {
    FaultKind.WEAK_LOW_VOLTAGE_BATTERY: _low_voltage,
    FaultKind.COOLANT_OVERHEATING: _coolant,
    FaultKind.TYRE_LEAK: _tyre,
    FaultKind.BRAKE_PADS_WORN: _pads,
    FaultKind.TROUBLE_CODE: _lamp,
    FaultKind.CONNECTOR_OVERHEATING: _connector,
    FaultKind.STATION_FAILURE: _failed,
}


def visible(kind: FaultKind, reporter: Reporter, rows: list[int]) -> list[bool]:
    """Whether the newest sent values of each of `rows` show a fault of this kind."""
    condition = _CONDITIONS.get(kind)
    if condition is None:
        return [False] * len(rows)
    flags: list[bool] = condition(reporter.table, reporter.last[rows]).tolist()
    return flags
