"""A tyre low against its peers.

Pressures are brought to 20 °C (ideal gas, absolute pressure) where the tyre's air temperature is known, then each
is compared with the median of the other three, so that weather and load, which all tyres share, cancel. A tyre at
75 % of its target must be told to the driver (FMVSS 138); at 80 % UN R141 wants a warning (recall). Without the
placard pressure on the wire, the peers stand in for the target.
"""

from typing import Final

import numpy as np

from cloud.detectors.base import CRITICAL, SERVICE, WATCH, Floats, Indices, Levels
from cloud.detectors.thresholds import below
from cloud.detectors.wheels import LABELS, WHEELS, wheel_paths
from wire.topics import Kind

_STEPS: Final = ((0.85, WATCH), (0.80, SERVICE), (0.50, CRITICAL))
_WELL_ABOVE: Final = 0.92
_ATMOSPHERE_KPA: Final = 101.3
_REFERENCE_KELVIN: Final = 293.15
_OTHERS: Final = np.array([[other for other in range(4) if other != wheel] for wheel in range(4)])


class TyrePressureLow:
    """No memory."""

    name = "tyre_pressure_low"
    kind = Kind.VEHICLE
    inputs = wheel_paths("Tire.Pressure") + wheel_paths("Tire.AirTemperature")
    subjects = WHEELS
    memory_columns = 0
    raise_after_s = 120.0
    clear_after_s = 300.0
    advice = "Check the tyre for damage and inflate it to the placard pressure."

    def judge(self, now_s: Floats, values: Floats, starts: Indices, memory: Floats) -> Levels:
        return below(_ratio_to_peers(values), _STEPS, _WELL_ABOVE)

    def summary(self, subject: int, values: Floats) -> str:
        ratio = _ratio_to_peers(values[None, :])[0, subject]
        return f"{LABELS[subject]} tyre at {values[subject]:.0f} kPa, {100 * (1 - ratio):.0f} % below its peers"


def _ratio_to_peers(values: Floats) -> Floats:
    """Each tyre against the median of the others, `[n, 4]`; NaN unless all four are known."""
    pressure_kpa, celsius = values[:, :4], values[:, 4:]
    at_reference = (pressure_kpa + _ATMOSPHERE_KPA) * _REFERENCE_KELVIN / (celsius + 273.15) - _ATMOSPHERE_KPA
    comparable = np.isfinite(celsius).all(axis=1, keepdims=True)
    pressure = np.where(comparable, at_reference, pressure_kpa)
    one, two, three = np.moveaxis(pressure[:, _OTHERS], 2, 0)
    peers = np.maximum(np.minimum(one, two), np.minimum(np.maximum(one, two), three))  # their median, NaN if one is
    return np.where(peers > 0, pressure / np.where(peers > 0, peers, 1.0), np.nan)
