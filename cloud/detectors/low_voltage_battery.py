"""Low 12 V battery of a parked car.

Parked below 11.8 V for 2 minutes is an event until recovered (FleetWitness). After 4 hours of rest the terminal
voltage tells the charge: 12.2 V is 50 %, 12.0 V or less is bad (voltagebasics.com). While the system is on, the
alternator or DC-DC converter sets the voltage, so nothing is said then. Well again: above 12.2 V while parked.
"""

from typing import Final

import numpy as np

from cloud.detectors.base import CRITICAL, HOLD, SERVICE, WATCH, Floats, Indices, Levels
from cloud.detectors.stories import since_true
from cloud.detectors.thresholds import below
from cloud.encoding import code_of
from wire.topics import Kind

_STATE: Final = "Vehicle.LowVoltageSystemState"
_LOCK: Final = code_of(_STATE, "LOCK")
_OFF: Final = code_of(_STATE, "OFF")
_REST_S: Final = 4 * 3600.0
_PARKED_STEPS: Final = ((11.8, SERVICE), (10.5, CRITICAL))
_RESTED_STEPS: Final = ((12.2, WATCH), (12.0, SERVICE), (10.5, CRITICAL))
_WELL_V: Final = 12.2


class LowVoltageBattery:
    """Memory: since when the car has been at rest, in s; 0 while it is not."""

    name = "low_voltage_battery"
    kind = Kind.VEHICLE
    inputs = ("Vehicle.LowVoltageBattery.CurrentVoltage", _STATE)
    subjects = ("battery",)
    memory_columns = 1
    raise_after_s = 120.0
    clear_after_s = 120.0
    advice = "Test the 12 V battery and the quiescent current; charge or replace the battery."

    def judge(self, now_s: Floats, values: Floats, starts: Indices, memory: Floats) -> Levels:
        voltage, state = values[:, 0], values[:, 1]
        at_rest = (state == _LOCK) | (state == _OFF)
        rested = at_rest & (now_s - since_true(at_rest, now_s, starts, memory[:, 0, 0]) >= _REST_S)
        levels = np.where(rested, below(voltage, _RESTED_STEPS, _WELL_V), below(voltage, _PARKED_STEPS, _WELL_V))
        return np.where(at_rest, levels, HOLD).astype(np.int8)[:, None]

    def summary(self, subject: int, values: Floats) -> str:
        return f"12 V battery at {values[0]:.1f} V while parked"
