"""Places and roads: a region with a street every 500 m, homes, work places, errands and charging sites.

Positions are metres east and north of a centre. The street grid is turned a little against north. A trip follows
three streets: along the one it starts on, across on another, and along the one of its destination.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from simulator.arrays import Floats, Integers, stream

CENTRE_LATITUDE: Final = 48.14
CENTRE_LONGITUDE: Final = 11.58
STREET_SPACING_M: Final = 500.0
WAYPOINTS: Final = 4
_TURN_RADIANS: Final = math.radians(17.0)
_EARTH_RADIUS_M: Final = 6_371_000.0
_WORK_CENTRES: Final = 6
_HOMES_SPREAD_M: Final = 7_000.0
_RADIUS_MAX_M: Final = 30_000.0

# (segments shorter than this, are driven at up to this speed): town, main road, fast road
_LIMIT_OF_LENGTH: Final = ((1_500.0, 50.0), (5_000.0, 70.0), (12_000.0, 100.0), (math.inf, 120.0))


@dataclass(frozen=True, slots=True)
class Places:
    """Positions `[n, 2]`: where cars live and where their drivers work."""

    homes: Floats
    works: Floats


def places(seed: int, count: int) -> Places:
    """Homes around the centre, work places around a few business quarters."""
    homes = stream(seed, "homes").normal(0.0, _HOMES_SPREAD_M, (count, 2))
    quarters = stream(seed, "work centres").normal(0.0, 0.6 * _HOMES_SPREAD_M, (_WORK_CENTRES, 2))
    quarter = np.floor(_WORK_CENTRES * stream(seed, "work quarter").random(count)).astype(np.int64)
    works = quarters[quarter] + stream(seed, "works").normal(0.0, 700.0, (count, 2))
    return Places(on_street(homes), on_street(works))


def sites(seed: int, site_of_station: Integers) -> Floats:
    """Positions `[stations, 2]`; stations of a site stand 5 m apart along its street."""
    count = int(site_of_station.max(initial=-1)) + 1
    site = on_street(stream(seed, "sites").normal(0.0, 0.5 * _HOMES_SPREAD_M, (count, 2)))
    position = site[site_of_station]
    position[:, 0] += 5.0 * (np.arange(len(site_of_station)) - site_of_station * 4)
    return position


def on_street(position: Floats) -> Floats:
    """The nearest point on an east-west street, within the region."""
    inside = np.clip(position, -_RADIUS_MAX_M, _RADIUS_MAX_M)
    inside[:, 1] = np.round(inside[:, 1] / STREET_SPACING_M) * STREET_SPACING_M
    return inside


def route(start: Floats, end: Floats, bend: Floats) -> Floats:
    """Way points `[n, 4, 2]` from `start` to `end`, both `[n, 2]`; `bend` in 0..1 says where to cross over."""
    crossing = start[:, 0] + bend * (end[:, 0] - start[:, 0])
    crossing = np.round(crossing / STREET_SPACING_M) * STREET_SPACING_M
    points = np.empty((len(start), WAYPOINTS, 2))
    points[:, 0] = start
    points[:, 1, 0], points[:, 1, 1] = crossing, start[:, 1]
    points[:, 2, 0], points[:, 2, 1] = crossing, end[:, 1]
    points[:, 3] = end
    return points


def distances(points: Floats) -> Floats:
    """Metres from the start to each way point, `[n, 4]`."""
    lengths = np.abs(np.diff(points, axis=1)).sum(axis=2)  # segments run along an axis
    return np.concatenate([np.zeros((len(points), 1)), np.cumsum(lengths, axis=1)], axis=1)


def limits_kmh(along: Floats) -> Floats:
    """Speed limit of each segment, `[n, 3]`, from the distances to the way points."""
    lengths = np.diff(along, axis=1)
    limits = np.full(lengths.shape, _LIMIT_OF_LENGTH[-1][1])
    for length, limit in reversed(_LIMIT_OF_LENGTH[:-1]):
        limits[lengths < length] = limit
    return limits


def segment_at(along: Floats, travelled: Floats) -> Integers:
    """Which segment (0 to 2) a car is on after `travelled` metres, `[n]`."""
    return np.asarray((travelled[:, None] >= along[:, 1:3]).sum(axis=1))


def position_at(points: Floats, along: Floats, travelled: Floats) -> Floats:
    """Where a car is after `travelled` metres, `[n, 2]`."""
    rows = np.arange(len(points))
    segment = segment_at(along, travelled)
    begin, end = points[rows, segment], points[rows, segment + 1]
    length = along[rows, segment + 1] - along[rows, segment]
    share = (travelled - along[rows, segment]) / np.where(length > 0, length, 1.0)
    return begin + (end - begin) * np.clip(share, 0.0, 1.0)[:, None]


def heading_degrees(points: Floats, along: Floats, travelled: Floats) -> Floats:
    """Direction of travel from north, clockwise, `[n]`."""
    rows = np.arange(len(points))
    segment = segment_at(along, travelled)
    step = points[rows, segment + 1] - points[rows, segment]
    east, north = _turned(step)
    return np.degrees(np.arctan2(east, north)) % 360.0


def coordinates(position: Floats) -> tuple[Floats, Floats]:
    """Latitude and longitude in degrees of positions `[n, 2]`; flat earth around the centre."""
    east, north = _turned(position)
    latitude = CENTRE_LATITUDE + np.degrees(north / _EARTH_RADIUS_M)
    shrink = math.cos(math.radians(CENTRE_LATITUDE))
    return latitude, CENTRE_LONGITUDE + np.degrees(east / (_EARTH_RADIUS_M * shrink))


def _turned(position: Floats) -> tuple[Floats, Floats]:
    cosine, sine = math.cos(_TURN_RADIANS), math.sin(_TURN_RADIANS)
    return cosine * position[:, 0] - sine * position[:, 1], sine * position[:, 0] + cosine * position[:, 1]
