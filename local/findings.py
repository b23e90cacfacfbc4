"""Open anomalies for the live view, read from the twin store."""

import time
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import pymongo
from pymongo.errors import PyMongoError

_LATEST: Final = 5
_INTERVAL_S: Final = 2.0
_ANSWER_LIMIT_MS: Final = 1_000


class Finding(NamedTuple):
    """One open anomaly."""

    opened: datetime
    asset_id: str
    detector: str
    severity: str
    summary: str


class Findings(NamedTuple):
    """How many are open by detector, and the latest."""

    open_by_detector: Mapping[str, int] = MappingProxyType({})
    latest: tuple[Finding, ...] = ()


class FindingsReader:
    """Reads at most every two seconds; in between, and while the store is away, the last answer stands."""

    def __init__(self, uri: str, database: str) -> None:
        self._client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(
            uri, serverSelectionTimeoutMS=_ANSWER_LIMIT_MS, tz_aware=True
        )
        self._anomalies = self._client[database]["anomalies"]
        self._last, self._read_at_s = Findings(), -_INTERVAL_S

    def read(self) -> Findings:
        if time.monotonic() - self._read_at_s >= _INTERVAL_S:
            self._read_at_s = time.monotonic()
            try:
                self._last = Findings(self._counts(), self._latest())
            except PyMongoError:
                return self._last
        return self._last

    def _counts(self) -> dict[str, int]:
        by_detector = {"$group": {"_id": "$detector", "count": {"$sum": 1}}}
        rows = self._anomalies.aggregate([{"$match": {"status": "open"}}, by_detector, {"$sort": {"count": -1}}])
        return {row["_id"]: row["count"] for row in rows}

    def _latest(self) -> tuple[Finding, ...]:
        rows = self._anomalies.find({"status": "open"}, sort=[("opened", pymongo.DESCENDING)], limit=_LATEST)
        return tuple(
            Finding(row["opened"], row["asset_id"], row["detector"], row["severity"], row["summary"]) for row in rows
        )

    def close(self) -> None:
        self._client.close()
