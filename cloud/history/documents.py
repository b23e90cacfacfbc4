"""Documents of the collection `history`: pieces and buckets. Pure. The format is the contract; ARCHITECTURE tells why.

    _id       "<asset>/<hour>/+<origin>"             a piece: what a stretch of the log said, all classes
              "<asset>/<hour>/<class>/<first>-<sum>" a bucket: what was merged, one data class
    asset_id
    hour      the hour, UTC, in which all samples lie; in `_id` as YYYYMMDDHH
    class     the data class (buckets only)
    written   when (pieces only)
    from, to  times of the first and the last sample
    samples   how many, over all signals
    times     [[count, first, last, column], …]: distinct lists of times, ms since the Unix epoch
    signals   {catalogue number as text: [position in times, column of values]}

Columns are described in `columns`. No document is ever changed: it is written whole, and removed after another one
that holds the same and more. Its id names its content, so writing it again changes nothing.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

import numpy as np
from bson.datetime_ms import DatetimeMS

from cloud.history import columns, series
from cloud.history.series import Series
from wire import catalogue

Document = dict[str, Any]

HOUR_MS: Final = 3_600_000
BUCKET_BYTES_MAX: Final = 4_000_000
"""Columns in one bucket; what is more becomes several buckets, cut by time. MongoDB takes 16 MB."""

_CLASS_OF: Final = {signal.number: signal.data_class for signal in catalogue.SIGNALS}


@lru_cache(maxsize=4_096)
def hour_name(hour: int) -> str:
    """YYYYMMDDHH of an hour since the Unix epoch: sorts as time does."""
    return datetime.fromtimestamp(hour * HOUR_MS / 1000, UTC).strftime("%Y%m%d%H")


def piece(
    asset_id: str, hour: int, origin: str, samples: Mapping[int, tuple[list[int], list[Any]]], now_ms: int
) -> Document:  # fmt: skip
    """A piece from `samples`: catalogue number → (times in ms, values), all within the hour."""
    times: dict[tuple[int, ...], int] = {}
    signals: dict[str, list[Any]] = {}
    count = 0
    for number, (times_ms, values) in samples.items():
        count += len(times_ms)
        position = times.setdefault(tuple(times_ms), len(times))
        if len(values) <= columns.SHORT:
            signals[str(number)] = [position, columns.encode_short(values)]
        else:
            signals[str(number)] = [position, columns.encode(series.of((), values, number).values)]
    return {
        "_id": f"{asset_id}/{hour_name(hour)}/+{origin}",
        "asset_id": asset_id,
        "hour": DatetimeMS(hour * HOUR_MS),
        "written": DatetimeMS(now_ms),
        "from": DatetimeMS(min(map(min, times))),
        "to": DatetimeMS(max(map(max, times))),
        "samples": count,
        "times": [
            [len(several), min(several), max(several), columns.encode(np.array(several, dtype=np.int64))]
            for several in times
        ],
        "signals": signals,
    }


def buckets(asset_id: str, hour: int, known: Mapping[int, Series]) -> list[Document]:
    """The buckets of an hour: one per data class, more where one would grow too large."""
    by_class: dict[str, dict[int, Series]] = defaultdict(dict)
    for number, held in known.items():
        if len(held.times_ms):
            by_class[_CLASS_OF.get(number, "unknown")][number] = held
    start_ms = hour * HOUR_MS
    made: list[Document] = []
    for name, signals in sorted(by_class.items()):
        made += _cut(asset_id, hour, name, signals, start_ms, start_ms + HOUR_MS)
    return made


def _cut(
    asset_id: str, hour: int, name: str, known: Mapping[int, Series], from_ms: int, until_ms: int
) -> list[Document]:  # fmt: skip
    """One bucket, or those of the two halves of the time where it would be too large."""
    made = _bucket(asset_id, hour, name, known)
    if size_bytes(made) <= BUCKET_BYTES_MAX or until_ms - from_ms < 2:
        return [made]
    middle_ms = (from_ms + until_ms) // 2
    halves: list[Document] = []
    for first_ms, last_ms in ((from_ms, middle_ms), (middle_ms, until_ms)):
        half = {number: series.between(held, first_ms, last_ms) for number, held in known.items()}
        half = {number: held for number, held in half.items() if len(held.times_ms)}
        halves += _cut(asset_id, hour, name, half, first_ms, last_ms) if half else []
    return halves


def _bucket(asset_id: str, hour: int, name: str, known: Mapping[int, Series]) -> Document:
    times: dict[bytes, int] = {}
    encoded: list[list[Any]] = []
    signals: dict[str, list[Any]] = {}
    for number, held in known.items():
        key = held.times_ms.tobytes()
        if key not in times:
            times[key] = len(encoded)
            span_ms = [int(held.times_ms[0]), int(held.times_ms[-1])]
            encoded.append([len(held.times_ms), *span_ms, columns.encode(held.times_ms)])
        signals[str(number)] = [times[key], columns.encode(held.values)]
    digest = hashlib.blake2b(repr((encoded, sorted(signals.items()))).encode(), digest_size=8).hexdigest()
    first_ms = min(int(held.times_ms[0]) for held in known.values())
    return {
        "_id": f"{asset_id}/{hour_name(hour)}/{name}/{first_ms - hour * HOUR_MS:07d}-{digest}",
        "asset_id": asset_id,
        "hour": DatetimeMS(hour * HOUR_MS),
        "class": name,
        "from": DatetimeMS(first_ms),
        "to": DatetimeMS(max(int(held.times_ms[-1]) for held in known.values())),
        "samples": sum(len(held.times_ms) for held in known.values()),
        "times": encoded,
        "signals": signals,
    }


def read(document: Mapping[str, Any], only: int | None = None) -> dict[int, Series]:
    """What a document holds, or only one signal of it; of a piece not yet in order."""
    held: dict[int, Series] = {}
    times: dict[int, series.Times] = {}
    for name, (position, raw) in document["signals"].items():
        number = int(name)
        if only is None or number == only:
            if position not in times:
                times[position] = columns.decode(document["times"][position][3], np.int64)
            held[number] = Series(times[position], columns.decode(raw, series.dtype(number)))
    return held


def size_bytes(document: Mapping[str, Any]) -> int:
    """Bytes of a document's columns."""
    return sum(len(raw) for *_, raw in document["times"]) + sum(len(raw) for _, raw in document["signals"].values())


def span(asset_id: str, from_ms: int, until_ms: int) -> tuple[str, str]:
    """First id (within) and last id (beyond) of an asset's documents about [`from_ms`, `until_ms`)."""
    first, last = from_ms // HOUR_MS, (until_ms - 1) // HOUR_MS
    return f"{asset_id}/{hour_name(first)}/", f"{asset_id}/{hour_name(last)}0"  # "0" comes after "/"


def is_piece(document: Mapping[str, Any]) -> bool:
    return "written" in document


def all_samples(documents: Iterable[Mapping[str, Any]]) -> dict[int, Series]:
    """The union of several documents."""
    return series.merged(map(read, documents))
