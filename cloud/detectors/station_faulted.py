"""A charging station that says itself that it is faulted, by OCPP availability or its Problem flag."""

from typing import Final

import numpy as np

from cloud.detectors.base import CRITICAL, HOLD, SERVICE, WELL, Floats, Indices, Levels
from cloud.encoding import code_of
from wire.topics import Kind

_AVAILABILITY: Final = (
    "Station.ChargingStation.AvailabilityState",
    "Station.EVSE.AvailabilityState",
    "Station.Connector.AvailabilityState",
)
_FAULTED: Final = np.array([code_of(path, "Faulted") for path in _AVAILABILITY])


class StationFaulted:
    """No memory. Critical when the whole station is out, service when a part or only the flag says so."""

    name = "station_faulted"
    kind = Kind.STATION
    inputs = (*_AVAILABILITY, "Station.ChargingStation.Problem")
    subjects = ("station",)
    memory_columns = 0
    raise_after_s = 30.0
    clear_after_s = 60.0
    advice = "Look at the station's last NotifyEvents; reset it remotely, send a technician if it comes back."

    def judge(self, now_s: Floats, values: Floats, starts: Indices, memory: Floats) -> Levels:
        faulted, problem = values[:, :3] == _FAULTED, values[:, 3] == 1.0
        known = np.isfinite(values).any(axis=1)
        levels = np.where(faulted.any(axis=1) | problem, SERVICE, np.where(known, WELL, HOLD))
        return np.where(faulted[:, 0], CRITICAL, levels).astype(np.int8)[:, None]

    def summary(self, subject: int, values: Floats) -> str:
        parts = ("station", "EVSE", "connector")
        faulted = [part for part, is_faulted in zip(parts, values[:3] == _FAULTED, strict=True) if is_faulted]
        return f"{', '.join(faulted)} faulted" if faulted else "station reports a problem"
