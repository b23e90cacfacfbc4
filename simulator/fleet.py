"""The whole fleet as arrays, and one step for all of it.

`step` is the physics loop: drivers decide, cars move, energy flows, stations charge, parts warm up, wear and cool.
It returns what happened that devices tell as events. Nothing here knows about messages.
"""

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from simulator import charging, condition, contactors, energy, habits, motion, plans, queueing, weather
from simulator import stations as charging_stations
from simulator.arrays import Flags, Floats, Integers, Rows, singles, where_true
from simulator.charging import Chargeable, SessionStep
from simulator.condition import Condition
from simulator.contactors import Switched
from simulator.energy import Energy
from simulator.faults import ISOLATION_CAUSE, WORN_CAUSE
from simulator.identity import VehicleTraits
from simulator.motion import Motion
from simulator.plans import NOBODY, Mode, Place, Plans
from simulator.stations import Stations

IGNITION_S: Final = 12.0
"""From switching on to rolling."""
CRANKING_S: Final = 2.0
_RETRY_S: Final = 600.0
_AGES_EVERY_S: Final = 86_400.0
"""Batteries change in weeks: a step would be lost in rounding."""
_YEAR_S: Final = 365.25 * 86_400.0
_RESERVE_M: Final = 25_000.0
_RESERVE_TO_STATION_M: Final = 1_000.0


@dataclass(slots=True)
class Fleet:
    """Everything that moves. `now_s` is simulated time since the start, `start_s` the start since 1970."""

    traits: VehicleTraits
    start_s: float
    motion: Motion
    energy: Energy
    condition: Condition
    plans: Plans
    cars: Chargeable
    stations: Stations
    random: np.random.Generator
    worn_out: Flags
    """Cars whose pads nobody replaces."""
    begun: list[SessionStep] = field(default_factory=list)
    """Sessions that began before the first step; it tells them."""
    now_s: float = 0.0
    ambient: float = 15.0

    def __len__(self) -> int:
        return len(self.traits)

    @property
    def local_s(self) -> float:
        """The clock of the region."""
        return habits.local_s(self.start_s + self.now_s)

    @property
    def hour(self) -> float:
        """Hour of day in the region."""
        return self.local_s % habits.DAY_S / 3_600.0

    @property
    def mode_s(self) -> Floats:
        """Seconds since each car began what it does."""
        return self.now_s - self.plans.since_s

    @property
    def cranking(self) -> Flags:
        """Cars whose engine is being started by the 12 V battery."""
        has_starter = ~self.energy.has_battery
        return self.plans.driving & has_starter & (self.mode_s < CRANKING_S)


@dataclass(slots=True)
class Happened:
    """What one step brought: rows of cars that set off and arrived, steps of charging sessions, what broke for good."""

    departed: list[int] = field(default_factory=list)
    arrived: list[int] = field(default_factory=list)
    sessions: list[SessionStep] = field(default_factory=list)
    serviced: list[int] = field(default_factory=list)
    """Cars that were brought to their regular service."""
    failed: list[int] = field(default_factory=list)
    """Stations that had to stop because their insulation is gone."""
    contactors: Switched = contactors.NOTHING


def step(fleet: Fleet, step_s: float) -> Happened:
    """Advance the whole fleet by `step_s` of simulated time."""
    happened = Happened(sessions=fleet.begun)
    fleet.begun = []
    fleet.now_s += step_s
    now = weather.at(fleet.traits.seed, fleet.start_s + fleet.now_s)
    fleet.ambient, fleet.motion.weather = now.celsius, now.road
    _depart(fleet, happened)
    _move(fleet, step_s, happened)
    _charge(fleet, step_s, happened)
    for station in charging_stations.fade(fleet.stations, step_s).tolist():
        charging.fail(fleet.stations, station, ISOLATION_CAUSE, fleet.now_s)
        happened.failed.append(station)
    happened.contactors = contactors.advance(fleet.stations, fleet.now_s)
    for station in happened.contactors.stuck.tolist():
        charging.fail(fleet.stations, station, WORN_CAUSE, fleet.now_s)
    _age(fleet, step_s, happened)
    if fleet.now_s % _AGES_EVERY_S < step_s:
        _grow_older(fleet)
    return happened


def _depart(fleet: Fleet, happened: Happened) -> None:
    parked = fleet.plans.mode == Mode.PARKED
    rows = where_true(parked & (fleet.now_s >= fleet.plans.departs_s))
    if len(rows):
        happened.departed.extend(send_off(fleet, rows).tolist())


def send_off(fleet: Fleet, rows: Rows) -> Rows:
    """Send the cars of `rows` somewhere; returns those that could go (the others retry later)."""
    network = fleet.motion.roads
    place, goal = plans.next_places(fleet.plans, network, rows, fleet.local_s, fleet.random)
    station = _stations_for(fleet, rows)
    to_station = station != NOBODY
    place[to_station] = Place.SITE
    goal = goal.replaced(to_station, fleet.stations.spots.of(station[to_station]))
    routes = network.routes(fleet.motion.spots(rows), goal)
    _refuel(fleet.energy, rows)
    reach = energy.range_m(fleet.energy, fleet.motion.mass_kg, rows)
    can_go = reach > 1.2 * routes.length_m + np.where(to_station, _RESERVE_TO_STATION_M, _RESERVE_M)
    fleet.plans.departs_s[rows[~can_go]] = fleet.now_s + _RETRY_S
    _release(fleet, rows[to_station & ~can_go], station[to_station & ~can_go])
    going: Rows = rows[can_go]
    queueing.leave(fleet.plans, going)
    fleet.plans.station[going] = station[can_go]
    motion.depart(fleet.motion, going, routes.of(can_go), fleet.random)
    plans.begin_trip(fleet.plans, going, place[can_go], fleet.now_s)
    fleet.motion.hold_until_s[going] = fleet.now_s + IGNITION_S
    fleet.energy.fuel_used_l[going] = 0.0
    fleet.energy.battery_used_wh[going] = 0.0
    return going


