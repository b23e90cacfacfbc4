"""History against what was sent: for some assets, every sample at its time.

Reads the documents as ARCHITECTURE describes them, with code of its own: a reader that shared the writer's mistakes
would find none.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgpack
import numpy as np
import zstandard

from simulator.oracle import times
from simulator.oracle.expected import At, Expected
from wire.catalogue import BY_NUMBER

Said = dict[str, dict[int, Any]]
"""Path → time in ms → value."""

_AGE_MS_MAX: Final = 86_400_000
"""Older samples may have been given up already: retention is the operator's choice, in days."""


def read(documents: Iterable[Mapping[str, Any]]) -> Said:
    """All samples in the documents of one asset; of two values for one moment the greater."""
    said: Said = {}
    for document in documents:
        moments = [_column(raw) for _, _, _, raw in document["times"]]
        for number, (position, raw) in document["signals"].items():
            of_path = said.setdefault(BY_NUMBER[int(number)].path, {})
            for ts_ms, value in zip(moments[position], _column(raw), strict=True):
                held = of_path.get(ts_ms)
                of_path[ts_ms] = value if held is None or value > held else held
    return said


def differences(asset: Expected, said: Said, now_ms: int) -> Iterator[str]:
    """What history lacks or has too much of an asset whose whole story is known."""
    for path in sorted(asset.series.keys() | said.keys()):
        expected = _greatest(asset.series.get(path, []), now_ms)
        allowed = {(at.ts_ms, repr(at.value)) for at in asset.maybe.get(path, [])}
        found = {ts_ms: value for ts_ms, value in said.get(path, {}).items() if ts_ms >= now_ms - _AGE_MS_MAX}
        missing = [ts_ms for ts_ms, value in expected.items() if ts_ms not in found or not found[ts_ms] >= value]
        if missing:
            first = times.said(min(missing))
            yield f"history of {path} lacks {len(missing)} of {len(expected)} samples, the first at {first}"
        surplus = [
            ts_ms
            for ts_ms, value in found.items()
            if expected.get(ts_ms) != value and (ts_ms, repr(value)) not in allowed
        ]
        if surplus:
            first = times.said(min(surplus))
            yield f"history of {path} has {len(surplus)} samples that were never sent, the first at {first}"


def _greatest(series: Iterable[At], now_ms: int) -> dict[int, Any]:
    greatest: dict[int, Any] = {}
    for ts_ms, value in series:
        if ts_ms >= now_ms - _AGE_MS_MAX and (ts_ms not in greatest or value > greatest[ts_ms]):
            greatest[ts_ms] = value
    return greatest


def _column(raw: bytes) -> list[Any]:
    form, *fields = msgpack.unpackb(raw)
    if form == "m":
        return list(fields[0])
    if form == "t":
        table, positions = fields
        return [table[position] for position in _column(positions)]
    if form == "f":
        count, width, body = fields
        return [float(value) for value in _numbers(body, count, f"<f{width}")]
    count, scale, order, width, bases, body = fields
    numbers = [int(number) for number in _numbers(body, count - order, f"<i{width}")]
    for base in reversed(bases):
        numbers = [base, *(base + total for total in _running(numbers))]
    return numbers if scale == 0 else [number / 10**scale for number in numbers]


def _running(numbers: Iterable[int]) -> Iterator[int]:
    total = 0
    for number in numbers:
        total += number
        yield total


def _numbers(body: bytes, count: int, form: str) -> np.ndarray[Any, Any]:
    width = np.dtype(form).itemsize
    planes = zstandard.decompress(body, max_output_size=count * width)
    interleaved = bytes(planes[plane * count + place] for place in range(count) for plane in range(width))
    return np.frombuffer(interleaved, dtype=form)
