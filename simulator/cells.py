"""Frames as the cells of a matrix: what was said, before anybody encoded it. The truth keeps them (see there)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from simulator.arrays import Flags, Integers, Rows
from simulator.columns import Table
from wire.topics import Kind

_UNIT_MAX: Final = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Cells:
    """Frames of one kind of asset and one time: frame `i` is that of asset `rows[i]`, with the cells `send[i]`.

    `send [n, columns]`; `units` has those cells only, row after row: how often the resolution of the column, or which
    text.
    """

    kind: Kind
    ts_ms: int
    first: int
    """Number of the first of these frames among all of the run."""
    rows: Rows
    sequences: Integers
    send: Flags
    units: Integers

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True)
class Assets:
    """What the rows and columns of the cells of one kind stand for."""

    kind: Kind
    ids: Sequence[str]
    table: Table


class SentCells(NamedTuple):
    """`Cells` as they are read, with which of the frames were acknowledged or dropped `[n]`."""

    kind: str
    ts_ms: int
    rows: Integers
    sequences: Integers
    send: Flags
    units: Integers
    acknowledged: Flags
    dropped: Flags

    def but_dropped(self) -> "SentCells":
        """Only the frames that were sent."""
        if not self.dropped.any():
            return self
        left = ~self.dropped
        return self._replace(
            rows=self.rows[left],
            sequences=self.sequences[left],
            send=self.send[left],
            units=self.units[np.repeat(left, self.send.sum(axis=1))],
            acknowledged=self.acknowledged[left],
            dropped=self.dropped[left],
        )


class ColumnOf(NamedTuple):
    """A column as it is read: a unit is 1 / `scale`, or an index into `texts`."""

    path: str
    form: str
    scale: float
    texts: list[Any]

    def value(self, unit: int) -> Any:
        """What the frame said."""
        if self.form == "text":
            return self.texts[unit]
        if self.form == "flag":
            return bool(unit)
        return unit if self.form == "integer" else unit / self.scale


class CellsOf(NamedTuple):
    """`Assets` as they are read."""

    ids: list[str]
    columns: list[ColumnOf]


def packed(frames: Cells) -> dict[str, Any]:
    """Cells for the file."""
    bits = 32 if np.abs(frames.units).max(initial=0) <= _UNIT_MAX else 64
    return {
        "kind": frames.kind,
        "ts_ms": frames.ts_ms,
        "first": frames.first,
        "rows": frames.rows.astype("<u4").tobytes(),
        "sequences": frames.sequences.astype("<u4").tobytes(),
        "send": np.packbits(frames.send, axis=1).tobytes(),
        "bits": bits,
        "units": frames.units.astype(f"<i{bits // 8}").tobytes(),
    }


def unpacked(record: Mapping[str, Any], columns: int, acknowledged: Flags, dropped: Flags) -> SentCells:
    """The inverse; `acknowledged` and `dropped` are flags of all frames, as far as they are known."""
    rows = np.frombuffer(record["rows"], dtype="<u4").astype(np.int64)
    bits = np.frombuffer(record["send"], dtype=np.uint8).reshape(len(rows), -1)
    return SentCells(
        kind=record["kind"],
        ts_ms=record["ts_ms"],
        rows=rows,
        sequences=np.frombuffer(record["sequences"], dtype="<u4").astype(np.int64),
        send=np.unpackbits(bits, axis=1, count=columns).astype(np.bool_),
        units=np.frombuffer(record["units"], dtype=f"<i{record['bits'] // 8}").astype(np.int64),
        acknowledged=_of_these(acknowledged, record["first"], len(rows)),
        dropped=_of_these(dropped, record["first"], len(rows)),
    )


def _of_these(flags: Flags, first: int, count: int) -> Flags:
    of_these = np.zeros(count, dtype=np.bool_)
    known = flags[first : first + count]
    of_these[: len(known)] = known
    return of_these


def described(assets: Assets) -> dict[str, Any]:
    """Assets for the file."""
    table = assets.table
    return {
        "ids": list(assets.ids),
        "columns": [
            [column.path, column.form, float(scale), list(table.texts.get(column.path, []))]
            for column, scale in zip(table.columns, table.scale, strict=True)
        ],
    }


def understood(description: Mapping[str, Any]) -> CellsOf:
    """The inverse."""
    return CellsOf(description["ids"], [ColumnOf(*column) for column in description["columns"]])
