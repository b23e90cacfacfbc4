"""The road network of a seed, and the fastest way between any two points of it.

A road has one direction; the way back is its `reverse`. A point is a road and the metres along it (`Spots`). Fastest
ways are computed once for all pairs of junctions: a car that comes to a junction looks up its next road, so that a
fleet of any size shares one table and a car keeps its present road and its last one.
"""

import functools
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from simulator import roadmap
from simulator.arrays import Flags, Floats, Integers, Rows

_JUNCTION_S: Final = 4.0
"""What a junction costs, but on motorways."""
_CELLS: Final = 120
_CELL_M: Final = 2.0 * roadmap.RADIUS_M / _CELLS


class Spots(NamedTuple):
    """Points on roads, `[n]` each."""

    road: Integers
    along_m: Floats

    def of(self, rows: Rows | Flags) -> "Spots":
        """Some of them."""
        return Spots(self.road[rows], self.along_m[rows])

    def replaced(self, chosen: Flags, others: "Spots") -> "Spots":
        """These, but `others [chosen]` where `chosen`."""
        road, along_m = self.road.copy(), self.along_m.copy()
        road[chosen], along_m[chosen] = others
        return Spots(road, along_m)

    def where(self, chosen: Flags, others: "Spots") -> "Spots":
        """These where `chosen`, else the others."""
        return Spots(np.where(chosen, self.road, others.road), np.where(chosen, self.along_m, others.along_m))


class Routes(NamedTuple):
    """Fastest ways, `[n]` each: where they begin (a car may have to turn round), their last road, how long."""

    begin: Spots
    last: Integers
    length_m: Floats

    def of(self, rows: Rows | Flags) -> "Routes":
        """Some of them."""
        return Routes(self.begin.of(rows), self.last[rows], self.length_m[rows])


