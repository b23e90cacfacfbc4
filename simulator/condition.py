"""Temperatures, 12 V system, tyres, brakes, service: what ages and breaks. Arrays are `[n]`, wheels `[n, 4]`.

Healthy values stay clear of every alarm: coolant at most 96 °C, 12 V at rest 12.4 to 12.8 V and 13.4 to 14.3 V
while charging, tyres within a few percent of each other, brake pads replaced in time.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from simulator.arrays import Flags, Floats, Integers, Rows, approach, singles, where_true
from simulator.servicing import COMES_AFTER_KM, INTERVAL_KM

WHEELS: Final = ("Row1.Wheel.Left", "Row1.Wheel.Right", "Row2.Wheel.Left", "Row2.Wheel.Right")
PADS_REPLACED_AT: Final = 67.0
"""Percent of wear at which the owner of a healthy car has the pads replaced."""

_ATMOSPHERE_KPA: Final = 101.3
_REFERENCE_KELVIN: Final = 293.15
_THERMOSTAT_CELSIUS: Final = 90.0
_COOLANT_ENOUGH: Final = 0.75
_KELVIN_PER_MISSING: Final = 75.0
_NEVER_DRAINS: Final = 0.3
LEVEL_LOW_BELOW: Final = 0.8
"""Share of coolant or oil below which its level reads LOW."""
_SURFACE_CHARGE_V: Final = 0.35
_SURFACE_CHARGE_S: Final = 240.0
_CRANKING_DROP_V: Final = 1.5
_CRANKING_DROP_AGED_V: Final = 0.6
_CRANKING_DROP_V_PER_K: Final = 0.015
_MILD_CELSIUS: Final = 10.0
LOW_VOLTAGE_BATTERY_YEARS: Final = 5.0
"""Then it is replaced."""
REST_V_LOST_BY_AGE: Final = 0.2
"""From new to the end of its life."""
_BATTERY_JOULES_PER_KELVIN_WH: Final = 6.0  # 6 kg of cells a kWh, 1 kJ/(kg·K)
_WEAR_PERCENT_PER_MJ: Final = 70.0 / 4_500.0
"""4,500 MJ of friction wear pads from new to 70 %: 40,000 to 50,000 km of a mid-size car."""
_COMES_WITHIN_S: Final = 10 * 86_400.0
"""Until the appointment, on average."""
_COMES_BEFORE_KM: Final = 300.0
"""How long before a service is due the car is brought at the latest."""
OIL_EVERY_S: Final = 10.0
"""Oil wears in months: so often is often enough."""
_IDLE_PER_S: Final = 13.0
_TURNS_PER_M: Final = 0.5
"""Revolutions of the engine in a second at idle, and in a metre beyond that."""
_OIL_TURNS: Final = 30e6
"""Weighted revolutions that use up an oil: about 20,000 km of mixed driving."""
_OIL_WARM_CELSIUS: Final = 60.0
_OIL_HOT_CELSIUS: Final = 120.0
_COLD_WEARS: Final = 1.0 / 30.0
_HOT_WEARS: Final = 1.0 / 15.0


@dataclass(slots=True)
class Condition:
    """State that the physics moves and the faults bend."""

    ambient_offset: Floats
    coolant: Floats
    oil: Floats
    battery: Floats
    tyre: Floats
    rest_v: Floats
    charging_v: Floats
    low_voltage_aged: Floats
    """Age of the 12 V battery, 0 new to 1 due for replacement."""
    low_voltage: Floats
    low_voltage_a: Floats
    cold_kpa: Floats
    pad_wear: Floats
    service_at_km: Floats
    services: Integers
    """How many regular services each car has had in its life."""
    oil_life: Floats
    """1 fresh, 0 used up, below that overdue."""
    unserviced: Flags
    """Cars whose owners do not come."""
    coolant_extra: Floats
    """How far above the thermostat a faulty cooling system settles, in K; 0 when healthy."""
    coolant_left: Floats
    """Share of the coolant, 1 when full; what is missing is missing for cooling."""
    coolant_loss_per_s: Floats
    """While the engine runs."""
    oil_left: Floats
    oil_loss_per_s: Floats
    leak_per_s: Floats
    """Share of a tyre's pressure lost per second, `[n, 4]`; stops at `leak_floor` kPa."""
    leak_floor: Floats
    low_voltage_drop: Floats
    """What a weak 12 V battery is short of at rest, in V; 0 when healthy."""


