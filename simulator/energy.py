"""Where the power comes from: engine and fuel, traction battery, or both. Arrays are `[n]`.

Signs are those of VSS: positive battery power and current flow into the battery. The pack is an open-circuit
voltage behind a resistance, so P = V·I holds exactly; stored energy is the integral of the terminal power.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from simulator.arrays import Flags, Floats, Integers, Rows, singles

_JOULES_PER_LITRE: Final = 32.2e6  # petrol, lower heating value
_ENGINE_EFFICIENCY: Final = 0.35  # Willans line: slope
_ENGINE_FRICTION_W: Final = 6_000.0  # Willans line: offset, as fuel power
_GEARBOX: Final = 0.92
_MOTOR_DRIVE: Final = 0.88
_MOTOR_BRAKE: Final = 0.62
_FRICTION_SHARE: Final = 0.7  # the engine's drag does the rest
_AUXILIARY_W: Final = 650.0
_CELL_V: Final = 3.65
_HYBRID_TARGET: Final = 0.55
_PLUG_IN_TARGET: Final = 0.16
_ENGINE_MIN_ON_S: Final = 25.0
HEALTH_MIN: Final = 0.7
"""Where warranties end, and batteries are replaced."""
_HEALTH_LOST_A_YEAR: Final = 0.016
_SPREAD_V_A_YEAR: Final = 0.001


@dataclass(slots=True)
class Energy:
    """Stores and flows; `battery_wh` is what is left of `capacity_wh` (which shrinks with state of health)."""

    powertrain: Integers
    has_battery: Flags
    has_engine: Flags
    can_charge: Flags
    engine_kw: Floats
    tank_l: Floats
    fuel_l: Floats
    fuel_used_l: Floats
    """Litres since the trip began."""
    capacity_wh: Floats
    battery_wh: Floats
    battery_used_wh: Floats
    """Taken from the battery since the trip began, net of what braking gave back."""
    state_of_health: Floats
    cells: Floats
    cell_spread_v: Floats
    battery_w: Floats
    pack_v: Floats
    pack_a: Floats
    engine_w: Floats
    friction_w: Floats
    engine_on: Flags
    engine_since_s: Floats

    @property
    def state_of_charge(self) -> Floats:
        """0 to 1; 0 without a traction battery."""
        return singles(self.battery_wh / np.maximum(self.capacity_wh, 1.0))


def advance(energy: Energy, driving: Flags, wheel_w: Floats, speed: Floats, now_s: float, step_s: float) -> None:
    """One step: who delivers the wheel power, what it costs. Charging is added by `charge`."""
    soc = energy.state_of_charge
    on = driving & _engine_due(energy, soc, wheel_w, speed, now_s)
    energy.engine_since_s = np.where(on & ~energy.engine_on, now_s, energy.engine_since_s)
    energy.engine_on = on
    demand = np.maximum(wheel_w, 0.0)
    target = singles(np.where(energy.can_charge, _PLUG_IN_TARGET, _HYBRID_TARGET))
    recharge = singles(np.where(on & energy.has_battery & (soc < target), 6_000.0, 0.0))
    energy.engine_w = np.where(on, demand / _GEARBOX + 800.0 + recharge, 0.0)
    fuel_w = np.where(on, energy.engine_w / _ENGINE_EFFICIENCY + _ENGINE_FRICTION_W, 0.0)
    litres = np.minimum(fuel_w * step_s / _JOULES_PER_LITRE, energy.fuel_l)
    energy.fuel_l -= litres
    energy.fuel_used_l += litres
    electric = np.where(on, 0.0, demand / _MOTOR_DRIVE) + _AUXILIARY_W
    braking = np.maximum(-wheel_w, 0.0)
    taken = np.where(energy.has_battery & (soc < 0.97), np.minimum(braking, _regen_max_w(energy)), 0.0)
    regenerated = taken * _MOTOR_BRAKE
    energy.friction_w = np.where(energy.has_battery, braking - taken, _FRICTION_SHARE * braking)
    energy.battery_w = np.where(driving & energy.has_battery, regenerated + 0.9 * recharge - electric, 0.0)
    change = np.multiply(energy.battery_w, step_s / 3_600.0, dtype=np.float64)
    energy.battery_wh += change
    energy.battery_used_wh -= change


def charge(energy: Energy, rows: Integers, power_w: Floats, step_s: float) -> None:
    """Put `power_w [rows]` (at the battery's terminals) into the parked cars of `rows` for one step."""
    energy.battery_w[rows] += power_w
    energy.battery_wh[rows] += power_w * step_s / 3_600.0


def settle(energy: Energy) -> None:
    """Terminal voltage and current that go with the power: V = OCV + R·I, P = V·I."""
    soc = np.minimum(energy.state_of_charge, 1.0)
    open_v = energy.cells * (_CELL_V - 0.32 + 0.72 * soc)
    ohm = pack_resistance(energy)
    inside = np.maximum(open_v * open_v + 4.0 * ohm * energy.battery_w, (0.5 * open_v) ** 2)
    current = (np.sqrt(inside) - open_v) / (2.0 * ohm)
    energy.pack_v = open_v + ohm * current
    energy.pack_a = energy.battery_w / np.maximum(energy.pack_v, 1.0)


def pack_resistance(energy: Energy) -> Floats:
    """Ohm. Cells of small (hybrid) packs are built for power, so resistance grows slower than capacity falls."""
    return 0.07 * (60_000.0 / np.maximum(energy.capacity_wh, 1_000.0)) ** 0.35


def age_batteries(energy: Energy, years: float) -> None:
    """Traction batteries lose capacity, and their cells drift apart; what is stored stays stored."""
    kept = np.where(energy.has_battery, 1.0 - years * _HEALTH_LOST_A_YEAR, 1.0)
    energy.state_of_health = singles(np.maximum(energy.state_of_health * kept, HEALTH_MIN))
    energy.capacity_wh = singles(np.maximum(energy.capacity_wh * kept, energy.battery_wh))
    energy.cell_spread_v = singles(energy.cell_spread_v + years * _SPREAD_V_A_YEAR)


def consumption_wh_per_m(mass_kg: Floats) -> Floats:
    """What a car of this mass takes from its battery, for range and planning."""
    return 0.055 + 0.06 * mass_kg / 1_000.0


def range_m(energy: Energy, mass_kg: Floats, rows: Rows) -> Floats:
    """Metres left for the cars of `rows`, from both stores."""
    electric = np.where(energy.can_charge[rows], energy.battery_wh[rows] / consumption_wh_per_m(mass_kg[rows]), 0.0)
    litres_per_m = (3.2 + 1.6 * mass_kg[rows] / 1_000.0) / 100_000.0
    return np.maximum(electric, 0.0) + np.where(energy.has_engine[rows], energy.fuel_l[rows] / litres_per_m, 0.0)


def _regen_max_w(energy: Energy) -> Floats:
    return np.asarray(np.minimum(10.0 * energy.capacity_wh, 70_000.0))


def _engine_due(energy: Energy, soc: Floats, wheel_w: Floats, speed: Floats, now_s: float) -> Flags:
    hybrid = (soc < 0.42) | (speed > 17.0) | (wheel_w > 14_000.0)
    plug_in = (soc < 0.14) | (wheel_w > 55_000.0)
    wanted = np.where(energy.can_charge, plug_in, hybrid | ~energy.has_battery)
    held = energy.engine_on & (now_s - energy.engine_since_s < _ENGINE_MIN_ON_S)
    return np.asarray((wanted | held) & energy.has_engine)
