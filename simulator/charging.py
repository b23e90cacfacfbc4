"""Plugging in, charging, unplugging: the join between cars and stations of one fleet."""

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np

from simulator import contactors
from simulator import energy as energies
from simulator import stations as charging_stations
from simulator.arrays import Flags, Floats, Integers, Rows, where_true
from simulator.energy import Energy
from simulator.faults import ISOLATION_CAUSE
from simulator.plans import NOBODY, Mode, Place, Plans
from simulator.stations import Stations

UPDATE_S: Final = 300.0
"""A running session reports its meter this often."""
LIMIT_AC: Final = 0.9
LIMIT_DC: Final = 0.8

_TAPER_FROM: Final = 0.75
_EVENING: Final = 19.0
_MORNING: Final = 6.0
_EVENING_MARGIN: Final = 0.15
_FAULT_LINGER_S: Final = 240.0


class SessionStep(NamedTuple):
    """One step of a charging session, to be told by the station."""

    station: int
    vehicle: int
    phase: Literal["Started", "Updated", "Ended"]
    reason: str | None = None


@dataclass(slots=True)
class Chargeable:
    """What cars can take, `[n]`; and what their last or present session did."""

    ac_max_w: Floats
    dc_max_w: Floats
    metered_wh: Floats
    metered_s: Floats
    is_charging: Flags
    inlet_w: Floats
    last_station: Integers


def plug_in(
    stations: Stations, plans: Plans, cars: Chargeable, vehicle: int, station: int, now_s: float
) -> SessionStep:
    """A car that stands at a station is connected and begins to charge."""
    stations.vehicle[station] = vehicle
    stations.reserved[station] = NOBODY
    stations.began_wh[station] = stations.register_wh[station]
    stations.began_s[station] = stations.updated_s[station] = now_s
    stations.completed_s[station] = np.inf
    stations.sessions[station] += 1
    contactors.close(stations, np.array([station]), now_s)
    plans.mode[vehicle] = Mode.PLUGGED
    plans.place[vehicle] = Place.SITE
    plans.station[vehicle] = station
    plans.since_s[vehicle] = now_s
    cars.last_station[vehicle] = station
    cars.metered_wh[vehicle] = 0.0
    cars.metered_s[vehicle] = 0.0
    return SessionStep(station, vehicle, "Started")


def advance(
    stations: Stations, cars: Chargeable, energy: Energy, ambient: float, now_s: float, step_s: float
) -> list[SessionStep]:
    """One step of every session: power from the station's meter into the car's battery; then who is done."""
    rows = where_true(stations.occupied)
    vehicles = stations.vehicle[rows]
    fresh = stations.began_s[rows] >= now_s  # who arrived in this step has spent it driving
    wanted = np.where(fresh, 0.0, _wanted_w(stations, cars, energy, rows, vehicles))
    charging_stations.deliver(stations, rows, wanted, energy.pack_v[vehicles], ambient, step_s)
    power = stations.power_w[rows]
    energies.charge(energy, vehicles, power * stations.efficiency[rows], step_s)
    cars.inlet_w[:] = 0.0
    cars.inlet_w[vehicles] = power
    cars.is_charging = cars.inlet_w > 0
    cars.metered_wh[vehicles] += power * step_s / 3_600.0
    cars.metered_s[vehicles] += np.where(power > 0, step_s, 0.0)
    done = ~fresh & ~stations.contactor_open[rows] & (wanted <= 0) & np.isinf(stations.completed_s[rows])
    stations.completed_s[rows[done]] = now_s
    return _due_steps(stations, rows, now_s)


