"""When a fault can be seen in what was sent, and when the part has failed by what was sent: conditions on the newest
sent values of each device.

Failed means that the driver cannot go on as before: a 12 V battery that will not crank (10.5 V at rest), coolant past
118 °C, a tyre at half of its peers, pads at 95 %, a lamp that is on (also the one that a thermostat, lost oil or a weak
cell lead to), a connector that makes its station derate (97 °C), a station that is out of service. A modem has failed
when a frame had to wait for it, which the engine knows; a signal below -110 dBm is poor. A stored code
and a missed service are no failure of any part: these have no time of it.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np

from simulator.arrays import Flags, Floats, Rows
from simulator.columns import Table
from simulator.condition import WHEELS
from simulator.faults import FaultKind
from simulator.readings import SYSTEM_STATES
from simulator.reporters import Reporter

_AT_REST: Final = tuple(SYSTEM_STATES.index(state) for state in ("LOCK", "OFF"))
_FAULTED: Final = 2.0

_COOLANT: Final = "Vehicle.Powertrain.CombustionEngine.EngineCoolant.Temperature"


class Sign(NamedTuple):
    """How a fault shows: a condition on the newest sent values `[rows, columns]`, and its threshold."""

    holds: Callable[[Table, Floats, float], Flags]
    threshold: float


def _column(table: Table, last: Floats, path: str) -> Floats:
    return np.asarray(last[:, table.index_of[path]])


def _at_wheels(table: Table, last: Floats, leaf: str) -> Floats:
    paths = [f"Vehicle.Chassis.Axle.{wheel}.{leaf}" for wheel in WHEELS]
    return np.stack([_column(table, last, path) for path in paths], axis=1)


def _low_voltage(table: Table, last: Floats, volts: float) -> Flags:
    resting = np.isin(_column(table, last, "Vehicle.LowVoltageSystemState"), _AT_REST)
    return np.asarray(resting & (_column(table, last, "Vehicle.LowVoltageBattery.CurrentVoltage") < volts))


def _coolant(table: Table, last: Floats, celsius: float) -> Flags:
    return np.asarray(_column(table, last, _COOLANT) >= celsius)


def _tyre(table: Table, last: Floats, share: float) -> Flags:
    pressure = np.sort(_at_wheels(table, last, "Tire.Pressure"), axis=1)
    return np.asarray(pressure[:, 0] <= share * pressure[:, 2])  # the middle one of the other three


def _pads(table: Table, last: Floats, percent: float) -> Flags:
    return np.asarray((_at_wheels(table, last, "Brake.PadWear") > percent).any(axis=1))


def _lamp(table: Table, last: Floats, lit: float) -> Flags:
    return np.asarray(_column(table, last, "Vehicle.Diagnostics.IsMILOn") == lit)


def _code(table: Table, last: Floats, count: float) -> Flags:
    return np.asarray(_column(table, last, "Vehicle.Diagnostics.DTCCount") >= count)


def _contactor(table: Table, last: Floats, tripped: float) -> Flags:
    return np.asarray(_column(table, last, "Station.PowerContactor.Tripped") == tripped)


def _signal(table: Table, last: Floats, dbm: float) -> Flags:
    return np.asarray(_column(table, last, "Station.DataLink.SignalStrength") < dbm)


def _oil(table: Table, last: Floats, level: float) -> Flags:
    return np.asarray(_column(table, last, "Vehicle.Powertrain.CombustionEngine.EngineOil.Level") == level)


def _cells(table: Table, last: Floats, volts: float) -> Flags:
    prefix = "Vehicle.Powertrain.TractionBattery.CellVoltage"
    return np.asarray(_column(table, last, f"{prefix}.Max") - _column(table, last, f"{prefix}.Min") > volts)


def _service(table: Table, last: Floats, kilometres: float) -> Flags:
    return np.asarray(_column(table, last, "Vehicle.Service.DistanceToService") < kilometres)


def _connector(table: Table, last: Floats, celsius: float) -> Flags:
    return np.asarray(_column(table, last, "Station.TemperatureSensor.Temperature") > celsius)


def _availability(table: Table, last: Floats, state: float) -> Flags:
    return np.asarray(_column(table, last, "Station.ChargingStation.AvailabilityState") == state)


_VISIBLE: Final = {
    FaultKind.WEAK_LOW_VOLTAGE_BATTERY: Sign(_low_voltage, 11.8),
    FaultKind.COOLANT_OVERHEATING: Sign(_coolant, 110.0),
    FaultKind.COOLANT_LOSS: Sign(_coolant, 110.0),
    FaultKind.TYRE_LEAK: Sign(_tyre, 0.75),
    FaultKind.TYRE_PUNCTURE: Sign(_tyre, 0.75),
    FaultKind.BRAKE_PADS_WORN: Sign(_pads, 90.0),
    FaultKind.TROUBLE_CODE: Sign(_lamp, 1.0),
    FaultKind.OIL_LOSS: Sign(_oil, 1.0),
    FaultKind.WEAK_CELL: Sign(_cells, 0.1),
    FaultKind.CONNECTOR_OVERHEATING: Sign(_connector, 90.0),
    FaultKind.STATION_FAILURE: Sign(_availability, _FAULTED),
    FaultKind.ISOLATION_LOSS: Sign(_availability, _FAULTED),
    FaultKind.CONTACTOR_WEAR: Sign(_contactor, 1.0),
    FaultKind.STORED_CODE: Sign(_code, 1.0),
    FaultKind.MODEM_LOSS: Sign(_code, 1.0),
    FaultKind.STATION_MODEM_LOSS: Sign(_signal, -110.0),
    FaultKind.THERMOSTAT_STUCK_OPEN: Sign(_lamp, 1.0),
    FaultKind.SERVICE_MISSED: Sign(_service, 0.0),
}
_FAILED: Final = {
    FaultKind.WEAK_LOW_VOLTAGE_BATTERY: Sign(_low_voltage, 10.5),
    FaultKind.COOLANT_OVERHEATING: Sign(_coolant, 118.0),
    FaultKind.COOLANT_LOSS: Sign(_coolant, 118.0),
    FaultKind.TYRE_LEAK: Sign(_tyre, 0.5),
    FaultKind.TYRE_PUNCTURE: Sign(_tyre, 0.5),
    FaultKind.BRAKE_PADS_WORN: Sign(_pads, 95.0),
    FaultKind.TROUBLE_CODE: Sign(_lamp, 1.0),
    FaultKind.CONNECTOR_OVERHEATING: Sign(_connector, 97.0),
    FaultKind.STATION_FAILURE: Sign(_availability, _FAULTED),
    FaultKind.ISOLATION_LOSS: Sign(_availability, _FAULTED),
    FaultKind.CONTACTOR_WEAR: Sign(_availability, _FAULTED),
    FaultKind.THERMOSTAT_STUCK_OPEN: Sign(_lamp, 1.0),
    FaultKind.OIL_LOSS: Sign(_lamp, 1.0),
    FaultKind.WEAK_CELL: Sign(_lamp, 1.0),
}


def visible(kind: FaultKind, reporter: Reporter, rows: Rows) -> Flags:
    """Which of `rows` show a fault of this kind in the newest sent values."""
    return _holds(_VISIBLE, kind, reporter, rows)


def failed(kind: FaultKind, reporter: Reporter, rows: Rows) -> Flags:
    """Which of `rows` show that the part has failed."""
    return _holds(_FAILED, kind, reporter, rows)


def _holds(signs: dict[FaultKind, Sign], kind: FaultKind, reporter: Reporter, rows: Rows) -> Flags:
    sign = signs.get(kind)
    if sign is None:
        return np.zeros(len(rows), dtype=np.bool_)
    return sign.holds(reporter.table, reporter.table.of_units(reporter.last[rows]), sign.threshold)
