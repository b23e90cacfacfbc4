"""MongoDB: a client with bounded waits, and writes that are safe to repeat and patient while it is away."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import structlog
from bson.codec_options import CodecOptions, DatetimeConversion
from pymongo import DeleteOne, InsertOne, MongoClient, UpdateOne
from pymongo.client_session import ClientSession
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ConnectionFailure,
    ExecutionTimeout,
    OperationFailure,
    WriteConcernError,
)
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern
from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random_exponential

from runtime.settings import MongoSettings
from wire.malformed import Malformed, Reason

log: Final = structlog.get_logger()

Document = dict[str, Any]
Client = MongoClient[Document]
APP_NAME: Final = "fleetfold-cloud"
"""By which the server knows our connections."""
T = TypeVar("T")
Write = UpdateOne | InsertOne[Any] | DeleteOne

_AWAY: Final = (ConnectionFailure, ExecutionTimeout, WriteConcernError)
_FOR_NOW: Final = frozenset(
    {
        *(6, 7, 89, 202, 9001),  # no way to another member, or it took too long
        *(24, 50, 112, 262),  # LockTimeout, MaxTimeMSExpired, WriteConflict, ExceededTimeLimit
        *(91, 189, 10107, 11600, 11602, 13435, 13436),  # shutting down, or no longer primary
        *(134, 14031),  # ReadConcernMajorityNotAvailableYet, OutOfDiskSpace
    }
)
"""The server's codes (MongoDB, `error_codes.yml`) for what passes: nothing is wrong with what was to be written."""
_DUPLICATE_KEY: Final = 11000
SELECTION_MS_MAX: Final = 2_000
"""How long who tries again anyway lets the driver look for a server: nothing ends that but its success."""
_NAP_S: Final = 0.2
_LOG_INTERVAL_S: Final = 30.0


class StoppedError(Exception):
    """The process was told to stop while it waited for a server. What it held was not committed."""


@dataclass(slots=True)
class Written:
    """What became of a bulk of writes: nothing to say of those that succeeded."""

    refused: dict[int, Malformed] = field(default_factory=dict)
    """Index in the bulk → why: the server's own words, or a limit of ours."""
    duplicate_keys: set[int] = field(default_factory=set)
    matched: int = 0
    """Documents found, or made."""
    behind: list[int] = field(default_factory=list)
    """Of twins: indexes of those that somebody else wrote, and perhaps of some that were written."""


def connect(settings: MongoSettings, selection_ms_max: int | None = None) -> Client:
    """A client with bounded waits; nothing is contacted yet. Times come back as milliseconds."""
    return MongoClient(
        settings.uri.get_secret_value(),
        serverSelectionTimeoutMS=min(settings.timeout_ms, selection_ms_max or settings.timeout_ms),
        connectTimeoutMS=settings.timeout_ms,
        socketTimeoutMS=settings.timeout_ms,
        retryWrites=True,
        appname=APP_NAME,
    )


class Mongo:
    """One database. While it is away every call waits, and calls `while_waiting` at least once a second or two; what
    that raises ends the wait."""

    def __init__(
        self, client: Client, settings: MongoSettings, while_waiting: Callable[[], None]
    ) -> None:  # fmt: skip
        options: CodecOptions[Document] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_MS)
        concern = WriteConcern("majority", wtimeout=settings.timeout_ms)
        # What only one member has may be rolled back: an offset must not be committed because of it.
        self.database = client.get_database(
            settings.database, codec_options=options, write_concern=concern, read_concern=ReadConcern("majority")
        )
        self._while_waiting = while_waiting
        self._quiet_until_s = 0.0
        self.waits = 0

    def bulk(self, collection: str, writes: Sequence[Write]) -> Written:
        """Unordered writes. Those that the server refuses are told apart; the others are done."""
        if not writes:
            return Written()
        return self.patiently(lambda: self._bulk(collection, writes))

    def update_within(self, session: ClientSession, collection: str, statements: Sequence[Mapping[str, Any]]) -> None:
        """Updates of one message, within a transaction; raises `BulkWriteError` where the server refuses one.

        Without pymongo's checks of each operation: a quarter less of the time of a write here (measured).
        """
        done = self.database.command("update", collection, updates=statements, ordered=False, session=session)
        if done.get("writeErrors"):
            raise BulkWriteError(done)

    def patiently(self, operation: Callable[[], T]) -> T:
        """Run `operation`, again and again while the database cannot be reached."""
        retrying = Retrying(
            retry=retry_if_exception(_passes),
            wait=wait_random_exponential(multiplier=0.2, max=5),
            before_sleep=self._on_wait,
            sleep=self._sleep,
        )
        return retrying(operation)

    def _sleep(self, seconds: float) -> None:
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0:
            self._while_waiting()
            time.sleep(min(left_s, _NAP_S))

    def _on_wait(self, state: RetryCallState) -> None:
        self.waits += 1
        error = state.outcome.exception() if state.outcome else None
        if time.monotonic() >= self._quiet_until_s:
            self._quiet_until_s = time.monotonic() + _LOG_INTERVAL_S
            log.warning("database away, trying again", attempt=state.attempt_number, error=str(error)[:200])

    def _bulk(self, collection: str, writes: Sequence[Write]) -> Written:
        try:
            result = self.database[collection].bulk_write(writes, ordered=False)
        except BulkWriteError as error:
            details: Mapping[str, Any] = error.details or {}
            if details.get("writeConcernErrors"):
                raise WriteConcernError("not acknowledged by a majority") from error
            if any(refusal["code"] in _FOR_NOW for refusal in details.get("writeErrors", ())):
                raise AutoReconnect(str(details["writeErrors"][0].get("errmsg"))) from error
            return _sorted_out(details)
        return Written(matched=result.matched_count + result.inserted_count)


def _passes(error: BaseException) -> bool:
    """Whether it is the server's state that is wrong, for now, and not what it was asked."""
    if isinstance(error, _AWAY):
        return True
    return isinstance(error, OperationFailure) and (
        error.code in _FOR_NOW or error.has_error_label("RetryableWriteError")
    )


def _sorted_out(details: Mapping[str, Any]) -> Written:
    written = Written(matched=details.get("nMatched", 0) + details.get("nInserted", 0))
    errors: Iterable[Mapping[str, Any]] = details.get("writeErrors", [])
    for error in errors:
        if error["code"] == _DUPLICATE_KEY:
            written.duplicate_keys.add(error["index"])
        why = str(error.get("errmsg", "refused"))[:500]
        written.refused[error["index"]] = Malformed(Reason.REFUSED_BY_DATABASE, why)
    return written


def replace_if_newer(identity: str, document: Document, version: str) -> UpdateOne:
    """An upsert that keeps whichever document has the greater `version` field; equal: the new one.

    An update pipeline, so that the comparison and the write are one step; `$literal`, so that text from outside
    is never read as an expression.
    """
    fresh = {"$literal": {**document, "_id": identity}}
    held_is_newer = {"$gt": [{"$ifNull": [f"${version}", None]}, {"$literal": document[version]}]}
    return UpdateOne({"_id": identity}, [{"$replaceWith": {"$cond": [held_is_newer, "$$ROOT", fresh]}}], upsert=True)
