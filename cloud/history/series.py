"""A signal over time, and the union of what is known of it. Pure.

History is a growing set: (signal, time) → value, and of two values for one moment the greater stays, as on the twin.
Union has no order and repeating it changes nothing, so re-sends, replays, late samples, zombies and half-finished
work need no care of their own.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cloud.history import columns
from cloud.history.columns import Column
from wire import catalogue
from wire.catalogue import Signal

Times = NDArray[np.int64]


class Series(NamedTuple):
    """Samples of one signal: ms since the Unix epoch, and as many values."""

    times_ms: Times
    values: Column


def dtype_of(signal: Signal) -> type:
    """What a column of this signal holds: float64, int64 (booleans as 0 and 1) or objects."""
    if signal.type in ("float", "double"):
        return np.float64
    return np.int64 if signal.is_numeric or signal.type == "boolean" else object


_DTYPES: Final = {signal.number: dtype_of(signal) for signal in catalogue.SIGNALS}


def dtype(number: int) -> type:
    """The same by catalogue number; a signal that only a newer catalogue knows is read as objects."""
    return _DTYPES.get(number, object)


def union(parts: Sequence[Series]) -> Series:
    """All samples once, by time; `parts` is not empty."""
    times = np.concatenate([part.times_ms for part in parts])
    values = np.concatenate([part.values for part in parts])
    if len(times) < 2 or bool((np.diff(times) > 0).all()):
        return Series(times, values)
    order = np.argsort(times, kind="stable")
    times, values = times[order], values[order]
    starts = np.flatnonzero(np.concatenate((np.array([True]), np.diff(times) > 0)))
    return Series(times[starts], _greatest(values, starts))


def _greatest(values: Column, starts: NDArray[np.intp]) -> Column:
    """The greatest value of each run that begins at `starts`."""
    if values.dtype != object:
        return np.maximum.reduceat(values, starts)
    ends = np.append(starts[1:], len(values))
    chosen = np.empty(len(starts), dtype=object)
    for place, (start, end) in enumerate(zip(starts, ends, strict=True)):
        chosen[place] = values[start] if end == start + 1 else max(values[start:end])
    return chosen


def merged(parts: Iterable[dict[int, Series]]) -> dict[int, Series]:
    """The union, signal by signal."""
    known: dict[int, list[Series]] = {}
    for part in parts:
        for number, series in part.items():
            known.setdefault(number, []).append(series)
    return {number: union(several) for number, several in sorted(known.items())}


def between(series: Series, from_ms: int, until_ms: int) -> Series:
    """Samples with `from_ms` <= time < `until_ms`; the series must be in order."""
    first, last = np.searchsorted(series.times_ms, [from_ms, until_ms])
    return Series(series.times_ms[first:last], series.values[first:last])


def of(times_ms: Sequence[int], values: Sequence[Any], number: int) -> Series:
    """A series from plain lists."""
    return Series(np.array(times_ms, dtype=np.int64), columns.array(values, dtype(number)))
