"""How cars move along their routes, and the power their wheels need. All arrays are `[n]` unless said otherwise.

Longitudinal dynamics: F = m·a + m·g·c_r + ½·ρ·c_w·A·v²; distance is the trapezoid of speed, so that the odometer
is the integral of speed exactly.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from simulator import world
from simulator.arrays import Flags, Floats, Rows

_COMFORT_BRAKE: Final = 1.7  # m/s²
_HARD_BRAKE: Final = 2.8  # m/s²
_ROLLING: Final = 0.011
_AIR_DENSITY: Final = 1.2  # kg/m³
_GRAVITY: Final = 9.81
_ARRIVED_M: Final = 1.5
_STOP_SPACING_M: Final = 1_100.0
"""Mean distance between red traffic lights in a town."""
_TOWN_LIMIT: Final = 50.0 / 3.6


@dataclass(slots=True)
class Motion:
    """Where each car is and how it moves; `points [n, 4, 2]`, `along [n, 4]`, `limits [n, 3]` in m/s."""

    mass_kg: Floats
    drag_m2: Floats
    pace: Floats
    """The driver's style: times the limit, and times the acceleration."""
    position: Floats
    speed: Floats
    acceleration: Floats
    odometer_m: Floats
    trip_m: Floats
    points: Floats
    along: Floats
    limits: Floats
    next_stop_m: Floats
    hold_until_s: Floats
    wheel_w: Floats
    heading: Floats
    road: float = 1.0
    """Share of the usual speed that the weather allows."""

    @classmethod
    def at(cls, position: Floats, mass_kg: Floats, drag_m2: Floats, pace: Floats, odometer_m: Floats) -> "Motion":
        """Cars that stand at `position [n, 2]`."""
        count = len(position)
        points = np.repeat(position[:, None, :], world.WAYPOINTS, axis=1)
        zeros = [np.zeros(count) for _ in range(7)]
        return cls(
            mass_kg=mass_kg,
            drag_m2=drag_m2,
            pace=pace,
            position=position.copy(),
            speed=zeros[0],
            acceleration=zeros[1],
            odometer_m=odometer_m.copy(),
            trip_m=zeros[2],
            points=points,
            along=np.zeros((count, world.WAYPOINTS)),
            limits=np.full((count, world.WAYPOINTS - 1), _TOWN_LIMIT),
            next_stop_m=zeros[3],
            hold_until_s=zeros[4],
            wheel_w=zeros[5],
            heading=zeros[6],
        )


def depart(motion: Motion, rows: Rows, destination: Floats, random: np.random.Generator) -> None:
    """Put the cars of `rows` on a route to `destination [rows, 2]`."""
    points = world.route(motion.position[rows], destination, random.random(len(rows)))
    motion.points[rows] = points
    motion.along[rows] = world.distances(points)
    motion.limits[rows] = world.limits_kmh(motion.along[rows]) / 3.6
    motion.trip_m[rows] = 0.0
    motion.next_stop_m[rows] = _next_stops(motion, rows, random)


def advance(motion: Motion, moving: Flags, now_s: float, step_s: float, random: np.random.Generator) -> Flags:
    """One step for all; returns which cars reached the end of their route."""
    before = motion.speed
    remaining = motion.along[:, -1] - motion.trip_m
    speed = np.where(moving & (now_s >= motion.hold_until_s), _next_speed(motion, remaining, step_s), 0.0)
    arrived = moving & (remaining < _ARRIVED_M) & (before < 2.5)
    speed[arrived] = 0.0
    mean = 0.5 * (before + speed)
    motion.acceleration = (speed - before) / step_s
    motion.wheel_w = wheel_power_w(motion, mean)
    motion.trip_m += mean * step_s
    motion.odometer_m += mean * step_s
    motion.speed = speed
    _hold_at_stops(motion, moving, now_s, random)
    _locate(motion, np.flatnonzero(moving))
    return arrived


def wheel_power_w(motion: Motion, speed: Floats) -> Floats:
    """Power at the wheels in W, negative when braking."""
    force = motion.mass_kg * (motion.acceleration + _GRAVITY * _ROLLING)
    force += 0.5 * _AIR_DENSITY * motion.drag_m2 * speed * speed
    return force * speed


def _next_speed(motion: Motion, remaining: Floats, step_s: float) -> Floats:
    limit = _limit(motion, np.arange(len(remaining))) * motion.pace * motion.road
    room = np.maximum(np.minimum(remaining, motion.next_stop_m - motion.trip_m), 0.0)
    allowed = np.minimum(limit, np.sqrt(2 * _COMFORT_BRAKE * room))
    fastest = motion.speed + step_s * 1.6 * motion.pace * np.maximum(1.0 - motion.speed / 60.0, 0.1)
    slowest = np.maximum(motion.speed - step_s * _HARD_BRAKE, 0.0)
    return np.clip(allowed, slowest, np.maximum(fastest, slowest))


def _hold_at_stops(motion: Motion, moving: Flags, now_s: float, random: np.random.Generator) -> None:
    at_stop = moving & (motion.speed < 0.8) & (motion.next_stop_m - motion.trip_m < 2.0)
    rows = np.flatnonzero(at_stop)
    if len(rows):
        motion.hold_until_s[rows] = now_s + random.uniform(4.0, 35.0, len(rows))
        motion.next_stop_m[rows] = _next_stops(motion, rows, random)


def _next_stops(motion: Motion, rows: Rows, random: np.random.Generator) -> Floats:
    """Red lights are rarer on faster roads."""
    spacing = _STOP_SPACING_M * (_limit(motion, rows) / _TOWN_LIMIT) ** 2
    return motion.trip_m[rows] + 80.0 + random.exponential(1.0, len(rows)) * spacing


def _limit(motion: Motion, rows: Rows) -> Floats:
    segment = world.segment_at(motion.along[rows], motion.trip_m[rows])
    return motion.limits[rows, segment]


def _locate(motion: Motion, rows: Rows) -> None:
    points, along, travelled = motion.points[rows], motion.along[rows], motion.trip_m[rows]
    motion.position[rows] = world.position_at(points, along, travelled)
    motion.heading[rows] = world.heading_degrees(points, along, travelled)
