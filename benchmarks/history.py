"""History: bytes and processor time per sample, and how long a reader waits for a day of one signal.

    python -m benchmarks.history [--data FOLDER] [--write]

Needs mongod (started here, or MONGODB_URI). Real data: a recorded drive, `carobd/telemetry.csv.gz` in FOLDER, if there.
References: the same samples as BSON documents of {ts, value}, one per sample, uncompressed.
"""

import argparse
import csv
import gzip
import os
import random
import secrets
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import bson
import numpy as np
from bson.datetime_ms import DatetimeMS
from pymongo import MongoClient, UpdateOne

from benchmarks import figures
from benchmarks.figures import Row
from cloud.config import HistorySettings
from cloud.history import collect, columns, documents, schema, series
from cloud.history.documents import HOUR_MS, Document
from cloud.history.series import Series
from cloud.inbox import Record
from cloud.queries import history
from cloud.queries.reading import Reader
from local.processes import Processes
from local.servers import named
from local.servers.mongo import Mongod
from wire import batches, catalogue, messages, topics
from wire import frames as frames_of

RESULT: Final = figures.DIRECTORY / "history.json"
DAY_MS: Final = 24 * HOUR_MS
DAY_START_MS: Final = 1_767_225_600_000
ALL: Final = frozenset(catalogue.BY_NUMBER)
SPEED: Final = catalogue.BY_PATH["Vehicle.Speed"]
REPEATS: Final = 100
_READER_MS_MAX: Final = 50.0


