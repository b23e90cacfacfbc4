"""Drawing a region: a city and towns with streets, arterial roads between them, a motorway ring with spokes.

Everything is drawn from one seeded stream. Roads that cross without a common junction pass over each other.
"""

import math
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np

from simulator.arrays import Floats, stream

STREET, MAIN_STREET, ARTERIAL, MOTORWAY = range(4)
LIMIT_KMH: Final = (30.0, 50.0, 80.0, 120.0)
"""Speed limit of each class of road."""
RADIUS_M: Final = 30_000.0
"""No junction is further from the centre, east or north."""

_CITY_SIDE: Final = 15
_CITY_STREET_M: Final = 400.0
_TOWNS: Final = 12
_TOWN_SIDES: Final = (4, 7)
_TOWN_STREET_M: Final = 220.0
_TOWN_RADII_M: Final = (12_000.0, 27_000.0)
_TOWNS_APART_M: Final = 6_500.0
_JITTER: Final = 0.2
_MAIN_EVERY: Final = 4
_CROSS_STREETS: Final = 0.8
"""Share of the possible streets between two neighbouring rows of a town that exist."""
_BEND: Final = 0.12
_RING_JUNCTIONS: Final = 12
_RING_M: Final = 9_000.0
_SPOKES_FROM: Final = (0, 3, 6, 9)
_SPOKE_RADII_M: Final = (16_000.0, 24_000.0)


class Link(NamedTuple):
    """A road between two junctions, for both directions."""

    a: int
    b: int
    kind: int


@dataclass(slots=True)
class Drawing:
    """Junctions, in metres east and north of the centre, and the links between them."""

    junctions: list[tuple[float, float]] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)

    def junction(self, east: float, north: float) -> int:
        self.junctions.append((float(np.clip(east, -RADIUS_M, RADIUS_M)), float(np.clip(north, -RADIUS_M, RADIUS_M))))
        return len(self.junctions) - 1

    def link(self, a: int, b: int, kind: int) -> None:
        self.links.append(Link(a, b, kind))

    def nearest(self, place: Floats, among: list[int]) -> int:
        """The junction of `among` that is nearest to `place [2]`."""
        squares = ((np.array([self.junctions[number] for number in among]) - place) ** 2).sum(axis=1)
        return among[int(np.argmin(squares))]


def draw(seed: int) -> Drawing:
    """The region of a seed; every junction can be reached from every other."""
    random, drawing = stream(seed, "roads"), Drawing()
    centres = _town_centres(random)
    towns = [_town(drawing, random, centres[0], _CITY_SIDE, _CITY_STREET_M)]
    for centre in centres[1:]:
        side = int(random.integers(*_TOWN_SIDES))
        towns += [_town(drawing, random, centre, side, _TOWN_STREET_M)]
    for one, other in _neighbours(centres):
        _arterial(
            drawing, random, drawing.nearest(centres[other], towns[one]), drawing.nearest(centres[one], towns[other])
        )
    _motorways(drawing, random, [number for town in towns for number in town])
    return drawing


def _town_centres(random: np.random.Generator) -> Floats:
    """The city in the middle, the towns around it."""
    centres = [np.zeros(2)]
    while len(centres) <= _TOWNS:
        angle, radius = random.uniform(0.0, 2.0 * math.pi), random.uniform(*_TOWN_RADII_M)
        place = radius * np.array([math.cos(angle), math.sin(angle)])
        if np.hypot(*(np.array(centres) - place).T).min() > _TOWNS_APART_M:
            centres.append(place)
    return np.array(centres)


def _town(drawing: Drawing, random: np.random.Generator, centre: Floats, side: int, street_m: float) -> list[int]:
    """Streets in rows and columns that are not quite straight. Rows, the first and the main columns have no holes."""
    grid = np.indices((side, side)).reshape(2, -1).T - (side - 1) / 2 + random.uniform(-_JITTER, _JITTER, (side**2, 2))
    turn = random.uniform(0.0, 0.5 * math.pi)
    across = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    places = centre + street_m * grid @ across
    numbers = [drawing.junction(*place) for place in places.tolist()]
    main = {place for place in range(side) if place % _MAIN_EVERY == side // 2 % _MAIN_EVERY}
    for row in range(side):
        for column in range(side):
            here = numbers[row * side + column]
            if column + 1 < side:
                drawing.link(here, numbers[row * side + column + 1], MAIN_STREET if row in main else STREET)
            if row + 1 < side and (column in main or not column or random.random() < _CROSS_STREETS):
                drawing.link(here, numbers[(row + 1) * side + column], MAIN_STREET if column in main else STREET)
    return numbers


def _neighbours(centres: Floats) -> list[tuple[int, int]]:
    """Gabriel graph: two towns are neighbours when no third lies in the circle between them. It is connected."""
    squares = ((centres[:, None] - centres[None]) ** 2).sum(axis=2)
    count = len(centres)
    return [
        (one, other)
        for one in range(count)
        for other in range(one + 1, count)
        if not any(
            squares[one, third] + squares[other, third] < squares[one, other]
            for third in range(count)
            if third not in (one, other)
        )
    ]


def _arterial(drawing: Drawing, random: np.random.Generator, begin: int, end: int) -> None:
    """With a bend or two."""
    first, last = np.array(drawing.junctions[begin]), np.array(drawing.junctions[end])
    way = last - first
    bends = 1 + int(np.hypot(*way) > 8_000.0)
    before = begin
    for bend in range(1, bends + 1):
        sideways = np.array([-way[1], way[0]]) * random.uniform(-_BEND, _BEND)
        here = drawing.junction(*(first + way * bend / (bends + 1) + sideways))
        drawing.link(before, here, ARTERIAL)
        before = here
    drawing.link(before, end, ARTERIAL)


def _motorways(drawing: Drawing, random: np.random.Generator, in_towns: list[int]) -> None:
    """Each of their junctions has a feeder to the nearest town."""
    begin = random.uniform(0.0, 2.0 * math.pi)
    angles = begin + 2.0 * math.pi * np.arange(_RING_JUNCTIONS) / _RING_JUNCTIONS

    def placed(angle: float, radius_m: float) -> int:
        radius_m *= random.uniform(0.95, 1.05)
        number = drawing.junction(radius_m * math.cos(angle), radius_m * math.sin(angle))
        drawing.link(number, drawing.nearest(np.array(drawing.junctions[number]), in_towns), ARTERIAL)
        return number

    ring = [placed(angle, _RING_M) for angle in angles]
    for one, other in zip(ring, [*ring[1:], ring[0]], strict=True):
        drawing.link(one, other, MOTORWAY)
    for spoke in _SPOKES_FROM:
        before = ring[spoke]
        for radius_m in _SPOKE_RADII_M:
            here = placed(angles[spoke], radius_m)
            drawing.link(before, here, MOTORWAY)
            before = here