@dataclass(frozen=True, slots=True)
class Roads:
    """Arrays by road, junction `[junctions, 2]` in metres east and north, and tables `[junctions, junctions]`."""

    junctions: Floats
    begin: Integers
    end: Integers
    kind: Integers
    reverse: Integers
    length_m: Floats
    limit: Floats
    """Speed limit in m/s."""
    ahead: Floats
    """Unit vector of the direction, `[roads, 2]`."""
    first_out: Integers
    """The first road that leaves each junction; they are side by side, `[junctions + 1]`."""
    next_road: Integers
    """By present junction and goal."""
    seconds: Floats
    metres: Floats
    """Of the fastest way."""
    nearest: Integers
    """The nearest junction by cell of the region."""

    def position(self, spots: Spots) -> Floats:
        """Metres east and north of the centre, `[n, 2]`."""
        road = spots.road
        return self.junctions[self.begin[road]] + self.ahead[road] * spots.along_m[:, None]

    def near(self, position: Floats, which: Floats, where: Floats) -> Spots:
        """A point on a road at the junction nearest to each `position [n, 2]`; `which` road and `where` are 0 to 1."""
        cell = np.clip((position + roadmap.RADIUS_M) // _CELL_M, 0, _CELLS - 1).astype(np.intp)
        junction = self.nearest[cell[:, 0], cell[:, 1]]
        first, beyond = self.first_out[junction], self.first_out[junction + 1]
        road = (first + np.floor(which * (beyond - first)).astype(np.intp)).astype(np.int16)
        return Spots(road, (where * self.length_m[road]).astype(np.float32))

    def turned(self, spots: Spots) -> Spots:
        """The same points in the other direction."""
        return Spots(self.reverse[spots.road], self.length_m[spots.road] - spots.along_m)

    def routes(self, start: Spots, goal: Spots) -> Routes:
        """The fastest of the ways that begin and end in either direction, `[n]`."""
        best_s = np.full(len(start.road), np.inf)
        begin, last, length_m = start, goal.road, np.zeros(len(start.road), dtype=np.float32)
        for leaving in (start, self.turned(start)):
            for arriving in (goal, self.turned(goal)):
                metres, seconds = self._way(leaving, arriving)
                better = seconds < best_s
                best_s = np.where(better, seconds, best_s)
                begin, last = leaving.where(better, begin), np.where(better, arriving.road, last)
                length_m = np.where(better, metres, length_m)
        return Routes(begin, last, length_m)

    def _way(self, leaving: Spots, arriving: Spots) -> tuple[Floats, Floats]:
        """Metres and seconds from one point to the other, both roads in the given direction."""
        out_m = self.length_m[leaving.road] - leaving.along_m
        via = self.end[leaving.road], self.begin[arriving.road]
        out_s, in_s = out_m / self.limit[leaving.road], arriving.along_m / self.limit[arriving.road]
        metres, seconds = out_m + self.metres[via] + arriving.along_m, out_s + self.seconds[via] + in_s
        direct = (leaving.road == arriving.road) & (arriving.along_m >= leaving.along_m)
        between_m = arriving.along_m - leaving.along_m
        return np.where(direct, between_m, metres), np.where(direct, between_m / self.limit[leaving.road], seconds)

    def following(self, road: Integers, last: Integers) -> Integers:
        """The road after `road` on the way to the one that is `last`."""
        here, goal = self.end[road], self.begin[last]
        return np.where(here == goal, last, self.next_road[here, goal])

    def furthest(self, spots: Spots) -> Spots:
        """The end of the region that takes longest to reach from each of `spots`."""
        junction = self.seconds[self.end[spots.road]].argmax(axis=1)
        return Spots(self.first_out[junction].astype(np.int16), np.zeros(len(junction), dtype=np.float32))


@functools.lru_cache(maxsize=4)
def of(seed: int) -> Roads:
    """The network of a seed."""
    drawing = roadmap.draw(seed)
    junctions = np.array(drawing.junctions)
    links = np.array(drawing.links)
    begin, end = np.concatenate([links[:, 0], links[:, 1]]), np.concatenate([links[:, 1], links[:, 0]])
    order = np.argsort(begin, kind="stable")
    place = np.argsort(order)
    reverse = place[(order + len(links)) % (2 * len(links))]
    begin, end, kind = begin[order], end[order], links[order % len(links), 2]
    way = junctions[end] - junctions[begin]
    length_m = np.hypot(way[:, 0], way[:, 1])
    limit = np.array(roadmap.LIMIT_KMH)[kind] / 3.6
    takes_s = length_m / limit + _JUNCTION_S * (kind != roadmap.MOTORWAY)
    seconds = _fastest(len(junctions), begin, end, takes_s)
    first_out = np.searchsorted(begin, np.arange(len(junctions) + 1))
    next_road = _next_roads(seconds, first_out, end, takes_s)
    return Roads(
        junctions=junctions,
        begin=begin.astype(np.int16),
        end=end.astype(np.int16),
        kind=kind.astype(np.int16),
        reverse=reverse.astype(np.int16),
        length_m=length_m.astype(np.float32),
        limit=limit.astype(np.float32),
        ahead=way / length_m[:, None],
        first_out=first_out,
        next_road=next_road,
        seconds=seconds,
        metres=_lengths(next_road, end, length_m),
        nearest=_nearest(junctions),
    )


def _fastest(junctions: int, begin: Integers, end: Integers, takes_s: Floats) -> Floats:
    """Seconds from each junction to each (Floyd and Warshall)."""
    seconds = np.full((junctions, junctions), np.inf, dtype=np.float32)
    np.minimum.at(seconds, (begin, end), takes_s.astype(np.float32))
    np.fill_diagonal(seconds, 0.0)
    for via in range(junctions):
        np.minimum(seconds, seconds[:, via, None] + seconds[via], out=seconds)
    assert np.isfinite(seconds).all(), "a junction cannot be reached"
    return seconds


def _next_roads(seconds: Floats, first_out: Integers, end: Integers, takes_s: Floats) -> Integers:
    """The road that leads to each goal in the least time, by junction."""
    chosen = np.empty(seconds.shape, dtype=np.int16)
    for junction, (first, beyond) in enumerate(zip(first_out[:-1].tolist(), first_out[1:].tolist(), strict=True)):
        by_road = takes_s[first:beyond, None] + seconds[end[first:beyond]]
        chosen[junction] = first + by_road.argmin(axis=0)
    return chosen


def _lengths(next_road: Integers, end: Integers, length_m: Floats) -> Floats:
    """Metres of the fastest ways. Each round joins ways to twice as many roads."""
    goals = np.arange(len(next_road))
    reached, metres = end[next_road], length_m[next_road]
    np.fill_diagonal(reached, goals)
    np.fill_diagonal(metres, 0.0)
    for _ in range(len(goals).bit_length()):
        metres += metres[reached, goals]
        reached = reached[reached, goals]
    assert (reached == goals).all(), "a way leads round and round"
    return metres.astype(np.float32)


def _nearest(junctions: Floats) -> Integers:
    """The junction nearest to the middle of each cell, by column (east) and row (north)."""
    middles = (np.arange(_CELLS) + 0.5) * _CELL_M - roadmap.RADIUS_M
    columns = (middles[:, None] - junctions[:, 0]).astype(np.float32) ** 2
    rows = (middles[:, None] - junctions[:, 1]).astype(np.float32) ** 2
    return np.stack([(column + rows).argmin(axis=1) for column in columns]).astype(np.int16)
