"""What a fold tells others than the twin: events and anomalies as documents, anomalies and dead letters as records.

All of it has deterministic ids, so doing it again after a crash changes nothing. Pure.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from bson.datetime_ms import DatetimeMS
from pymongo import UpdateOne

from wire import codec, records, topics
from wire.messages import Anomaly, plain
from wire.records import DeadLetter, Headers


class Outgoing(NamedTuple):
    """A record to write."""

    topic: str
    key: bytes
    value: bytes | None
    headers: Headers


_SOURCE: Final = "/fleetfold/twins"


def event_write(event: Mapping[str, Any]) -> UpdateOne:
    """Insert an event once; `event` is from `fold`, times in ms."""
    document = dict(event)
    identity = document.pop("_id")
    for name in ("ts", "received"):
        document[name] = DatetimeMS(document.pop(f"{name}_ms"))
    return UpdateOne({"_id": identity}, {"$setOnInsert": document}, upsert=True)


def anomaly_writes(changes: Iterable[Mapping[str, Any]], heard: int) -> list[UpdateOne]:
    """Bring anomalies to where a twin is that has `heard` so much; one that is from further on stays as it is.

    Not the twin's revision: of two workers that hold the asset for a moment, the one that loses the twin may have
    written the same revision from another cut of the log. Changes of one anomaly are merged first: a bulk has no order.
    """
    merged: dict[str, dict[str, Any]] = {}
    for change in changes:
        merged.setdefault(change["_id"], {}).update(change)
    return [_anomaly_write(change, heard) for change in merged.values()]


def _anomaly_write(change: Mapping[str, Any], heard: int) -> UpdateOne:
    document = {"revision": heard, **change}
    for name in ("opened", "last", "resolved"):
        if f"{name}_ms" in document:
            time_ms = document.pop(f"{name}_ms")
            document[name] = None if time_ms is None else DatetimeMS(time_ms)
    held_is_newer = {"$gt": [{"$ifNull": ["$revision", -1]}, heard]}
    updated = {"$mergeObjects": ["$$ROOT", {"$literal": document}]}
    whole = "status" in change  # what only lasts must exist already
    return UpdateOne(
        {"_id": change["_id"]}, [{"$replaceWith": {"$cond": [held_is_newer, "$$ROOT", updated]}}], upsert=whole
    )


def anomaly_records(changes: Iterable[Mapping[str, Any]]) -> list[Outgoing]:
    """One record for each raising, rise and closing; that something lasts is not news."""
    return [_anomaly_record(change) for change in changes if "status" in change]


def _anomaly_record(change: Mapping[str, Any]) -> Outgoing:
    fields = {name: value for name, value in change.items() if name != "_id"}
    anomaly = Anomaly(v=1, anomaly_id=change["_id"], **fields)
    headers = records.cloud_event(
        type_="anomaly.v1",
        id_=f"{anomaly.anomaly_id}/{anomaly.status}/{anomaly.severity}/{anomaly.last_ms}",
        source=_SOURCE,
        subject=anomaly.asset_id,
        time_ms=anomaly.last_ms,
        content_type=codec.CONTENT_TYPE_JSON,
    )
    return Outgoing(topics.TWIN_ANOMALIES, anomaly.asset_id.encode(), codec.to_json(plain(anomaly)), headers)


def dead_letter_record(letter: DeadLetter, topic: str) -> Outgoing:
    """A dead letter for what came in on `topic`."""
    return Outgoing(topics.dead_letter_topic(topic), letter.asset_id.encode(), letter.value, letter.headers())
