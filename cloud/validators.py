"""The skeleton that every document must have, as `$jsonSchema` (draft 4 with `bsonType`). Pure.

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


_POINT: Final = _object(
    "type coordinates",
    {
        "type": {"enum": ["Point"]},
        "coordinates": {"bsonType": "array", "minItems": 2, "maxItems": 2, "items": {"bsonType": "number"}},
    },
)
_CONNECTION: Final = _object(
    "online last_seen",
    {
        "online": _BOOLEAN,
        "since": _DATE,
        "session": _STRING,
        "gateway": _STRING,
        "last_seen": _DATE,
        "silent": _BOOLEAN,
    },
)
_OPEN_FINDING: Final = _object(
    "anomaly_id detector subject severity since summary",
    {
        "anomaly_id": _TEXT,
        "detector": _TEXT,
        "subject": _STRING,
        "severity": {"enum": list(SEVERITIES)},
        "since": _DATE,
        "summary": _STRING,
    },
)
_HEALTH: Final = _object(
    "status worst open",
    {
        "status": {"enum": list(STATUSES)},
        "worst": _TEXT_OR_NULL,
        "open": {"bsonType": "array", "items": _OPEN_FINDING},
    },
)
_OWNER: Final = _object(
    "customer_id role since",
    {"customer_id": _TEXT, "display_name": _TEXT_OR_NULL, "role": _TEXT, "since": _DATE, "overlaps": _COUNT},
)
_LIFECYCLE: Final = _object(
    "state since steps",
    {
        "state": _TEXT,
        "since": _DATE,
        "steps": {"bsonType": "array", "items": _object("step ts", {"step": _TEXT, "ts": _DATE})},
    },
)
_TWIN: Final = {
    "_id": _ASSET_ID,
    "kind": _KIND,
    "schema_version": {"bsonType": "int", "minimum": 1},
    "catalog": _TEXT,
    "revision": _COUNT,
    "attributes": {"bsonType": "object", "properties": {"vin": _TEXT, "plate": _TEXT}},
    "signals": _OBJECT,
    "location": _POINT,
    "search": _object(
        "values seen",
        {
            "values": _ARRAY,
            "place": _POINT,
            "seen": _DATE,
        },
    ),
    "connection": _CONNECTION,
    "health": _HEALTH,
    "owner": _OWNER,
    "lifecycle": _LIFECYCLE,
    "counters": _OBJECT,
    "fold": _OBJECT,
    "link": _object("revision", {"revision": _COUNT}),
}
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
        "twins": _document("_id kind schema_version revision health counters link", _TWIN),
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
