"""MongoDB for readers: bounded in time, dates as aware datetimes, prefixes and plates by their own collations."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC
from typing import Any, Final

from bson.codec_options import CodecOptions, DatetimeConversion
from pymongo import MongoClient
from pymongo.collation import Collation
from pymongo.database import Database

from cloud.queries import conditions
from cloud.queries.conditions import Condition
from cloud.queries.parsing import Point
from runtime.settings import MongoSettings

Document = dict[str, Any]

_ANSWER_MS_MAX: Final = 5_000
"""A person waits: a server that is away is reported after this, whatever the service's own patience."""

_BATCH_DOCUMENTS: Final = 1_000
_SIMILAR_MAX: Final = 5
_PREFIX_CHARS_MAX: Final = 64
_PEOPLE: Final = {"fold": 0, "link": 0, "search": 0}
"""Bookkeeping is not for people."""


class Reader:
    """One database; each query ends after `max_time_ms` at the server."""

    def __init__(self, database: Database[Document], max_time_ms: int) -> None:
        options: CodecOptions[Document] = CodecOptions(
            tz_aware=True, tzinfo=UTC, datetime_conversion=DatetimeConversion.DATETIME_CLAMP
        )
        self.database = database.with_options(codec_options=options)
        self._max_time_ms = max_time_ms

    def find(
        self,
        collection: str,
        condition: Condition,
        keys: list[tuple[str, int]],
        limit: int,
        projection: Mapping[str, int] | None = None,
        collation: Mapping[str, Any] | None = None,
    ) -> list[Document]:
        """At most `limit` documents in the order of `keys` (none: as the index has them)."""
        cursor = self.database[collection].find(
            condition,
            projection,
            sort=keys or None,
            limit=limit,
            collation=Collation(**collation) if collation else None,
            max_time_ms=self._max_time_ms,
            allow_disk_use=True,
        )
        return list(cursor)

    def each(
        self, collection: str, condition: Condition, keys: list[tuple[str, int]], projection: Mapping[str, int]
    ) -> Iterator[Document]:
        """All documents, one after the other: for answers that are smaller than what they are made of."""
        with self.database[collection].find(
            condition, projection, sort=keys, max_time_ms=self._max_time_ms, batch_size=_BATCH_DOCUMENTS
        ) as found:
            yield from found

    def aggregate(self, collection: str, stages: list[dict[str, Any]]) -> list[Document]:
        """What a pipeline makes of a collection."""
        with self.database[collection].aggregate(stages, maxTimeMS=self._max_time_ms, allowDiskUse=True) as found:
            return list(found)

    def twins(self, condition: Condition, keys: list[tuple[str, int]], limit: int) -> list[Document]:
        """Twins as people see them."""
        return self.find("twins", condition, keys, limit, _PEOPLE)

    def nearest(self, condition: Condition, point: Point, limit: int) -> list[Document]:
        """Twins as people see them, the nearest first."""
        stages: list[dict[str, Any]] = [
            {"$match": condition},
            {"$set": {"_radians": conditions.distance(point)}},
            {"$sort": {"_radians": 1, "_id": 1}},
            {"$limit": limit},
            {"$unset": ["_radians", *_PEOPLE]},
        ]
        return self.aggregate("twins", stages)

    def count(self, collection: str, condition: Condition) -> int:
        """How many documents match; all of them by what the server keeps count of, since counting would read all."""
        if not condition:
            return self.database[collection].estimated_document_count(maxTimeMS=self._max_time_ms)
        return self.database[collection].count_documents(condition, maxTimeMS=self._max_time_ms)

    def distinct(self, collection: str, field: str) -> tuple[str, ...]:
        """The texts that `field` has, read from the index that begins with it."""
        found = self.database[collection].distinct(field, {}, maxTimeMS=self._max_time_ms)
        return tuple(sorted(value for value in found if isinstance(value, str)))

    def similar(
        self, collection: str, field: str, text: str, collation: Mapping[str, Any] | None = None
    ) -> list[Document]:
        """A few documents whose `field` shares the longest beginning with `text`: at least half of it."""
        longest = min(len(text), _PREFIX_CHARS_MAX)
        for length in range(longest, (longest - 1) // 2, -1):
            begins_so = conditions.prefix(field, text[:length])
            found = self.find(collection, begins_so, [(field, 1)], _SIMILAR_MAX, {field: 1}, collation)
            if found:
                return found
        return []


@contextmanager
def connected(settings: MongoSettings, max_time_ms: int) -> Iterator[Reader]:
    """A reader of the configured database; raises pymongo's errors."""
    answer_ms = min(settings.timeout_ms, _ANSWER_MS_MAX)
    client: MongoClient[Document] = MongoClient(
        settings.uri.get_secret_value(),
        serverSelectionTimeoutMS=answer_ms,
        connectTimeoutMS=answer_ms,
        socketTimeoutMS=max_time_ms + answer_ms,
        appname="fleetfold-cloud-query",
    )
    with client:
        yield Reader(client[settings.database], max_time_ms)
