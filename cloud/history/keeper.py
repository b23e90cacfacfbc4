"""Keeps history: the loop that turns records into pieces."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Final

import structlog
from pymongo import UpdateOne

from cloud.aside import Aside
from cloud.config import HistorySettings
from cloud.history import collect, documents
from cloud.history.documents import Document
from cloud.history.metrics import Metrics
from cloud.history.schema import COLLECTION
from cloud.inbox import Record
from cloud.kafka import Source
from cloud.mongo import Mongo

log: Final = structlog.get_logger()

_RECORD_BYTES: Final = 250
"""What a record costs in memory beside its value."""
_BULK_DOCUMENTS_MAX: Final = 1_000
_BULK_BYTES_MAX: Final = 16_000_000


@dataclass(slots=True)
class _Buffer:
    """What was read of one partition and is not yet written. `since_s`: when the first of it came."""

    since_s: float
    size_bytes: int = 0
    records: dict[bytes, list[Record]] = field(default_factory=lambda: defaultdict(list))


class Keeper:
    """In this order of durability:

    1. poll a batch of records; 2. keep them, as they are, per partition and asset; 3. when a partition has waited
    `flush_interval_s`, or all together pass `buffer_bytes_max`: make pieces of it and write them (majority);
    4. let its offsets be committed.

    A crash before 4 repeats 1 to 3: history is a set, so a sample that is written twice is there once.
    """

    def __init__(
        self, source: Source, store: Mongo, settings: HistorySettings, metrics: Metrics,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._source, self._store, self._settings, self._metrics = source, store, settings, metrics
        self._aside = Aside("history", 1, source.keep_alive)
        self._kept = settings.kept()
        self._clock_s = clock_s
        self._buffers: dict[tuple[str, int], _Buffer] = {}
        self._size_bytes = 0

    def run(self, stopped: Callable[[], bool]) -> None:
        """Turn until told to stop, then write what is left."""
        while not stopped():
            self.turn()
        self.flush()

    def turn(self) -> None:
        """One turn of the loop."""
        records = self._source.poll()  # step 1
        if self._source.lost_ownership:
            self._source.lost_ownership = False
            self.flush()  # whoever owns a partition now may make the same pieces
        for record in records:  # step 2
            self._keep(record)
        self._metrics.records.inc(len(records))
        self._metrics.buffer_bytes.set(self._size_bytes)
        self._flush_due()
        self._metrics.lag_records.set(self._source.lag_records())

    def flush(self) -> None:
        """Write everything that waits."""
        for place in list(self._buffers):
            self._flush(place)

    def _keep(self, record: Record) -> None:
        place = (record.topic, record.partition)
        buffer = self._buffers.get(place)
        if buffer is None:
            buffer = self._buffers[place] = _Buffer(self._clock_s())
        size_bytes = len(record.value or b"") + _RECORD_BYTES
        buffer.records[record.key].append(record)
        buffer.size_bytes += size_bytes
        self._size_bytes += size_bytes

    def _flush_due(self) -> None:
        """The longest-waiting partition if its time has come, and the largest ones while there is too much."""
        if not self._buffers:
            return
        oldest = min(self._buffers, key=lambda place: self._buffers[place].since_s)
        if self._clock_s() - self._buffers[oldest].since_s >= self._settings.flush_interval_s:
            self._flush(oldest)
        while self._size_bytes > self._settings.buffer_bytes_max:
            self._flush(max(self._buffers, key=lambda place: self._buffers[place].size_bytes))

    def _flush(self, place: tuple[str, int]) -> None:
        """Steps 3 and 4 for one partition."""
        buffer = self._buffers.pop(place)
        self._size_bytes -= buffer.size_bytes
        now_ms = time.time_ns() // 1_000_000
        made = chain.from_iterable(collect.pieces(some, self._kept, now_ms) for some in buffer.records.values())
        with self._metrics.flush_seconds.time():
            for bulk in _bulks(made):
                self._write(bulk)  # step 3
        self._source.done(list(chain.from_iterable(buffer.records.values())))  # step 4

    def _write(self, pieces: list[Document]) -> None:
        written = self._aside.ask(partial(self._store.bulk, COLLECTION, [_put(piece) for piece in pieces]))
        for index, reason in written.refused.items():
            if index not in written.duplicate_keys:  # two of us put the same new piece: one of them is enough
                self._metrics.refused.inc()
                log.error("piece of history refused", document=pieces[index]["_id"], reason=reason.detail)
        self._metrics.pieces.inc(len(pieces))
        self._metrics.samples.inc(sum(piece["samples"] for piece in pieces))


def _put(piece: Document) -> UpdateOne:
    """The piece as it is: its id names the stretch of the log that it comes from."""
    fields = dict(piece)
    return UpdateOne({"_id": fields.pop("_id")}, {"$set": fields}, upsert=True)


def _bulks(pieces: Iterator[Document]) -> Iterator[list[Document]]:
    bulk: list[Document] = []
    size_bytes = 0
    for piece in pieces:
        bulk.append(piece)
        size_bytes += documents.size_bytes(piece)
        if len(bulk) >= _BULK_DOCUMENTS_MAX or size_bytes >= _BULK_BYTES_MAX:
            yield bulk
            bulk, size_bytes = [], 0
    if bulk:
        yield bulk
