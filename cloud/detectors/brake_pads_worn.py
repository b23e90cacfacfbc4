"""Brake pads near the end, from VSS PadWear: 0 new, 100 worn.

No public source gives limits in percent of wear: these are ours. At 90 % a passenger car's pad of 11 to 12 mm with
2 mm legal rest has about 3 mm left, where workshops replace it (49 CFR 393.47 has 3.2 mm for truck air discs).
"""

from typing import Final

from cloud.detectors.base import CRITICAL, SERVICE, WATCH, Floats, Indices, Levels
from cloud.detectors.thresholds import above
from cloud.detectors.wheels import LABELS, WHEELS, wheel_paths
from wire.topics import Kind

_STEPS: Final = ((80.0, WATCH), (90.0, SERVICE), (98.0, CRITICAL))
_WELL_BELOW_PERCENT: Final = 70.0


class BrakePadsWorn:
    """No memory."""

    name = "brake_pads_worn"
    kind = Kind.VEHICLE
    inputs = wheel_paths("Brake.PadWear")
    subjects = WHEELS
    memory_columns = 0
    raise_after_s = 60.0
    clear_after_s = 60.0
    advice = "Replace the pads of this axle; measure the discs."

    def judge(self, now_s: Floats, values: Floats, starts: Indices, memory: Floats) -> Levels:
        return above(values, _STEPS, _WELL_BELOW_PERCENT)

    def summary(self, subject: int, values: Floats) -> str:
        return f"{LABELS[subject]} brake pad {values[subject]:.0f} % worn"