def simulated(frames: int, frames_per_record: int, interval_ms: int) -> list[Record]:
    """Records of one car with 20 signals that wander, as an agent batches them."""
    chance = random.Random(3)  # noqa: S311 - a made-up car
    signals = [signal for signal in catalogue.SIGNALS if signal.path.startswith("Vehicle.") and signal.is_numeric][:20]
    values: dict[str | int, Any] = {signal.path: max(signal.min, 0.0) + 10 for signal in signals}
    records = []
    for turn in range(frames // frames_per_record):
        payloads = []
        for index in range(frames_per_record):
            for signal in signals:
                step = (
                    chance.choice((0, 0, -0.1, 0.1, 0.2))
                    if signal.type in ("float", "double")
                    else chance.choice((0, 0, 1))
                )
                values[signal.path] = round(min(max(values[signal.path] + step, signal.min), signal.max), 2)
            ts_ms = DAY_START_MS + turn * interval_ms + index * interval_ms // frames_per_record
            seq = turn * frames_per_record + index
            payloads.append(frames_of.encode(messages.Frame(1, ts_ms, {**values}, "s", seq)))
        batch = messages.Batch(
            v=1, kind=topics.Kind.VEHICLE, asset_id="car", channel=topics.Channel.SIGNALS, gateway="gw", epoch="e",
            first_sequence=turn * frames_per_record, sequence_offsets=list(range(frames_per_record)),
            received_ms=[DAY_START_MS + turn * interval_ms] * frames_per_record, payloads=payloads,
        )  # fmt: skip
        records.append(Record(topics.FLEET_SIGNALS, "g", 0, turn, b"car", batches.encode(batch), 0))
    return records


def piece_rows(name: str, records: Sequence[Record], per_piece: int) -> Iterator[Row]:
    """Making pieces of so many records each, and buckets of the pieces."""
    stretches = [records[start : start + per_piece] for start in range(0, len(records), per_piece)]
    began_s = time.process_time()
    pieces = [piece for stretch in stretches for piece in collect.pieces(stretch, ALL, 0)]
    piece_s = time.process_time() - began_s
    samples = sum(piece["samples"] for piece in pieces)
    began_s = time.process_time()
    buckets = merged(pieces)
    merge_s = time.process_time() - began_s
    plain = plain_bytes(documents.all_samples(buckets)) / samples
    yield Row(f"{name}: piece, decoding included", 1e6 * piece_s / samples, "µs CPU/sample")
    yield Row(f"{name}: merging", 1e6 * merge_s / samples, "µs CPU/sample")
    yield Row(f"{name}: piece", sum(map(stored, pieces)) / samples, "bytes/sample", plain)
    yield Row(f"{name}: bucket", sum(map(stored, buckets)) / samples, "bytes/sample", plain)


def merged(pieces: Sequence[Document]) -> list[Document]:
    by_hour: dict[int, list[Document]] = {}
    for piece in pieces:
        by_hour.setdefault(int(piece["hour"]) // HOUR_MS, []).append(piece)
    return [
        bucket
        for hour, some in by_hour.items()
        for bucket in documents.buckets("car", hour, documents.all_samples(some))
    ]


def stored(document: Document) -> int:
    return len(bson.encode(document))


def plain_bytes(known: dict[int, Series]) -> float:
    """The same as one small document per sample."""
    return sum(
        sum(
            stored({"ts": DatetimeMS(ts), "value": value})
            for ts, value in zip(*map(np.ndarray.tolist, one), strict=True)
        )
        for one in known.values()
    )


def recorded(folder: Path | None) -> Iterator[Row]:
    """Columns of a recorded drive, of every numeric channel, as history keeps them."""
    file = folder / "carobd" / "telemetry.csv.gz" if folder else None
    if file is None or not file.is_file():
        return
    with gzip.open(file, "rt", encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    times = np.array([DAY_START_MS + 500 * place for place in range(len(rows))], dtype=np.int64)
    size = samples = 0
    began_s = time.process_time()
    for start in range(0, len(rows), 7_200):
        size += len(columns.encode(times[start : start + 7_200]))
        for name in rows[0]:
            try:
                values = np.array([float(row[name]) for row in rows[start : start + 7_200]])
            except ValueError:
                continue
            size += len(columns.encode(values))
            samples += len(values)
    yield Row("recorded drive, 2 Hz, hours of 7,200", size / samples, "bytes/sample", 16.0)
    yield Row(
        "recorded drive: encoding, CSV included", 1e6 * (time.process_time() - began_s) / samples, "µs CPU/sample"
    )


def day(rate_hz: int) -> list[Document]:
    """A day of 20 signals of one asset, merged."""
    chance = np.random.default_rng(7)
    numbers = [
        signal.number for signal in catalogue.SIGNALS if signal.path.startswith("Vehicle.") and signal.is_numeric
    ]
    made = []
    for hour in range(DAY_START_MS // HOUR_MS, DAY_START_MS // HOUR_MS + 24):
        times = np.arange(0, HOUR_MS, 1000 // rate_hz, dtype=np.int64) + hour * HOUR_MS
        known = {}
        for number in numbers[:20]:
            walk = np.round(np.abs(np.cumsum(chance.normal(0, 0.2, len(times)))), 1)
            known[number] = Series(times, walk.astype(series.dtype(number)))
        made += documents.buckets(f"day-{rate_hz}", hour, known)
    return made


def reader_rows(database: Any) -> Iterator[Row]:
    """p50 and p99 of a day of one signal in steps of 5 minutes: merged, and with the last hour still in pieces."""
    schema.ensure(database, HistorySettings())
    reader = Reader(database, 60_000)
    for rate_hz in (1, 10):
        asset_id = f"day-{rate_hz}"
        made = day(rate_hz)
        fresh = pieces_of(made, rate_hz)
        put(database, made)
        yield from timed(reader, asset_id, f"a day at {rate_hz} Hz, merged", 86_400 * rate_hz)
        last_hour = documents.hour_name(DAY_START_MS // HOUR_MS + 23)
        database["history"].delete_many({"_id": {"$gt": f"{asset_id}/{last_hour}/", "$lt": f"{asset_id}/{last_hour}0"}})
        put(database, fresh)
        yield from timed(reader, asset_id, f"a day at {rate_hz} Hz, the last hour in pieces", 86_400 * rate_hz)


def pieces_of(made: Sequence[Document], rate_hz: int) -> list[Document]:
    """The last hour again, as 60 pieces of a minute."""
    hour = DAY_START_MS // HOUR_MS + 23
    known = documents.all_samples(one for one in made if int(one["hour"]) == hour * HOUR_MS)
    pieces = []
    for minute in range(60):
        start_ms = hour * HOUR_MS + minute * 60_000
        parts = {number: series.between(one, start_ms, start_ms + 60_000) for number, one in known.items()}
        said = {number: (one.times_ms.tolist(), one.values.tolist()) for number, one in parts.items()}
        pieces.append(documents.piece(f"day-{rate_hz}", hour, f"s-g-0-{minute}-{minute}", said, 0))
    return pieces


def put(database: Any, made: Sequence[Document]) -> None:
    writes = [
        UpdateOne({"_id": one["_id"]}, {"$set": {k: v for k, v in one.items() if k != "_id"}}, upsert=True)
        for one in made
    ]
    database["history"].bulk_write(writes, ordered=False)


def timed(reader: Reader, asset_id: str, name: str, samples: int) -> Iterator[Row]:
    took_ms = []
    for _ in range(REPEATS):
        began_s = time.perf_counter()
        found = history.steps(reader, asset_id, SPEED, DAY_START_MS, DAY_START_MS + DAY_MS, 300_000)
        took_ms.append(1000 * (time.perf_counter() - began_s))
        assert int(found.samples.sum()) == samples
    took_ms.sort()
    yield Row(f"{name}: p50", statistics.median(took_ms), "ms")
    p99_ms = took_ms[int(0.99 * len(took_ms)) - 1]
    yield Row(f"{name}: p99", p99_ms, "ms", target="< 50 ms", met=p99_ms < _READER_MS_MAX)


@contextmanager
def mongodb() -> Iterator[str]:
    uri = named.mongodb_uri()
    if uri is not None:
        yield uri
        return
    with tempfile.TemporaryDirectory() as directory, Processes() as owner, Mongod(owner, Path(directory)) as server:
        yield server.url


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("FLEETFOLD_DATA"))
    parser.add_argument("--write", action="store_true", help=f"write {RESULT.name}")
    given = parser.parse_args()
    rows = [
        *piece_rows("a frame every 10 s, a piece a minute", simulated(2_160, 1, 10_000), 6),
        *piece_rows("20 frames a record, a second apart", simulated(7_200, 20, 20_000), 3),
        *recorded(Path(given.data) if given.data else None),
    ]
    with mongodb() as uri, MongoClient[dict[str, Any]](uri) as client:
        name = f"bench_history_{secrets.token_hex(4)}"
        rows += reader_rows(client[name])
        client.drop_database(name)
    figures.show("History", rows)
    if given.write:
        figures.write(RESULT, rows)


if __name__ == "__main__":
    main()
