"""Merges pieces into buckets.

Documents are never changed. What is read is removed only after documents that hold all of it are written, so a kill
between the two, or another merger on the same hour, leaves samples twice for a while and never less.
"""

import secrets
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Final, NamedTuple

import structlog
from bson.datetime_ms import DatetimeMS
from pymongo import DeleteOne, UpdateOne
from pymongo.errors import DuplicateKeyError

from cloud.config import HistorySettings
from cloud.history import documents
from cloud.history.documents import HOUR_MS, Document
from cloud.history.metrics import Metrics
from cloud.history.schema import COLLECTION, PIECES_INDEX
from cloud.mongo import Mongo

log: Final = structlog.get_logger()

READ_BYTES_MAX: Final = 32_000_000
"""Columns read for one merge; what is more waits for the next."""
_BULK_BYTES_MAX: Final = 16_000_000
_LEASE_ID: Final = "history-merge"


class _Place(NamedTuple):
    asset_id: str
    hour: int


class Merger:
    """`now_ms` is the clock."""

    def __init__(
        self, store: Mongo, settings: HistorySettings, metrics: Metrics, now_ms: Callable[[], int]
    ) -> None:  # fmt: skip
        self._store, self._settings, self._metrics, self._now_ms = store, settings, metrics, now_ms
        self._history = store.database[COLLECTION]
        self._name = secrets.token_hex(8)

    def run(self, stopped: Callable[[], bool] = lambda: False) -> int:
        """Merge what is due, if nobody else is at it; returns how many pieces became buckets."""
        merged = 0
        old: list[DeleteOne] = []
        new: list[UpdateOne] = []
        size_bytes = 0
        if not self._lease():
            return 0
        for place in self._due():
            if stopped():
                break
            made, read = self._merge(place)
            merged += sum(map(documents.is_piece, read))
            kept = {bucket["_id"] for bucket in made}
            new += [_insert(bucket) for bucket in made]
            old += [_delete(document) for document in read if document["_id"] not in kept]
            size_bytes += sum(map(documents.size_bytes, made))
            if size_bytes > _BULK_BYTES_MAX or len(old) > 10_000:
                self._swap(new, old)
                old, new, size_bytes = [], [], 0
                self._lease()
        self._swap(new, old)
        self._metrics.merged.inc(merged)
        return merged

    def _lease(self) -> bool:
        """One merger at a time is enough; two would only do the same work."""
        now = self._now_ms()
        until = now + 3_000 * max(self._settings.merge_interval_s, 60)
        free = {"_id": _LEASE_ID, "$or": [{"until": {"$lte": DatetimeMS(now)}}, {"by": self._name}]}
        mine = {"$set": {"by": self._name, "until": DatetimeMS(until)}}
        control = self._store.database["control"]
        try:
            self._store.patiently(lambda: control.update_one(free, mine, upsert=True))
        except DuplicateKeyError:
            return False
        return True

    def _due(self) -> Iterator[_Place]:
        """Assets and hours with pieces that have rested, in order."""
        rested_ms = self._now_ms() - self._settings.merge_after_s * 1000
        due = {"hour": {"$lte": DatetimeMS(rested_ms - HOUR_MS)}, "written": {"$lte": DatetimeMS(rested_ms)}}
        order = [("hour", 1), ("_id", 1)]
        found = self._history.find(due, {"asset_id": 1, "hour": 1}, sort=order, hint=PIECES_INDEX)
        with found:
            places = (_Place(piece["asset_id"], int(piece["hour"]) // HOUR_MS) for piece in found)
            yield from (place for place, _ in groupby(places))

    def _merge(self, place: _Place) -> tuple[list[Document], list[Document]]:
        """The buckets to write and the documents that they hold."""
        read = self._read(place)
        return documents.buckets(place.asset_id, place.hour, documents.all_samples(read)), read

    def _read(self, place: _Place) -> list[Document]:
        """The pieces of an hour, which come first, and its buckets; of too much: those that concern the same time."""
        first, beyond = documents.span(place.asset_id, place.hour * HOUR_MS, place.hour * HOUR_MS + 1)
        taken: list[Document] = []
        size_bytes = 0
        with self._history.find({"_id": {"$gt": first, "$lt": beyond}}, sort=[("_id", 1)]) as found:
            for document in found:
                fits = size_bytes < READ_BYTES_MAX
                if fits or (not documents.is_piece(document) and _overlap(document, taken)):
                    taken.append(document)
                    size_bytes += documents.size_bytes(document)
        return taken

    def _swap(self, new: list[UpdateOne], old: list[DeleteOne]) -> None:
        written = self._store.bulk(COLLECTION, new)
        refused = set(written.refused) - written.duplicate_keys
        if refused:
            reason = written.refused[min(refused)].detail
            log.error("buckets of history refused, the pieces stay", count=len(refused), reason=reason)
            return
        self._metrics.buckets.inc(len(new))
        self._store.bulk(COLLECTION, old)


def _overlap(bucket: Document, pieces: list[Document]) -> bool:
    return any(bucket["from"] <= piece["to"] and piece["from"] <= bucket["to"] for piece in pieces)


def _delete(document: Document) -> DeleteOne:
    """Exactly what was read: a piece may have been put again meanwhile, by a version that knows more signals."""
    return DeleteOne({name: document[name] for name in ("_id", "written") if name in document})


def _insert(bucket: Document) -> UpdateOne:
    """The id names the content: one that is there already is the same."""
    fields = dict(bucket)
    return UpdateOne({"_id": fields.pop("_id")}, {"$setOnInsert": fields}, upsert=True)
