"""Places on the roads of a region: homes, work places, errands and charging sites; and where that is on earth."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from simulator import roadmap, roads
from simulator.arrays import Floats, Integers, singles, stream, where_true
from simulator.roads import Roads, Spots

CENTRE_LATITUDE: Final = 48.14
CENTRE_LONGITUDE: Final = 11.58
_EARTH_RADIUS_M: Final = 6_371_000.0
_WORK_CENTRES: Final = 6
_WORK_CENTRES_SPREAD_M: Final = 4_500.0
_WORKS_SPREAD_M: Final = 700.0
_SITES_SPREAD_M: Final = 4_500.0
_ERRANDS_SPREAD_M: Final = 4_000.0
_STATIONS_APART_M: Final = 5.0


@dataclass(frozen=True, slots=True)
class Places:
    """Where cars live and where their drivers work, `[n]` each."""

    homes: Spots
    works: Spots


def places(seed: int, count: int) -> Places:
    """Homes along the streets of the towns, work places around a few business quarters."""
    network = roads.of(seed)
    quarters = stream(seed, "work centres").normal(0.0, _WORK_CENTRES_SPREAD_M, (_WORK_CENTRES, 2))
    homes = _homes(network, seed, count)
    works = _nearer(quarters, network.position(homes), stream(seed, "work quarter").random((count, 2)))
    works = works + stream(seed, "works").normal(0.0, _WORKS_SPREAD_M, (count, 2))
    return Places(homes, around(network, works, stream(seed, "works along")))


def _nearer(quarters: Floats, homes: Floats, draws: Floats) -> Floats:
    """Of the two business quarters that each might work in, the one that is nearer to home, `[n, 2]`."""
    either = quarters[np.floor(_WORK_CENTRES * draws).astype(np.intp)]
    nearer = ((either - homes[:, None]) ** 2).sum(axis=2).argmin(axis=1)
    return np.asarray(either[np.arange(len(homes)), nearer])


def _homes(network: Roads, seed: int, count: int) -> Spots:
    """As many along a metre of every street."""
    streets = where_true(network.kind <= roadmap.MAIN_STREET)
    beyond_m = np.cumsum(network.length_m[streets], dtype=np.float64)
    drawn_m = stream(seed, "homes").random(count) * beyond_m[-1]
    place = np.searchsorted(beyond_m, drawn_m, side="right")
    road = streets[place].astype(np.int16)
    return Spots(road, singles(network.length_m[road] - (beyond_m[place] - drawn_m)))


def sites(seed: int, site_of_station: Integers) -> Spots:
    """Where stations stand, `[stations]`: those of a site side by side, at the beginning of a road."""
    network = roads.of(seed)
    count = int(site_of_station.max(initial=-1)) + 1
    centres = stream(seed, "sites").normal(0.0, _SITES_SPREAD_M, (count, 2))
    road = around(network, centres, stream(seed, "sites along")).road[site_of_station]
    first = np.searchsorted(site_of_station, site_of_station)
    along_m = 4.0 * _STATIONS_APART_M + _STATIONS_APART_M * (np.arange(len(site_of_station)) - first)
    return Spots(road, singles(along_m))


def errands(network: Roads, around_spots: Spots, random: np.random.Generator) -> Spots:
    """Somewhere within a few kilometres of each."""
    spread = random.normal(0.0, _ERRANDS_SPREAD_M, (len(around_spots.road), 2))
    return around(network, network.position(around_spots) + spread, random)


def around(network: Roads, position: Floats, random: np.random.Generator) -> Spots:
    """A point on a road near each `position [n, 2]`."""
    which, where = random.random((len(position), 2)).T
    return network.near(position, which, where)


def coordinates(position: Floats) -> tuple[Floats, Floats]:
    """Latitude and longitude in degrees of positions `[n, 2]`; flat earth around the centre."""
    latitude = CENTRE_LATITUDE + np.degrees(position[:, 1] / _EARTH_RADIUS_M)
    shrink = math.cos(math.radians(CENTRE_LATITUDE))
    return latitude, CENTRE_LONGITUDE + np.degrees(position[:, 0] / (_EARTH_RADIUS_M * shrink))
