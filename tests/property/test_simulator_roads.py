"""Laws of the road network of every seed, and of the cars on it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from simulator import fleet as fleets
from simulator import roadmap, roads, world
from simulator.engine import Engine
from simulator.roads import Spots
from tests.simulator_world import NO_FAULTS, START_MS, settings

few = hypothesis_settings(max_examples=5, deadline=None)
seeds = st.integers(0, 2**31)


def _random_spots(network, random, count):
    road = random.integers(0, len(network.begin), count).astype(np.int16)
    return Spots(road, (random.random(count) * network.length_m[road]).astype(np.float32))


def _driven(network, route_begin, last, length_m):
    """Follow the signposts: the roads of one route, and how many metres are left when the last one begins."""
    road, left_m, passed = int(route_begin.road), float(length_m + route_begin.along_m), []
    while not (road == last and left_m <= network.length_m[road] + 1.0):
        passed.append(road)
        left_m -= float(network.length_m[road])
        road = int(network.following(np.array([road]), np.array([last]))[0])
        assert len(passed) < len(network.junctions), "a route leads round and round"
    return [*passed, road], left_m


@few
@given(seeds)
def test_every_road_has_a_way_back_and_joins_the_junctions_it_says(seed):
    network = roads.of(seed)
    back = network.reverse
    assert (network.reverse[back] == np.arange(len(back))).all()
    assert (network.begin[back] == network.end).all()
    assert (network.kind[back] == network.kind).all()
    way = network.junctions[network.end] - network.junctions[network.begin]
    assert np.allclose(np.hypot(*way.T), network.length_m, atol=0.01)
    assert np.allclose(network.ahead * network.length_m[:, None], way, atol=0.01)
    assert {roadmap.STREET, roadmap.MAIN_STREET, roadmap.ARTERIAL, roadmap.MOTORWAY} == set(network.kind.tolist())
    assert np.allclose(network.limit * 3.6, np.array(roadmap.LIMIT_KMH)[network.kind], atol=0.01)


@few
@given(seeds)
def test_signposts_lead_along_roads_to_the_goal_in_the_length_and_time_that_the_tables_say(seed):
    network, random = roads.of(seed), np.random.default_rng(seed)
    for here, goal in random.integers(0, len(network.junctions), (50, 2)):
        at, metres = here, 0.0
        while at != goal:
            road = network.next_road[at, goal]
            assert network.begin[road] == at
            assert network.seconds[network.end[road], goal] < network.seconds[at, goal], "each road brings it nearer"
            metres += float(network.length_m[road])
            at = network.end[road]
        assert abs(metres - network.metres[here, goal]) < 1.0


@few
@given(seeds)
def test_no_road_offers_a_short_cut_to_a_fastest_way(seed):
    network = roads.of(seed)
    takes_s = network.length_m / network.limit
    by_road = takes_s[:, None] + network.seconds[network.end]
    assert (network.seconds[network.begin] <= by_road + 5.0).all(), "at most the cost of a junction"


@few
@given(seeds)
def test_a_route_begins_where_the_car_is_and_ends_at_the_goal(seed):
    network, random = roads.of(seed), np.random.default_rng(seed)
    start, goal = _random_spots(network, random, 60), _random_spots(network, random, 60)
    routes = network.routes(start, goal)
    assert np.allclose(network.position(routes.begin), network.position(start), atol=0.1)
    for row in range(60):
        begin = routes.begin.of(np.array([row]))
        of_row = Spots(begin.road[0], begin.along_m[0])
        passed, left_m = _driven(network, of_row, int(routes.last[row]), routes.length_m[row])
        end = network.position(Spots(np.array(passed[-1:], dtype=np.int16), np.array([left_m])))
        assert np.allclose(end, network.position(goal.of(np.array([row]))), atol=1.0)


def test_two_points_of_one_road_are_joined_directly_in_both_directions():
    network = roads.of(1)
    road = np.array([0, 0], dtype=np.int16)
    routes = network.routes(Spots(road, np.array([10.0, 60.0])), Spots(road, np.array([60.0, 10.0])))
    assert routes.length_m.tolist() == pytest.approx([50.0, 50.0])
    assert routes.begin.road.tolist() == [0, network.reverse[0]]


@few
@given(seeds)
def test_homes_work_places_and_stations_lie_on_roads_and_are_the_same_in_a_larger_fleet(seed):
    network = roads.of(seed)
    small, large = world.places(seed, 20), world.places(seed, 50)
    for few_spots, many in ((small.homes, large.homes), (small.works, large.works)):
        assert (few_spots.road == many.road[:20]).all()
        assert (few_spots.along_m == many.along_m[:20]).all()
    sites = world.sites(seed, np.arange(12) // 4)
    for spots in (*(large.homes, large.works), sites):
        assert ((spots.along_m >= 0) & (spots.along_m <= network.length_m[spots.road])).all()
    assert (network.kind[large.homes.road] <= roadmap.MAIN_STREET).all(), "nobody lives on a motorway"
    apart = np.hypot(*np.diff(network.position(sites)[:4], axis=0).T)
    assert np.allclose(apart, 5.0, atol=0.01)


@few
@given(seeds)
def test_cars_stay_on_their_roads_within_the_limits_and_arrive_where_they_were_going(seed):
    engine = Engine(settings(faults=NO_FAULTS, seed=seed, vehicles=160, stations=4), START_MS)
    fleet, motion, rows = engine.fleet, engine.fleet.motion, np.arange(160)
    before, arrived, classes = motion.roads.position(motion.spots(rows)), 0, set()
    for _ in range(900):
        happened = fleets.step(fleet, 1.0)
        driving = np.flatnonzero(fleet.plans.driving)
        limit = motion.roads.limit[motion.road[driving]] * motion.pace[driving] * motion.weather
        slows = motion.acceleration[driving] < -1e-3  # it may have begun to rain
        assert (slows | (motion.speed[driving] <= limit * (1 + 1e-5))).all()
        now = motion.roads.position(motion.spots(rows))
        assert (np.hypot(*(now - before).T) <= motion.speed + 5.0).all(), "no car jumps"
        before = now
        classes |= set(motion.roads.kind[motion.road[driving]].tolist())
        for row in happened.arrived:
            assert motion.road[row] == motion.last_road[row]
            assert abs(motion.route_m[row] - motion.trip_m[row]) < 6.0
            arrived += 1
    assert arrived > 3
    assert len(classes) >= 3, "they drive on all classes of road, though few on motorways"
