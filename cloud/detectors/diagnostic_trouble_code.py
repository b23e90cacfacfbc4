"""Trouble codes with the malfunction indicator lamp on: the car itself asks for a workshop."""

import numpy as np

from cloud.detectors.base import HOLD, SERVICE, WELL, Floats, Indices, Levels
from wire.topics import Kind


class DiagnosticTroubleCode:
    """No memory. The codes themselves are in the evidence (`Vehicle.Diagnostics.DTCList`)."""

    name = "diagnostic_trouble_code"
    kind = Kind.VEHICLE
    inputs = ("Vehicle.Diagnostics.IsMILOn", "Vehicle.Diagnostics.DTCCount", "Vehicle.Diagnostics.DTCList")
    subjects = ("lamp",)
    memory_columns = 0
    raise_after_s = 0.0
    clear_after_s = 60.0
    advice = "Read the codes and their freeze frames; repair, then clear the codes."

    def judge(self, now_s: Floats, values: Floats, starts: Indices, memory: Floats) -> Levels:
        lamp, codes = values[:, 0], np.fmax(values[:, 1], values[:, 2])
        levels = np.where((lamp == 1.0) & (codes > 0), SERVICE, HOLD)
        return np.where((lamp == 0.0) | (codes == 0.0), WELL, levels).astype(np.int8)[:, None]

    def summary(self, subject: int, values: Floats) -> str:
        return f"lamp on, {int(np.fmax(values[1], values[2]))} trouble code(s)"
