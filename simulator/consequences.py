"""Trouble codes that follow from the physics: what an engine or battery control unit would notice by itself.

The conditions are those of the codes: P0128, the coolant stays below 75 °C though the engine has run for 10 minutes;
P0217, it passes 118 °C; P0524, oil pressure too low, here for want of oil; P0A80, the cells of the traction battery
differ too much. A unit keeps one code at a time.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from simulator.arrays import Flags, Floats, singles, where_true
from simulator.fleet import Fleet

CODES: Final = frozenset({"P0128", "P0217", "P0524", "P0A80"})

_WARMED_UP_S: Final = 600.0
_COLD_CELSIUS: Final = 75.0
_OVERHEATED_CELSIUS: Final = 118.0
_OIL_LEFT_MIN: Final = 0.35
_CELL_SPREAD_V_MAX: Final = 0.15
_SURE_AFTER_S: Final = 30.0


@dataclass(slots=True)
class Unit:
    """What the control units of all cars have in mind, `[n]`."""

    engine_ran_s: Floats
    """Since the trip began."""
    true_s: dict[str, Floats]
    """For how long the condition of each code has been true."""

    @classmethod
    def of(cls, count: int) -> "Unit":
        return cls(
            np.zeros(count, dtype=np.float32), {code: np.zeros(count, dtype=np.float32) for code in sorted(CODES)}
        )


def notice(unit: Unit, fleet: Fleet, step_s: float) -> list[tuple[int, str]]:
    """One step: (vehicle, code) of the conditions that have just become certain."""
    engine_on, driving = fleet.energy.engine_on, fleet.plans.driving
    unit.engine_ran_s = np.where(driving, unit.engine_ran_s + singles(step_s * engine_on), 0.0)
    coolant = fleet.condition.coolant
    conditions: dict[str, Flags] = {
        "P0128": engine_on & (unit.engine_ran_s > _WARMED_UP_S) & (coolant < _COLD_CELSIUS),
        "P0217": engine_on & (coolant >= _OVERHEATED_CELSIUS),
        "P0524": engine_on & (fleet.condition.oil_left < _OIL_LEFT_MIN),
        "P0A80": driving & (fleet.energy.cell_spread_v > _CELL_SPREAD_V_MAX),
    }
    found: list[tuple[int, str]] = []
    for code, condition in conditions.items():
        before = unit.true_s[code]
        unit.true_s[code] = np.where(condition, before + step_s, 0.0)
        certain = (before < _SURE_AFTER_S) & (unit.true_s[code] >= _SURE_AFTER_S)
        found += [(row, code) for row in where_true(certain).tolist()]
    return found