def _wanted_w(stations: Stations, cars: Chargeable, energy: Energy, rows: Rows, vehicles: Integers) -> Floats:
    soc = energy.state_of_charge[vehicles]
    is_dc = stations.is_dc[rows]
    car_max = np.where(is_dc, cars.dc_max_w[vehicles], cars.ac_max_w[vehicles])
    taper = np.clip((1.02 - soc) / (1.02 - _TAPER_FROM), 0.1, 1.0)
    wanted = np.minimum(stations.power_max_w[rows], car_max * np.where(is_dc, taper, 1.0))
    finished = (soc >= np.where(is_dc, LIMIT_DC, LIMIT_AC)) | np.isfinite(stations.completed_s[rows])
    return np.where(finished | stations.faulted[rows] | stations.contactor_open[rows], 0.0, wanted)


def _due_steps(stations: Stations, rows: Rows, now_s: float) -> list[SessionStep]:
    steps = []
    leaves = now_s >= stations.completed_s[rows] + stations.linger_s[rows]
    tells = now_s - stations.updated_s[rows] >= UPDATE_S
    for station in rows[leaves | tells]:
        vehicle = int(stations.vehicle[station])
        ends = now_s >= stations.completed_s[station] + stations.linger_s[station]
        reason = None
        if ends:
            reason = "Other" if stations.faulted[station] else "EVDisconnected"
        stations.updated_s[station] = now_s
        steps.append(SessionStep(int(station), vehicle, "Ended" if ends else "Updated", reason))
    return steps


def unplug(stations: Stations, plans: Plans, vehicle: int, station: int, now_s: float) -> None:
    """The car is disconnected; it stands parked at the site and leaves at the next step."""
    stations.vehicle[station] = NOBODY
    plans.mode[vehicle] = Mode.PARKED
    plans.station[vehicle] = NOBODY
    plans.since_s[vehicle] = now_s
    plans.departs_s[vehicle] = now_s + 30.0


def free_station(stations: Stations, distance_m: Floats, wants_dc: bool, can_dc: bool) -> int:
    """The nearest free, working station that fits a car with `distance_m [stations]` to go; -1 if there is none."""
    usable = ~stations.faulted & ~stations.occupied & (stations.reserved == NOBODY)
    if not can_dc:
        usable &= ~stations.is_dc
    if not usable.any():
        return NOBODY
    distance = distance_m + np.where(stations.is_dc == wants_dc, 0.0, 3_000.0)
    return int(np.argmin(np.where(usable, distance, np.inf)))


def linger_s(random: np.random.Generator, hour: float = 12.0, is_dc: bool = True) -> float:
    """How long a finished car stays plugged in: at a slow station until the morning, when it is evening."""
    minutes_later = float(random.uniform(120.0, 900.0))
    return minutes_later if is_dc or not is_evening(hour) else (_MORNING - hour) % 24.0 * 3_600.0 + minutes_later


def is_evening(hour: float) -> bool:
    """Whether drivers charge for the night; `hour` is that of the region, 0 to 24."""
    return hour >= _EVENING or hour < _MORNING - 3.0


def interrupt(stations: Stations, station: int, now_s: float) -> None:
    """A fault stops the present session; its driver unplugs after a few minutes."""
    if stations.vehicle[station] != NOBODY and np.isinf(stations.completed_s[station]):
        stations.completed_s[station] = now_s
        stations.linger_s[station] = _FAULT_LINGER_S


def fail(stations: Stations, station: int, cause: int, now_s: float) -> None:
    """A station stops for good; `cause` is one of `faults.STATION_CAUSES`."""
    stations.faulted[station] = True
    stations.contactor_open[station] = False
    stations.cause[station] = cause
    if cause == ISOLATION_CAUSE:
        stations.isolation_ohm[station] = charging_stations.FAILED_OHM
    interrupt(stations, station, now_s)


def wants_charge(energy: Energy, rows: Rows, hour: float) -> Flags:
    """Which of `rows` should go to a station next; in the evening drivers do not wait until they must."""
    soc = energy.state_of_charge[rows]
    is_bev = ~energy.has_engine[rows]
    early = _EVENING_MARGIN if is_evening(hour) else 0.0
    return np.asarray(energy.can_charge[rows] & (soc < early + np.where(is_bev, 0.35, 0.2)))
