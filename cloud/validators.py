"""The skeleton that every document must have, as `$jsonSchema` (draft 4 with `bsonType`), twins' as a query. Pure.

Only what readers rely on: a validator that lists each signal would refuse a newer writer, and what is checked for each
item of a list or map costs every write (such checks were a tenth of mongod's time, by profile). A refused write is a
bug of a writer, or a fact that cannot be; it becomes a dead letter.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from wire.topics import ASSET_ID, Kind

STATUSES: Final = ("ok", "watch", "service", "critical")
"""Health of a twin, from well to worst."""

SEVERITIES: Final = STATUSES[1:]
ANOMALY_STATUSES: Final = ("open", "acknowledged", "resolved")

_STRING: Final = {"bsonType": "string"}
_TEXT: Final = {"bsonType": "string", "minLength": 1}
_TEXT_OR_NULL: Final = {"bsonType": ["string", "null"]}
_OBJECT: Final = {"bsonType": "object"}
_ARRAY: Final = {"bsonType": "array"}
_DATE: Final = {"bsonType": "date"}
_DATE_OR_NULL: Final = {"bsonType": ["date", "null"]}
_BOOLEAN: Final = {"bsonType": "bool"}
_COUNT: Final = {"bsonType": ["int", "long"], "minimum": 0}
_ASSET_ID: Final = {"bsonType": "string", "pattern": rf"^{ASSET_ID.pattern}\z"}  # PCRE: `$` lets a newline by
_KIND: Final = {"enum": [str(kind) for kind in Kind]}


def _object(required: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"bsonType": "object", "required": required.split(), "properties": dict(properties)}


def _document(required: str, properties: Mapping[str, Any]) -> Mapping[str, Any]:
    return MappingProxyType({"$jsonSchema": _object(required, properties)})


_INTEGER: Final = {"$type": ["int", "long"], "$gte": 0}
_A_DATE: Final = {"$type": "date"}
_A_STRING: Final = {"$type": "string"}
_A_STRING_OR_NULL: Final = {"$type": ["string", "null"]}
_AN_OBJECT: Final = {"$type": "object"}


def _none_with(*faults: Mapping[str, Any]) -> dict[str, Any]:
    """A list without an item that has one of these faults."""
    return {"$type": "array", "$not": {"$elemMatch": {"$or": [dict(fault) for fault in faults]}}}


def _no(field: str, condition: Mapping[str, Any]) -> dict[str, Any]:
    return {field: {"$not": dict(condition)}}


_TWIN_ALWAYS: Final = {
    "_id": {"$regex": _ASSET_ID["pattern"]},
    "kind": {"$in": [str(kind) for kind in Kind]},
    "schema_version": {"$type": "int", "$gte": 1},
    "revision": _INTEGER,
    "counters": _AN_OBJECT,
    "health.status": {"$in": list(STATUSES)},
    "health.worst": _A_STRING_OR_NULL,
    "health.open": _none_with(
        *(_no(field, _A_STRING) for field in ("anomaly_id", "detector", "subject", "summary")),
        _no("severity", {"$in": list(SEVERITIES)}),
        _no("since", _A_DATE),
    ),
    "link.revision": _INTEGER,
}
_TWIN_IF_THERE: Final = {
    "signals": {"signals": _AN_OBJECT},
    "fold": {"fold": _AN_OBJECT},
    "catalog": {"catalog": _A_STRING},
    "connection": {
        "connection.last_seen": _A_DATE,
        "connection.online": {"$type": "bool"},
        "connection.session": _A_STRING,
        "connection.gateway": _A_STRING,
    },
    "connection.since": {"connection.since": _A_DATE},
    "location": {
        "location.type": "Point",
        "location.coordinates": {"$size": 2},
        "location.coordinates.0": {"$gte": -180, "$lte": 180},
        "location.coordinates.1": {"$gte": -90, "$lte": 90},
    },
    "search": {"search.seen": _A_DATE, "search.values": {"$type": "array"}},
    "owner": {
        "owner.customer_id": _A_STRING,
        "owner.display_name": _A_STRING_OR_NULL,
        "owner.role": _A_STRING,
        "owner.since": _A_DATE,
    },
    "lifecycle": {
        "lifecycle.state": _A_STRING,
        "lifecycle.since": _A_DATE,
        "lifecycle.steps": _none_with(_no("step", _A_STRING), _no("ts", _A_DATE)),
    },
    "attributes.vin": {"attributes.vin": {"$regex": "."}},
    "attributes.plate": {"attributes.plate": {"$regex": "."}},
}
_TWIN: Final = MappingProxyType(
    {
        **_TWIN_ALWAYS,
        "$and": [{"$or": [held, {field: {"$exists": False}}]} for field, held in _TWIN_IF_THERE.items()],
    }
)
"""As a query: of `$jsonSchema` the server looks up each field three times, and twins are written by the thousand a
second. 5 µs less of the 55 that a write costs it; of the 45 today the whole query takes 8, and the types of single
values in it less than can be measured. What each signal holds is not looked at, here or below."""

_ANOMALY: Final = {
    "_id": _TEXT,
    "asset_id": _ASSET_ID,
    "kind": _KIND,
    "detector": _TEXT,
    "subject": _STRING,
    "severity": {"enum": list(SEVERITIES)},
    "status": {"enum": list(ANOMALY_STATUSES)},
    "opened": _DATE,
    "last": _DATE,
    "resolved": _DATE_OR_NULL,
    "summary": _STRING,
    "advice": _STRING,
    "evidence": _OBJECT,
}
_EVENT: Final = {
    "_id": _TEXT,
    "asset_id": _ASSET_ID,
    "kind": _KIND,
    "type": _TEXT,
    "ts": _DATE,
    "received": _DATE,
    "session": _TEXT,
    "seq": _COUNT,
    "data": _OBJECT,
}
_CUSTOMER: Final = {
    "_id": _TEXT,
    "display_name": _TEXT,
    "consents": {"bsonType": "object", "additionalProperties": _BOOLEAN},
    "updated": _DATE,
}
_ROLE: Final = {
    "_id": _TEXT,
    "asset_id": _ASSET_ID,
    "customer_id": _TEXT,
    "role": _TEXT,
    "from": _DATE,
    "to": _DATE_OR_NULL,
    "recorded": _DATE,
    "retracted": _BOOLEAN,
}
_ACTIVITY: Final = {
    "_id": _TEXT,
    "customer_id": _TEXT,
    "ts": _DATE,
    "type": _TEXT,
    "via": _TEXT,
    "asset_id": _ASSET_ID,
}
_ERASURE: Final = {"_id": _TEXT, "erased": _DATE}
_DEAD_LETTER_MARK: Final = {
    "_id": _TEXT,
    "topic": _TEXT,
    "partition": _COUNT,
    "offset": _COUNT,
    "origin": _STRING,
    "reason": _TEXT,
    "replayed": _DATE,
    "times": _COUNT,
}

VALIDATORS: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "twins": _TWIN,
        "anomalies": _document("_id asset_id kind detector subject severity status opened last summary", _ANOMALY),
        "events": _document("_id asset_id kind type ts received session seq data", _EVENT),
        "customers": _document("_id display_name updated", _CUSTOMER),
        "asset_roles": _document("_id asset_id customer_id role from recorded", _ROLE),
        "activities": _document("_id customer_id ts type via", _ACTIVITY),
        "erasures": _document("_id erased", _ERASURE),
        "dead_letters": _document("_id topic partition offset origin replayed times", _DEAD_LETTER_MARK),
    }
)
"""Collection → validator."""
