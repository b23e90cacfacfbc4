"""Frames that a truth has as cells, added up for each asset: how many, and the newest value of each column.

Arrays, since there are millions: one asset's share becomes an `Expected` only when its twin is compared.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from simulator.arrays import Flags, Integers
from simulator.cells import CellsOf, SentCells
from simulator.oracle.expected import At, Count

_NEVER: Final = -1


class _Watched(NamedTuple):
    """Acknowledged frames of assets with a fault: `[n, columns]`."""

    ts_ms: int
    send: Flags
    units: Integers


class Tally:
    """All frames of one kind of asset of one run. `watched`: asset ids whose whole story is kept."""

    def __init__(self, of: CellsOf, watched: set[str]) -> None:
        count, columns = len(of.ids), len(of.columns)
        self.row_of = {asset_id: row for row, asset_id in enumerate(of.ids)}
        self._of = of
        self._frames = np.zeros((2, count), dtype=np.int64)  # not acknowledged, acknowledged
        self._dropped = np.zeros(count, dtype=np.int64)
        self._samples = np.zeros((2, count), dtype=np.int64)
        self._ts_ms = np.full(count * columns, _NEVER, dtype=np.int64)
        self._units = np.zeros(count * columns, dtype=np.int64)
        self._maybe: dict[int, list[tuple[str, At]]] = defaultdict(list)
        self._is_watched = np.array([asset_id in watched for asset_id in of.ids], dtype=np.bool_)
        self._watched: list[_Watched] = []
        self._places: dict[int, list[tuple[int, int]]] = defaultdict(list)
        """Of a watched row: (part of `_watched`, place in it)."""

    def add(self, frames: SentCells) -> None:
        """Frames of one time; an asset has at most one of them."""
        self._dropped[frames.rows[frames.dropped]] += 1
        frames = frames.but_dropped()
        acknowledged = frames.acknowledged.astype(np.intp)
        self._frames[acknowledged, frames.rows] += 1
        self._samples[acknowledged, frames.rows] += frames.send.sum(axis=1)
        at, columns = np.nonzero(frames.send)
        sure = frames.acknowledged[at]
        cells = frames.rows[at[sure]] * len(self._of.columns) + columns[sure]
        newer = frames.ts_ms > self._ts_ms[cells]
        self._ts_ms[cells[newer]] = frames.ts_ms
        self._units[cells[newer]] = frames.units[sure][newer]
        self._open(frames)
        self._watch(frames)

    def _open(self, frames: SentCells) -> None:
        """What was not acknowledged may have arrived."""
        if frames.acknowledged.all():
            return
        at, columns = np.nonzero(frames.send)
        for cell in np.flatnonzero(~frames.acknowledged[at]).tolist():
            column = self._of.columns[columns[cell]]
            said = At(frames.ts_ms, column.value(int(frames.units[cell])))
            self._maybe[int(frames.rows[at[cell]])].append((column.path, said))

    def _watch(self, frames: SentCells) -> None:
        kept = frames.acknowledged & self._is_watched[frames.rows]
        if kept.any():
            dense = np.zeros(frames.send.shape, dtype=np.int64)
            dense[frames.send] = frames.units
            for place, row in enumerate(frames.rows[kept].tolist()):
                self._places[row].append((len(self._watched), place))
            self._watched.append(_Watched(frames.ts_ms, frames.send[kept], dense[kept]))

    @property
    def asset_ids(self) -> Iterator[str]:
        """Assets that sent something."""
        return (self._of.ids[row] for row in np.flatnonzero(self._frames.sum(axis=0)).tolist())

    @property
    def messages(self) -> Count:
        """Of all assets."""
        return Count(int(self._frames[1].sum()), int(self._frames[0].sum()))

    def messages_of(self, row: int) -> Count:
        return Count(int(self._frames[1, row]), int(self._frames[0, row]))

    @property
    def dropped(self) -> int:
        """Frames of all assets that were never sent."""
        return int(self._dropped.sum())

    def dropped_of(self, row: int) -> int:
        return int(self._dropped[row])

    def samples_of(self, row: int) -> Count:
        return Count(int(self._samples[1, row]), int(self._samples[0, row]))

    def newest(self, row: int) -> dict[str, At]:
        """The newest acknowledged value of each path."""
        width = len(self._of.columns)
        times = self._ts_ms[row * width : (row + 1) * width]
        known = np.flatnonzero(times != _NEVER)
        units = self._units[row * width + known].tolist()
        of = [self._of.columns[column] for column in known.tolist()]
        said = zip(of, times[known].tolist(), units, strict=True)
        return {column.path: At(ts_ms, column.value(unit)) for column, ts_ms, unit in said}

    def maybe(self, row: int) -> list[tuple[str, At]]:
        """Everything that was not acknowledged."""
        return self._maybe.get(row, [])

    def story(self, row: int) -> Iterator[tuple[str, At]]:
        """Everything acknowledged of a watched asset."""
        if not self._is_watched[row]:
            return
        for part, at in self._places[row]:
            frames = self._watched[part]
            for column in np.flatnonzero(frames.send[at]).tolist():
                of = self._of.columns[column]
                yield of.path, At(frames.ts_ms, of.value(int(frames.units[at, column])))
