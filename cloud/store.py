"""MongoDB, as the fold and the linker see it. Every write is safe to repeat."""

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import structlog
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.raw_bson import RawBSONDocument
from pymongo import DeleteMany, DeleteOne, MongoClient, UpdateOne
from pymongo.errors import BulkWriteError, ConnectionFailure, ExecutionTimeout, WriteConcernError
from pymongo.write_concern import WriteConcern
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_random_exponential

from cloud import twin as twins
from cloud.leaves import Leaves
from cloud.twin import Twin
from runtime.settings import MongoSettings
from wire.topics import Kind

log: Final = structlog.get_logger()

Document = dict[str, Any]
T = TypeVar("T")

_AWAY: Final = (ConnectionFailure, ExecutionTimeout, WriteConcernError)
_DUPLICATE_KEY: Final = 11000
_FOLD_HALF: Final = {"attributes": 0, "owner": 0, "lifecycle": 0}


class StoppedError(Exception):
    """The process was told to stop while it waited for a server. What it held was not committed."""


@dataclass(slots=True)
class Written:
    """What became of a bulk of writes: nothing to say of those that succeeded."""

    refused: dict[int, str] = field(default_factory=dict)
    """Index in the bulk → the server's reason."""
    duplicate_keys: set[int] = field(default_factory=set)
    matched: int = 0


def connect(settings: MongoSettings) -> MongoClient[Document]:
    """A client with bounded waits; nothing is contacted yet. Times come back as milliseconds."""
    return MongoClient(
        settings.uri.get_secret_value(),
        serverSelectionTimeoutMS=settings.timeout_ms,
        connectTimeoutMS=settings.timeout_ms,
        socketTimeoutMS=settings.timeout_ms,
        retryWrites=True,
        appname="fleetfold-cloud",
    )


class Store:
    """One database. While it is away every call waits, and calls `while_waiting` between tries."""

    def __init__(
        self, client: MongoClient[Document], settings: MongoSettings, while_waiting: Callable[[], None]
    ) -> None:  # fmt: skip
        options: CodecOptions[Document] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_MS)
        concern = WriteConcern("majority", wtimeout=settings.timeout_ms)
        self.database = client.get_database(settings.database, codec_options=options, write_concern=concern)
        self._while_waiting = while_waiting
        self._leaves = Leaves()
        self.waits = 0

    def load(self, asset_ids: Sequence[str]) -> list[Document]:
        """The fold's half of the twins that exist."""
        if not asset_ids:
            return []
        wanted = {"_id": {"$in": list(asset_ids)}}
        return self.patiently(lambda: list(self.database["twins"].find(wanted, _FOLD_HALF)))

    def create(self, assets: Mapping[str, Kind]) -> None:
        """Make a document for each asset that has none. Apart from the fold's update: an upsert with a
        compare-and-set filter fails on replay."""
        writes = [
            UpdateOne({"_id": asset_id}, {"$setOnInsert": twins.new_document(asset_id, kind)}, upsert=True)
            for asset_id, kind in assets.items()
        ]
        self.bulk("twins", writes)

    def write_twins(self, changed: Sequence[Twin]) -> Written:
        """Bring each twin's document from `revision` to the next. `matched` short of the number of twins means
        that somebody else wrote: load those twins again and fold again."""
        return self.bulk("twins", [self.twin_write(twin) for twin in changed])

    def twin_write(self, twin: Twin) -> UpdateOne:
        """The compare-and-set that brings a twin's document to its state in memory."""
        fields = twins.fold_fields(twin, twin.revision + 1, self._signals(twin))
        return UpdateOne({"_id": twin.asset_id, "revision": twin.revision}, {"$set": fields})

    def _signals(self, twin: Twin) -> RawBSONDocument | None:
        try:
            return RawBSONDocument(self._leaves.encode(twin.values, twin.times))
        except (struct.error, TypeError, AttributeError):  # a value from before its signal changed its type
            return None

    def bulk(self, collection: str, writes: Sequence[UpdateOne | DeleteOne | DeleteMany]) -> Written:
        """Unordered writes. Those that the server refuses are told apart; the others are done."""
        if not writes:
            return Written()
        return self.patiently(lambda: self._bulk(collection, writes))

    def patiently(self, operation: Callable[[], T]) -> T:
        """Run `operation`, again and again while the database cannot be reached."""
        retrying = Retrying(
            retry=retry_if_exception_type(_AWAY),
            wait=wait_random_exponential(multiplier=0.2, max=5),
            before_sleep=self._on_wait,
        )
        return retrying(operation)

    def _on_wait(self, state: RetryCallState) -> None:
        self.waits += 1
        error = state.outcome.exception() if state.outcome else None
        log.warning("database away, trying again", attempt=state.attempt_number, error=str(error)[:200])
        self._while_waiting()

    def _bulk(self, collection: str, writes: Sequence[UpdateOne | DeleteOne | DeleteMany]) -> Written:
        try:
            result = self.database[collection].bulk_write(writes, ordered=False)
        except BulkWriteError as error:
            details: Mapping[str, Any] = error.details or {}
            if details.get("writeConcernErrors"):
                raise WriteConcernError("not acknowledged by a majority") from error
            return _sorted_out(details)
        return Written(matched=result.matched_count)


def _sorted_out(details: Mapping[str, Any]) -> Written:
    written = Written(matched=details.get("nMatched", 0))
    errors: Iterable[Mapping[str, Any]] = details.get("writeErrors", [])
    for error in errors:
        if error["code"] == _DUPLICATE_KEY:
            written.duplicate_keys.add(error["index"])
        written.refused[error["index"]] = str(error.get("errmsg", "refused"))[:500]
    return written


def replace_if_newer(identity: str, document: Document, version: str) -> UpdateOne:
    """An upsert that keeps whichever document has the greater `version` field; equal: the new one.

    An update pipeline, so that the comparison and the write are one step; `$literal`, so that text from outside
    is never read as an expression.
    """
    fresh = {"$literal": {**document, "_id": identity}}
    held_is_newer = {"$gt": [{"$ifNull": [f"${version}", None]}, {"$literal": document[version]}]}
    return UpdateOne({"_id": identity}, [{"$replaceWith": {"$cond": [held_is_newer, "$$ROOT", fresh]}}], upsert=True)
