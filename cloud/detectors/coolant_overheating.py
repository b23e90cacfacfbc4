"""Engine coolant too hot: from 110 °C, critical from 118 °C.

Commonly used limits for a pressurised system; a healthy car's maximum was 96 °C in 41 hours of recorded drives.
"""

from typing import Final

from cloud.detectors.base import CRITICAL, SERVICE, Floats, Indices, Levels
from cloud.detectors.thresholds import above
from wire.topics import Kind

_STEPS: Final = ((110.0, SERVICE), (118.0, CRITICAL))
_WELL_BELOW_CELSIUS: Final = 105.0


class CoolantOverheating:
    """No memory."""

    name = "coolant_overheating"
    kind = Kind.VEHICLE
    inputs = ("Vehicle.Powertrain.CombustionEngine.EngineCoolant.Temperature",)
    subjects = ("engine",)
    memory_columns = 0
    raise_after_s = 20.0
    clear_after_s = 300.0
    advice = "Stop the engine and let it cool; check coolant level, pump, fan and thermostat before driving on."

    def judge(self, now_s: Floats, values: Floats, starts: Indices, memory: Floats) -> Levels:
        return above(values, _STEPS, _WELL_BELOW_CELSIUS)

    def summary(self, subject: int, values: Floats) -> str:
        return f"engine coolant at {values[0]:.0f} °C"
