"""What the twin service has written, as the oracle reads it."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from pymongo import MongoClient
from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern

from runtime.settings import MongoSettings
from simulator.errors import UnreachableError
from simulator.oracle.compare import Actual

_PAGE: Final = 500
_NOT_COMPARED: Final = {"fold": 0, "search": 0, "link": 0}
"""Bookkeeping, half of a twin."""

T = TypeVar("T")


class Database:
    """Reads twins, events and anomalies; raises `UnreachableError` when the database does not answer.

    Dates have no time zone, they are UTC: to add it takes three times as long as all the rest of reading a twin.
    """

    def __init__(self, settings: MongoSettings) -> None:
        self._client: MongoClient[dict[str, Any]] = MongoClient(
            settings.uri.get_secret_value(),
            serverSelectionTimeoutMS=settings.timeout_ms,
            appname="fleetfold-sim",
        )
        self._database = self._client.get_database(settings.database, read_concern=ReadConcern("majority"))

    def actual(self, asset_ids: Sequence[str]) -> Iterator[tuple[str, Actual]]:
        """What there is about each asset, in the order given."""
        for begin in range(0, len(asset_ids), _PAGE):
            page = list(asset_ids[begin : begin + _PAGE])
            yield from self._answered(lambda page=page: self._page(page))  # type: ignore[misc]  # mypy cannot type it

    def folded(self) -> int:
        """Frames and events that all twins have counted."""
        counts = [{"$ifNull": [f"$counters.{name}", 0]} for name in ("frames", "events")]
        total = {"$sum": {"$add": counts}}
        answer = self._answered(
            lambda: list(self._database["twins"].aggregate([{"$group": {"_id": None, "total": total}}]))
        )
        return int(answer[0]["total"]) if answer else 0

    def activity_ids(self) -> set[str]:
        """Ids of everything that customers did."""
        return self._answered(lambda: {each["_id"] for each in self._database["activities"].find({}, {"_id": 1})})

    def customers(self) -> dict[str, dict[str, Any]]:
        """Every customer's profile, by id."""
        return self._answered(lambda: {each["_id"]: each for each in self._database["customers"].find()})

    def history(self, asset_id: str) -> list[dict[str, Any]]:
        """The documents that hold what an asset's signals were."""
        return self._answered(lambda: list(self._database["history"].find({"asset_id": asset_id})))

    def _page(self, page: list[str]) -> list[tuple[str, Actual]]:
        wanted = {"asset_id": {"$in": page}}
        twins = {twin["_id"]: twin for twin in self._database["twins"].find({"_id": {"$in": page}}, _NOT_COMPARED)}
        events: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
        for event in self._database["events"].find(wanted, {"asset_id": 1, "type": 1, "ts": 1, "data": 1}):
            events[event["asset_id"]][event["_id"]] = event
        anomalies: dict[str, list[dict[str, Any]]] = defaultdict(list)
        fields = {"asset_id": 1, "detector": 1, "subject": 1, "severity": 1, "status": 1}
        for anomaly in self._database["anomalies"].find(wanted, fields):
            anomalies[anomaly["asset_id"]].append(anomaly)
        return [(asset, Actual(twins.get(asset), events[asset], anomalies[asset])) for asset in page]

    def _answered(self, question: Callable[[], T]) -> T:
        try:
            return question()
        except PyMongoError as error:
            # The driver's text can hold the whole topology; its first part says what happened.
            raise UnreachableError(f"MongoDB does not answer: {str(error).split(', Timeout:')[0][:300]}") from error

    def close(self) -> None:
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
