"""Days of many drivers without the physics of their cars: who goes where and when, by the minute."""

from typing import NamedTuple

import numpy as np

from simulator import genesis, habits, plans, roads, world
from simulator.arrays import Floats, stream
from simulator.plans import Mode
from simulator.roads import Spots

MONDAY_S = 1_779_663_600.0
"""2026-05-25, midnight in the region."""
_MEAN_M_PER_S = 12.0
_STEP_S = 60.0


class Driven(NamedTuple):
    """Of each driver: in a day."""

    kilometres: Floats
    trips: Floats


def driven(seed: int, count: int, days: int = 7) -> Driven:
    """What the first `count` drivers of a seed drive, from a Monday on."""
    network, random = roads.of(seed), stream(seed, "days")
    state = genesis._at_home_or_work(world.places(seed, count), seed, count, MONDAY_S, random)
    spots = Spots(*(each.copy() for each in genesis._standing(state)))
    arrives_s, kilometres, trips = np.full(count, np.inf), np.zeros(count), np.zeros(count)
    for now_s in np.arange(0.0, days * habits.DAY_S, _STEP_S).tolist():
        at_s = habits.local_s(MONDAY_S + now_s)
        if len(rows := np.flatnonzero(arrives_s <= now_s)):
            arrives_s[rows] = np.inf
            plans.park(state, rows, now_s, at_s, random)
        if len(rows := np.flatnonzero((state.mode == Mode.PARKED) & (state.departs_s <= now_s))):
            place, goal = plans.next_places(state, network, rows, at_s, random)
            length_m = network.routes(spots.of(rows), goal).length_m
            spots.road[rows], spots.along_m[rows] = goal
            plans.begin_trip(state, rows, place, now_s)
            arrives_s[rows] = now_s + length_m / _MEAN_M_PER_S
            kilometres[rows] += length_m / 1_000.0
            trips[rows] += 1
    return Driven(kilometres / days, trips / days)
