"""How cars move along their routes, and the power their wheels need. All arrays are `[n]`.

Longitudinal dynamics: F = m·a + m·g·c_r + ½·ρ·c_w·A·v²; distance is the trapezoid of speed, so that the odometer
is the integral of speed exactly. Everything else about where a car is follows from its odometer.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from simulator.arrays import Flags, Floats, Integers, Rows, singles, where_true
from simulator.roadmap import MOTORWAY
from simulator.roads import Roads, Routes, Spots

_COMFORT_BRAKE: Final = 1.7  # m/s²
_HARD_BRAKE: Final = 2.8  # m/s²
_ROLLING: Final = 0.011
_AIR_DENSITY: Final = 1.2  # kg/m³
_GRAVITY: Final = 9.81
_ARRIVED_M: Final = 1.5
_STOP_SPACING_M: Final = 1_100.0
"""Mean distance between red traffic lights in a town."""
_TOWN_LIMIT: Final = 50.0 / 3.6
_TURN_COSINES: Final = np.array([0.3, 0.7, 0.95])
_TURN_SPEEDS: Final = np.array([6.0, 11.0, 18.0, np.inf], dtype=np.float32)
"""In m/s: below the first cosine of the turn a corner, then wider ones, above the last one straight on."""
_INTERCHANGE_SPEED: Final = 25.0


@dataclass(slots=True)
class Motion:
    """Where each car is and how it moves. Distances of a trip count from its beginning."""

    roads: Roads
    mass_kg: Floats
    drag_m2: Floats
    pace: Floats
    """The driver's style: times the limit, and times the acceleration."""
    speed: Floats
    acceleration: Floats
    wheel_w: Floats
    odometer_m: Floats
    departed_m: Floats
    """The odometer when the trip began."""
    route_m: Floats
    road: Integers
    """Present road, and the last one of the route."""
    last_road: Integers
    entered_m: Floats
    """Distance of the trip at which the present road begins; negative on the first one."""
    turn: Floats
    """Speed at the end of the present road, in m/s: for the turn, and the limit of the next one."""
    next_stop_m: Floats
    hold_until_s: Floats
    weather: float = 1.0
    """Share of the usual speed that the weather allows."""

    @classmethod
    def at(
        cls, roads: Roads, spots: Spots, mass_kg: Floats, drag_m2: Floats, pace: Floats, odometer_m: Floats
    ) -> "Motion":
        """Cars that stand at `spots [n]`."""
        count = len(spots.road)
        zeros = [np.zeros(count, dtype=np.float32) for _ in range(6)]
        return cls(
            roads=roads,
            mass_kg=singles(mass_kg),
            drag_m2=singles(drag_m2),
            pace=singles(pace),
            speed=zeros[0],
            acceleration=zeros[1],
            wheel_w=zeros[2],
            odometer_m=odometer_m.copy(),
            departed_m=odometer_m.copy(),
            route_m=zeros[3],
            road=spots.road.copy(),
            last_road=spots.road.copy(),
            entered_m=-spots.along_m,
            turn=zeros[4],
            next_stop_m=zeros[5],
            hold_until_s=np.zeros(count),
        )

    @property
    def trip_m(self) -> Floats:
        """Driven since the trip began, in m."""
        return np.asarray(self.odometer_m - self.departed_m)

    def trip_of(self, rows: Rows) -> Floats:
        """The same of some cars."""
        return np.asarray(self.odometer_m[rows] - self.departed_m[rows])

    def spots(self, rows: Rows) -> Spots:
        """Where the cars of `rows` are."""
        road = self.road[rows]
        along_m = self.trip_of(rows) - self.entered_m[rows]
        return Spots(road, singles(np.clip(along_m, 0.0, self.roads.length_m[road])))

    def heading_degrees(self, rows: Rows) -> Floats:
        """Direction of travel from north, clockwise."""
        ahead = self.roads.ahead[self.road[rows]]
        return np.asarray(np.degrees(np.arctan2(ahead[:, 0], ahead[:, 1])) % 360.0)


def stand(motion: Motion, rows: Rows, spots: Spots) -> None:
    """Put parked cars elsewhere."""
    motion.departed_m[rows] = motion.odometer_m[rows]
    motion.route_m[rows] = 0.0
    motion.road[rows] = motion.last_road[rows] = spots.road
    motion.entered_m[rows] = -spots.along_m


def depart(motion: Motion, rows: Rows, routes: Routes, random: np.random.Generator) -> None:
    """Put the cars of `rows` on their `routes [rows]`."""
    stand(motion, rows, routes.begin)
    motion.route_m[rows] = routes.length_m
    motion.last_road[rows] = routes.last
    _look_ahead(motion, rows)
    motion.next_stop_m[rows] = _next_stops(motion, rows, random)


def skip(motion: Motion, rows: Rows, driven_m: Floats) -> None:
    """Cars that have just departed have driven so far already; their odometers know it."""
    motion.departed_m[rows] -= driven_m
    motion.next_stop_m[rows] += driven_m
    _enter_roads(motion, rows)