def advance_temperatures(
    state: Condition, ambient: Floats, engine_on: Flags, driving: Flags, speed: Floats, step_s: float
) -> None:
    """Coolant and oil warm up towards the thermostat in about 10 minutes and cool over hours; tyres follow speed."""
    lose_fluids(state, engine_on, step_s)
    missing = np.maximum(_COOLANT_ENOUGH - state.coolant_left, 0.0)
    settles = _THERMOSTAT_CELSIUS + state.coolant_extra + _KELVIN_PER_MISSING * missing
    target = np.where(engine_on, settles, np.where(driving, np.minimum(state.coolant, 75.0), ambient))
    hot_s = np.where(settles > _THERMOSTAT_CELSIUS, 150.0, 200.0)
    pace_s = np.where(engine_on, hot_s, np.where(driving, 1_500.0, 5_400.0))
    state.coolant = approach(state.coolant, target, singles(pace_s), step_s)
    oil_target, oil_s = np.where(engine_on, settles + 6.0, ambient), np.where(engine_on, 420.0, 6_000.0)
    state.oil = approach(state.oil, oil_target, singles(oil_s), step_s)
    warm = ambient + 0.55 * np.minimum(speed, 38.0)
    state.tyre = approach(state.tyre, warm, singles(np.where(speed > 1.0, 700.0, 1_500.0)), step_s)


def lose_fluids(state: Condition, engine_on: Flags, step_s: float) -> None:
    """Coolant and oil leave while the engine runs, down to what never drains."""
    state.coolant_left = _drained(state.coolant_left, state.coolant_loss_per_s, engine_on, step_s)
    state.oil_left = _drained(state.oil_left, state.oil_loss_per_s, engine_on, step_s)


def _drained(left: Floats, per_s: Floats, engine_on: Flags, step_s: float) -> Floats:
    return np.where(engine_on & (per_s > 0), np.maximum(left - per_s * step_s, _NEVER_DRAINS), left)


def advance_battery_temperature(
    state: Condition, ambient: Floats, heat_w: Floats, capacity_wh: Floats, step_s: float
) -> None:
    """Losses warm the pack; it gives heat to the air within hours."""
    joules_per_kelvin = np.maximum(capacity_wh, 1_000.0) * _BATTERY_JOULES_PER_KELVIN_WH
    warmed = state.battery + heat_w * step_s / joules_per_kelvin
    state.battery = np.minimum(approach(warmed, ambient, 7_200.0, step_s), 48.0)


def advance_low_voltage(
    state: Condition, ambient: Floats, charged: Flags, cranking: Flags, stopped_s: Floats, noise: Floats
) -> None:
    """12 V: the alternator's or DC-DC converter's voltage, a dip while cranking, else rest after surface charge.

    The dip is deeper for an old battery and in the cold.
    """
    surface = _SURFACE_CHARGE_V * np.exp(-stopped_s / _SURFACE_CHARGE_S)
    rest = state.rest_v + np.where(state.low_voltage_drop > 0, -state.low_voltage_drop, surface)
    cold = _CRANKING_DROP_V_PER_K * np.maximum(_MILD_CELSIUS - ambient, 0.0)
    drop = _CRANKING_DROP_V + _CRANKING_DROP_AGED_V * state.low_voltage_aged + cold
    crank = state.rest_v - drop - 0.5 * state.low_voltage_drop
    voltage = np.where(charged, state.charging_v, np.where(cranking, crank, rest))
    state.low_voltage = voltage + 0.015 * noise
    state.low_voltage_a = singles(np.where(charged, 6.0, np.where(cranking, -180.0, -0.05)))


