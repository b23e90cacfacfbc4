"""Charging stations of one connector each: what they deliver, how warm they get, what is broken. Arrays are `[n]`.

A session moves the same power on both sides: the station meters it, the car's battery takes it times an efficiency
(on-board charger for AC, cables and battery heating for DC).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from simulator import identity, models, roads
from simulator.arrays import Flags, Floats, Integers, Rows, approach, stream, where_true
from simulator.identity import StationTraits
from simulator.plans import NOBODY
from simulator.roads import Spots
from simulator.world import sites

EFFICIENCY_AC: Final = 0.90
EFFICIENCY_DC: Final = 0.96
DERATE_CELSIUS: Final = 98.0
"""A station lowers its current so that a bad contact does not pass this; 120 °C would stop it."""

HEALTHY_OHM: Final = 2_000_000.0
FAILED_OHM: Final = 40_000.0
"""100 Ω/V (UN R100) at 400 V; a station stops there."""
_THREE_PHASE_V: Final = 3 * 230.0
_HEALTHY_RISE_K: Final = 28.0
_BAD_CONTACT_RISE_K: Final = 85.0
_BAD_CONTACT_AT: Final = 0.3  # share of the rated current that heats a bad contact by the rise above
_HEATING_S: Final = 200.0


@dataclass(slots=True)
class Stations:
    """State of all stations; `vehicle` is who is plugged in, `reserved` who is on the way."""

    traits: StationTraits
    spots: Spots
    junction: Integers
    """Where the road of each begins."""
    power_max_w: Floats
    is_dc: Flags
    rated_a: Floats
    vehicle: Integers
    reserved: Integers
    register_wh: Floats
    began_wh: Floats
    began_s: Floats
    updated_s: Floats
    completed_s: Floats
    """When the present session stopped delivering; infinite while it delivers."""
    linger_s: Floats
    sessions: Integers
    power_w: Floats
    current_a: Floats
    voltage_v: Floats
    temperature: Floats
    bad_contact: Flags
    derated: Flags
    faulted: Flags
    cause: Integers
    """Which fault, for `faulted` ones: an index of `faults.STATION_CAUSES`; -1 while healthy."""
    isolation_ohm: Floats
    isolation_per_s: Floats
    """How fast the insulation fades, as a rate of decay; 0 while healthy."""
    contactor_wear: Floats
    """Share of its life, 1 at the end."""
    contactor_bounces: Flags
    contactor_open: Flags
    """Dropped out although it should be closed."""
    contactor_moves_s: Floats
    """When a worn one drops out, or is closed again; infinite for those that hold."""
    signal_dbm: Floats

    def __len__(self) -> int:
        return len(self.vehicle)

    @property
    def occupied(self) -> Flags:
        return np.asarray(self.vehicle != NOBODY)

    @property
    def efficiency(self) -> Floats:
        return np.where(self.is_dc, EFFICIENCY_DC, EFFICIENCY_AC)


def create(traits: StationTraits) -> Stations:
    """Stations as a simulation begins: healthy and free."""
    count = len(traits)
    chosen = [models.STATIONS[index] for index in traits.model]
    power_w = np.array([1_000.0 * model.power_kw for model in chosen], dtype=np.float64)
    is_dc = np.array([model.is_dc for model in chosen], dtype=np.bool_)
    spots = sites(traits.seed, np.arange(count) // identity.STATIONS_PER_SITE)
    used = stream(traits.seed, "register").random(count)
    return Stations(
        traits=traits,
        spots=spots,
        junction=roads.of(traits.seed).begin[spots.road],
        power_max_w=power_w,
        is_dc=is_dc,
        rated_a=np.where(is_dc, power_w / 400.0, power_w / _THREE_PHASE_V),
        vehicle=np.full(count, NOBODY),
        reserved=np.full(count, NOBODY),
        register_wh=np.floor(used * power_w * 900.0),
        began_wh=np.zeros(count),
        began_s=np.zeros(count),
        updated_s=np.zeros(count),
        completed_s=np.full(count, np.inf),
        linger_s=np.zeros(count),
        sessions=np.zeros(count, dtype=np.int64),
        power_w=np.zeros(count),
        current_a=np.zeros(count),
        voltage_v=np.zeros(count),
        temperature=np.full(count, 15.0),
        bad_contact=np.zeros(count, dtype=np.bool_),
        derated=np.zeros(count, dtype=np.bool_),
        faulted=np.zeros(count, dtype=np.bool_),
        cause=np.full(count, -1),
        isolation_ohm=np.array([HEALTHY_OHM + 150_000.0 * (row % 11) for row in range(count)], dtype=np.float64),
        isolation_per_s=np.zeros(count),
        contactor_wear=0.8 * used,
        contactor_bounces=np.zeros(count, dtype=np.bool_),
        contactor_open=np.zeros(count, dtype=np.bool_),
        contactor_moves_s=np.full(count, np.inf),
        signal_dbm=np.round(-95.0 + 30.0 * stream(traits.seed, "signal").random(count)),
    )


def deliver(stations: Stations, rows: Rows, wanted_w: Floats, pack_v: Floats, ambient: float, step_s: float) -> None:
    """Deliver to the cars on `rows` what they want and the contact allows; everyone else delivers nothing."""
    volts = np.where(stations.is_dc[rows], pack_v, _THREE_PHASE_V)
    wanted_a = wanted_w / np.maximum(volts, 1.0)
    rise = _contact_rise(stations, rows, wanted_a)
    allowed = np.sqrt(np.minimum(1.0, (DERATE_CELSIUS - ambient) / np.maximum(rise, 1.0)))
    stations.power_w[:] = 0.0
    stations.current_a[:] = 0.0
    stations.voltage_v[:] = 0.0
    stations.derated[:] = False
    stations.power_w[rows] = wanted_w * allowed
    stations.current_a[rows] = wanted_a * allowed
    stations.voltage_v[rows] = np.where(stations.is_dc[rows], pack_v, 230.0)
    stations.derated[rows] = (allowed < 1.0) & (wanted_w > 0)
    stations.register_wh += stations.power_w * step_s / 3_600.0
    target = np.full(len(stations), ambient + 2.0)
    target[rows] += rise * allowed * allowed
    stations.temperature = approach(stations.temperature, target, _HEATING_S, step_s)


def fade(stations: Stations, step_s: float) -> Rows:
    """Insulation that is damaged gets worse; returns the stations that must stop now."""
    above = stations.isolation_ohm > FAILED_OHM
    faded = stations.isolation_ohm * np.exp(-stations.isolation_per_s * step_s)
    stations.isolation_ohm = np.maximum(faded, FAILED_OHM)
    return where_true(above & (faded <= FAILED_OHM))


def _contact_rise(stations: Stations, rows: Rows, current_a: Floats) -> Floats:
    share = current_a / stations.rated_a[rows]
    bad = np.where(stations.bad_contact[rows], _BAD_CONTACT_RISE_K * (share / _BAD_CONTACT_AT) ** 2, 0.0)
    return _HEALTHY_RISE_K * share * share + bad
