"""A charging connector too hot: sustained above 90 °C the station must derate, from 120 °C it must stop.

Temperature limits for contacts in the spirit of IEC 61851 and IEC 62196; see also ChargeX MREC 18 and 19.
"""

from typing import Final

from cloud.detectors.base import CRITICAL, SERVICE, Floats, Indices, Levels
from cloud.detectors.thresholds import above
from wire.topics import Kind

_STEPS: Final = ((90.0, SERVICE), (120.0, CRITICAL))
_WELL_BELOW_CELSIUS: Final = 75.0


class ConnectorOverTemperature:
    """No memory."""

    name = "connector_over_temperature"
    kind = Kind.STATION
    inputs = ("Station.TemperatureSensor.Temperature",)
    subjects = ("connector",)
    memory_columns = 0
    raise_after_s = 60.0
    clear_after_s = 300.0
    advice = "Derate or take the connector out of use; check contacts, cable lugs and the plug's wear."

    def judge(self, now_s: Floats, values: Floats, starts: Indices, memory: Floats) -> Levels:
        return above(values, _STEPS, _WELL_BELOW_CELSIUS)

    def summary(self, subject: int, values: Floats) -> str:
        return f"connector at {values[0]:.0f} °C"