def advance_tyres(state: Condition, step_s: float) -> None:
    """Leaks: a share of the pressure is lost per second, down to a flat-tyre floor."""
    state.cold_kpa = np.where(
        state.leak_per_s > 0,
        np.maximum(state.cold_kpa * np.exp(-state.leak_per_s * step_s), state.leak_floor[:, None]),
        state.cold_kpa,
    )


def tyre_pressure_kpa(cold_kpa: Floats, celsius: Floats) -> Floats:
    """Gauge pressure `[n, 4]` at a temperature `[n]`, from the one at 20 °C: ideal gas at constant volume."""
    absolute = (cold_kpa + _ATMOSPHERE_KPA) * (celsius[:, None] + 273.15) / _REFERENCE_KELVIN
    return absolute - _ATMOSPHERE_KPA


def wear_brakes(state: Condition, friction_w: Floats, worn_out: Flags, step_s: float) -> None:
    """Friction wears the pads, the front ones more; healthy pads are replaced in time, `worn_out` ones stay."""
    percent = friction_w * step_s / 1e6 * _WEAR_PERCENT_PER_MJ
    state.pad_wear += percent[:, None] * np.array([1.0, 1.0, 0.6, 0.6], dtype=np.float32)
    due = (state.pad_wear > PADS_REPLACED_AT) & ~worn_out[:, None]
    state.pad_wear = np.where(due, 1.0, np.minimum(state.pad_wear, 100.0))


def age_low_voltage(state: Condition, years: float) -> None:
    """12 V batteries age by so much, and are replaced at the end of their lives."""
    aged = state.low_voltage_aged + singles(years / LOW_VOLTAGE_BATTERY_YEARS)
    fresh = np.where(aged >= 1.0, aged - singles(1.0), aged)
    state.rest_v -= REST_V_LOST_BY_AGE * (fresh - state.low_voltage_aged)
    state.low_voltage_aged = fresh


def wear_oil(state: Condition, engine_on: Flags, speed: Floats, seconds: float) -> None:
    """Oil is used up by the engine's revolutions, each weighted by its temperature: cold starts and heat
    count more.

    The form is that of the first oil-change indicator (US patent 4,742,476); the weights are ours.
    """
    rows = where_true(engine_on)
    turns = seconds * (_IDLE_PER_S + _TURNS_PER_M * speed[rows])
    cold = _COLD_WEARS * np.maximum(_OIL_WARM_CELSIUS - state.oil[rows], 0.0)
    hot = _HOT_WEARS * np.maximum(state.oil[rows] - _OIL_HOT_CELSIUS, 0.0)
    state.oil_life[rows] -= turns * (1.0 + cold + hot) / _OIL_TURNS


def to_service_km(state: Condition, odometer_m: Floats, has_engine: Flags, rows: Rows) -> Floats:
    """How far the cars of `rows` may still go: service is due by distance, or earlier when the oil is used up."""
    by_distance = state.service_at_km[rows] - odometer_m[rows] / 1_000.0
    oil = np.where(has_engine[rows], oil_km(state, rows), np.inf)
    return np.minimum(by_distance, oil)


def oil_km(state: Condition, rows: Rows) -> Floats:
    """The life that is left in the oil, as a distance."""
    return state.oil_life[rows] * INTERVAL_KM


def service(
    state: Condition, odometer_m: Floats, has_engine: Flags, parked: Flags, random: np.random.Generator
) -> Rows:
    """Who comes, comes before it is due: the oil is changed, and everything counts from here. Returns who came.

    For every `OIL_EVERY_S`.
    """
    able = where_true(parked & ~state.unserviced)
    left_km = to_service_km(state, odometer_m, has_engine, able)
    asked = left_km < INTERVAL_KM - COMES_AFTER_KM
    able, left_km = able[asked], left_km[asked]
    comes = (random.random(len(able)) < OIL_EVERY_S / _COMES_WITHIN_S) | (left_km < _COMES_BEFORE_KM)
    came: Rows = able[comes]
    state.service_at_km[came] = odometer_m[came] / 1_000.0 + INTERVAL_KM
    state.oil_life[came] = 1.0
    state.services[came] += 1
    return came