def _release(fleet: Fleet, rows: Rows, stations: Integers) -> None:
    """Cars that do not go after all give back what was kept for them."""
    kept = fleet.stations.reserved[stations] == rows
    fleet.stations.reserved[stations[kept]] = NOBODY


def _stations_for(fleet: Fleet, rows: Rows) -> Integers:
    station: Integers = np.full(len(rows), NOBODY, dtype=np.int32)
    for place in where_true(charging.wants_charge(fleet.energy, rows, fleet.hour)):
        row = rows[place]
        can_dc = bool(fleet.cars.dc_max_w[row] > 0)
        distance_m = _to_stations_m(fleet, row)
        found = charging.free_station(fleet.stations, distance_m, can_dc, can_dc)
        if found != NOBODY:
            fleet.stations.reserved[found] = row
        elif fleet.plans.place[row] != Place.SITE:  # who has just waited in vain goes elsewhere first
            found = queueing.shortest(fleet.stations, fleet.plans, distance_m, can_dc)
        station[place] = found
    return station


def _to_stations_m(fleet: Fleet, row: int) -> Floats:
    """By the roads, roughly, `[stations]`."""
    road = fleet.motion.road[row]
    return np.asarray(fleet.motion.roads.metres[fleet.motion.roads.end[road]][fleet.stations.junction])


def _refuel(state: Energy, rows: Rows) -> None:
    low = rows[state.has_engine[rows] & (state.fuel_l[rows] < 0.15 * state.tank_l[rows])]
    state.fuel_l[low] = 0.96 * state.tank_l[low]


def _move(fleet: Fleet, step_s: float, happened: Happened) -> None:
    driving = fleet.plans.driving
    arrived = motion.advance(fleet.motion, driving, fleet.now_s, step_s, fleet.random)
    energy.advance(fleet.energy, driving, fleet.motion.wheel_w, fleet.motion.speed, fleet.now_s, step_s)
    rows = where_true(arrived)
    if not len(rows):
        return
    happened.arrived.extend(rows.tolist())
    plans.park(fleet.plans, rows, fleet.now_s, fleet.local_s, fleet.random)
    for vehicle in rows[fleet.plans.station[rows] != NOBODY].tolist():
        station = int(fleet.plans.station[vehicle])
        is_free = fleet.stations.vehicle[station] == NOBODY
        if fleet.stations.faulted[station]:
            _release(fleet, np.array([vehicle]), np.array([station]))
            fleet.plans.station[vehicle] = NOBODY
        elif is_free and fleet.stations.reserved[station] in (NOBODY, vehicle):
            _plug_in(fleet, vehicle, station, happened)
        else:
            queueing.join(fleet.plans, vehicle, fleet.now_s)


def _plug_in(fleet: Fleet, vehicle: int, station: int, happened: Happened) -> None:
    stations = fleet.stations
    stations.linger_s[station] = charging.linger_s(fleet.random, fleet.hour, bool(stations.is_dc[station]))
    queueing.leave(fleet.plans, np.array([vehicle]))
    begun = charging.plug_in(stations, fleet.plans, fleet.cars, vehicle, station, fleet.now_s)
    happened.sessions.append(begun)


def _charge(fleet: Fleet, step_s: float, happened: Happened) -> None:
    steps = charging.advance(fleet.stations, fleet.cars, fleet.energy, fleet.ambient, fleet.now_s, step_s)
    for change in steps:
        if change.phase == "Ended":
            charging.unplug(fleet.stations, fleet.plans, change.vehicle, change.station, fleet.now_s)
    happened.sessions.extend(steps)
    for station in queueing.wanted(fleet.stations, fleet.plans).tolist():
        vehicle = queueing.next_in_line(fleet.stations, fleet.plans, fleet.cars, station)
        if vehicle != NOBODY:
            _plug_in(fleet, vehicle, station, happened)


def _age(fleet: Fleet, step_s: float, happened: Happened) -> None:
    state, driving = fleet.condition, fleet.plans.driving
    ambient = fleet.ambient + state.ambient_offset
    noise = fleet.random.standard_normal(len(fleet), dtype=np.float32)
    condition.advance_temperatures(state, ambient, fleet.energy.engine_on, driving, fleet.motion.speed, step_s)
    energy.settle(fleet.energy)
    heat_w = fleet.energy.pack_a**2 * energy.pack_resistance(fleet.energy)
    condition.advance_battery_temperature(state, ambient, heat_w, fleet.energy.capacity_wh, step_s)
    cranking = fleet.cranking
    charged = (driving & ~cranking) | fleet.cars.is_charging
    condition.advance_low_voltage(state, ambient, charged, cranking, singles(fleet.mode_s), noise)
    condition.advance_tyres(state, step_s)
    condition.wear_brakes(state, fleet.energy.friction_w, fleet.worn_out, step_s)
    if fleet.now_s % condition.OIL_EVERY_S < step_s:
        condition.wear_oil(state, fleet.energy.engine_on, fleet.motion.speed, condition.OIL_EVERY_S)
        came = condition.service(state, fleet.motion.odometer_m, fleet.energy.has_engine, ~driving, fleet.random)
        happened.serviced.extend(came.tolist())


def _grow_older(fleet: Fleet) -> None:
    condition.age_low_voltage(fleet.condition, _AGES_EVERY_S / _YEAR_S)
    energy.age_batteries(fleet.energy, _AGES_EVERY_S / _YEAR_S)