def advance(motion: Motion, moving: Flags, now_s: float, step_s: float, random: np.random.Generator) -> Flags:
    """One step for all; returns which cars reached the end of their route."""
    before, trip_m = motion.speed, motion.trip_m
    remaining = motion.route_m - trip_m
    speed = np.where(moving & (now_s >= motion.hold_until_s), _next_speed(motion, trip_m, remaining, step_s), 0.0)
    arrived = moving & (remaining < _ARRIVED_M) & (before < 2.5)
    speed[arrived] = 0.0
    motion.speed = singles(speed)
    motion.acceleration = (motion.speed - before) / step_s
    mean = 0.5 * np.add(before, motion.speed, dtype=np.float64)
    motion.wheel_w = singles(wheel_power_w(motion, mean))
    motion.odometer_m += mean * step_s
    _hold_at_stops(motion, moving, now_s, random)
    _enter_roads(motion, where_true(moving))
    return np.asarray(arrived)


def wheel_power_w(motion: Motion, speed: Floats) -> Floats:
    """Power at the wheels in W, negative when braking."""
    force = motion.mass_kg * (motion.acceleration + _GRAVITY * _ROLLING)
    force += 0.5 * _AIR_DENSITY * motion.drag_m2 * singles(speed * speed)
    return force * speed


def _next_speed(motion: Motion, trip_m: Floats, remaining: Floats, step_s: float) -> Floats:
    style = motion.pace * motion.weather
    room = np.maximum(np.minimum(remaining, motion.next_stop_m - trip_m), 0.0)
    beyond_step_m = trip_m + motion.speed * step_s
    to_turn = np.maximum(motion.entered_m + motion.roads.length_m[motion.road] - beyond_step_m, 0.0)
    turning = np.sqrt((motion.turn * style) ** 2 + 2 * _COMFORT_BRAKE * to_turn)
    allowed = np.minimum(
        np.minimum(motion.roads.limit[motion.road] * style, turning), np.sqrt(2 * _COMFORT_BRAKE * room)
    )
    fastest = motion.speed + step_s * 1.6 * motion.pace * np.maximum(1.0 - motion.speed / 60.0, 0.1)
    slowest = np.maximum(motion.speed - step_s * _HARD_BRAKE, 0.0)
    return np.asarray(np.clip(allowed, slowest, np.maximum(fastest, slowest)))


def _hold_at_stops(motion: Motion, moving: Flags, now_s: float, random: np.random.Generator) -> None:
    slow = where_true(moving & (motion.speed < 0.8))
    rows = slow[motion.next_stop_m[slow] - motion.trip_of(slow) < 2.0]
    if len(rows):
        motion.hold_until_s[rows] = now_s + random.uniform(4.0, 35.0, len(rows))
        motion.next_stop_m[rows] = _next_stops(motion, rows, random)


def _next_stops(motion: Motion, rows: Rows, random: np.random.Generator) -> Floats:
    """Red lights are rarer on faster roads."""
    spacing = _STOP_SPACING_M * (motion.roads.limit[motion.road[rows]] / _TOWN_LIMIT) ** 2
    return motion.trip_of(rows) + 80.0 + random.exponential(1.0, len(rows)) * spacing


def _enter_roads(motion: Motion, rows: Rows) -> None:
    """Who has passed the end of a road is on the next one, or on a later one when roads are short."""
    while len(rows := rows[_is_beyond(motion, rows)]):
        road, last = motion.road[rows], motion.last_road[rows]
        motion.entered_m[rows] += motion.roads.length_m[road]
        motion.road[rows] = motion.roads.following(road, last)
        _look_ahead(motion, rows)


def _is_beyond(motion: Motion, rows: Rows) -> Flags:
    road = motion.road[rows]
    beyond = motion.trip_of(rows) - motion.entered_m[rows] > motion.roads.length_m[road]
    return np.asarray(beyond & ~_on_last_road(motion, rows))


def _on_last_road(motion: Motion, rows: Rows) -> Flags:
    """Not so at the beginning of a way round the block that ends on the road on which it began."""
    road = motion.road[rows]
    left_m = motion.route_m[rows] - motion.entered_m[rows]
    return np.asarray((road == motion.last_road[rows]) & (left_m <= motion.roads.length_m[road] + _ARRIVED_M))


def _look_ahead(motion: Motion, rows: Rows) -> None:
    """How fast the cars of `rows` may come to the end of their present roads."""
    road, last = motion.road[rows], motion.last_road[rows]
    following = motion.roads.following(road, last)
    cosine = (motion.roads.ahead[road] * motion.roads.ahead[following]).sum(axis=1)
    turn = _TURN_SPEEDS[np.searchsorted(_TURN_COSINES, cosine)]
    both = np.minimum(motion.roads.kind[road], motion.roads.kind[following])
    turn = np.where(both == MOTORWAY, np.maximum(turn, _INTERCHANGE_SPEED), turn)
    turn = np.minimum(turn, motion.roads.limit[following])
    motion.turn[rows] = np.where(_on_last_road(motion, rows), np.inf, turn)
