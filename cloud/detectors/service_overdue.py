"""A service that was missed, and engine oil that is used up.

Both signals say it themselves: below zero the distance to the service, or the life of the oil, is exceeded (VSS 6.0,
`Service.DistanceToService` and `EngineOil.LifeRemaining`). The bands in which an open finding stays open, 1,000 km and
30 days, are ours: after a service both are far above.
"""

from typing import Final

import numpy as np

from cloud.detectors.base import SERVICE, Floats, Indices, Levels
from cloud.detectors.thresholds import below
from wire.topics import Kind

_OVERDUE: Final = ((-1e-9, SERVICE),)
_WELL_ABOVE_KM: Final = 1_000.0
_DAY_S: Final = 86_400.0
_WELL_ABOVE_S: Final = 30 * _DAY_S


class ServiceOverdue:
    """No memory."""

    name = "service_overdue"
    kind = Kind.VEHICLE
    inputs = (
        "Vehicle.Service.DistanceToService",
        "Vehicle.Powertrain.CombustionEngine.EngineOil.LifeRemaining",
    )
    subjects = ("service", "engine_oil")
    memory_columns = 0
    raise_after_s = 120.0
    clear_after_s = 120.0
    advice = "Arrange a service; change the engine oil and its filter."

    def judge(self, now_s: Floats, values: Floats, starts: Indices, memory: Floats) -> Levels:
        by_distance = below(values[:, 0], _OVERDUE, _WELL_ABOVE_KM)
        return np.stack([by_distance, below(values[:, 1], _OVERDUE, _WELL_ABOVE_S)], axis=1)

    def summary(self, subject: int, values: Floats) -> str:
        if subject:
            return f"engine oil is {-values[1] / _DAY_S:.0f} days beyond its life"
        return f"service overdue by {-values[0]:.0f} km"
