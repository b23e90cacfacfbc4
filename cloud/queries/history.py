"""Signals over time: one of an asset, resampled or as it was sent; and which there are. Reads only.

Memory holds an hour of samples and the answer, whatever the range.
"""

from collections.abc import Iterator
from datetime import datetime
from itertools import groupby
from typing import Final, NamedTuple

import numpy as np

from cloud.history import documents, resample, series
from cloud.history.resample import Steps
from cloud.history.series import Series
from cloud.queries.reading import Document, Reader
from wire import limits
from wire.catalogue import Signal

STEPS_MAX: Final = 100_000
"""Most steps of one answer."""
SAMPLES_MAX: Final = 1_000_000
"""Most samples of one answer that is not resampled."""
_COLLECTION: Final = "history"


class Kept(NamedTuple):
    """What history has of one signal. Pieces that are not yet merged may count a sample twice."""

    number: int
    samples: int
    from_ms: int
    to_ms: int


def steps(reader: Reader, asset_id: str, signal: Signal, from_ms: int, until_ms: int, every_ms: int) -> Steps:
    """The signal in steps of `every_ms`, over `from_ms` <= time < `until_ms`; steps without samples are left out."""
    parts = [resample.resample(part, every_ms) for part in _hours(reader, asset_id, signal, from_ms, until_ms)]
    return resample.combine(parts or [resample.resample(_nothing(signal), every_ms)])


def samples(reader: Reader, asset_id: str, signal: Signal, from_ms: int, until_ms: int) -> tuple[Series, bool]:
    """Each sample once, by time; and whether there were more than `SAMPLES_MAX`."""
    parts: list[Series] = []
    count = 0
    for part in _hours(reader, asset_id, signal, from_ms, until_ms):
        parts.append(part)
        count += len(part.times_ms)
        if count > SAMPLES_MAX:
            break
    whole = series.union(parts) if parts else _nothing(signal)
    return Series(whole.times_ms[:SAMPLES_MAX], whole.values[:SAMPLES_MAX]), count > SAMPLES_MAX


def signals(reader: Reader, asset_id: str, from_ms: int, until_ms: int) -> list[Kept]:
    """What is kept of an asset in the hours of this range, by catalogue number."""
    first, beyond = documents.span(asset_id, from_ms, until_ms)
    # `$slice`: without the columns, which are most of a document
    times = {"$map": {"input": "$times", "in": {"$slice": ["$$this", 3]}}}
    place = {"k": "$$this.k", "v": {"$arrayElemAt": ["$$this.v", 0]}}
    found = reader.aggregate(
        _COLLECTION,
        [
            {"$match": {"_id": {"$gt": first, "$lt": beyond}}},
            {"$set": {"times": times, "signals": {"$map": {"input": {"$objectToArray": "$signals"}, "in": place}}}},
            {"$unwind": "$signals"},
            {"$project": {"number": "$signals.k", "times": {"$arrayElemAt": ["$times", "$signals.v"]}}},
            {
                "$group": {
                    "_id": "$number",
                    "samples": {"$sum": {"$arrayElemAt": ["$times", 0]}},
                    "from": {"$min": {"$arrayElemAt": ["$times", 1]}},
                    "to": {"$max": {"$arrayElemAt": ["$times", 2]}},
                }
            },
        ],
    )
    return sorted(Kept(int(one["_id"]), one["samples"], one["from"], one["to"]) for one in found)


def _hours(reader: Reader, asset_id: str, signal: Signal, from_ms: int, until_ms: int) -> Iterator[Series]:
    """The signal hour by hour, each sample once and in order.

    By id, so that an hour's pieces come before its buckets: a piece that is merged and removed while this reads is
    then found in a bucket.
    """
    first, beyond = documents.span(asset_id, from_ms, until_ms)
    name = f"signals.{signal.number}"
    condition = {"_id": {"$gt": first, "$lt": beyond}, name: {"$exists": True}}
    found = reader.each(_COLLECTION, condition, [("_id", 1)], {"hour": 1, "times": 1, name: 1})
    for _, hour in groupby(found, lambda document: document["hour"]):
        yield series.between(_united(hour, signal.number), from_ms, until_ms)


def _united(hour: Iterator[Document], number: int) -> Series:
    return series.union([documents.read(document, number)[number] for document in hour])


def _nothing(signal: Signal) -> Series:
    return Series(np.zeros(0, np.int64), np.zeros(0, series.dtype_of(signal)))


def span_ms(start: datetime | None, end: datetime | None) -> tuple[int, int]:
    """Milliseconds of a range; without a bound: all there can be."""
    from_ms = limits.TIME_MS_MIN if start is None else int(start.timestamp() * 1000)
    until_ms = limits.TIME_MS_MAX if end is None else int(end.timestamp() * 1000)
    return from_ms, until_ms
