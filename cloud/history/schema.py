"""Brings the collection `history` to what its writers and readers rely on: validator, indexes, retention.

Retention is one TTL index per data class, so a change of it is a change of an index and not of documents.
"""

from typing import Any, Final

import structlog
from pymongo import ASCENDING
from pymongo.database import Database
from pymongo.errors import CollectionInvalid, OperationFailure

from cloud.config import HistorySettings
from cloud.history.documents import Document

log: Final = structlog.get_logger()

COLLECTION: Final = "history"
PIECES_INDEX: Final = "pieces"
_DAY_S: Final = 86_400
_VALIDATOR: Final = {
    "$jsonSchema": {
        "bsonType": "object",
        "required": ["_id", "asset_id", "hour", "from", "to", "samples", "times", "signals"],
        "properties": {
            "hour": {"bsonType": "date"},
            "from": {"bsonType": "date"},
            "to": {"bsonType": "date"},
            "times": {"bsonType": "array"},
            "signals": {"bsonType": "object"},
        },
    }
}


def ensure(database: Database[Document], settings: HistorySettings) -> None:
    """Create or change whatever differs; raises pymongo's errors. Several may do it at the same time."""
    try:
        # zstd halves again what pieces take, which are not compressed themselves
        engine = {"wiredTiger": {"configString": "block_compressor=zstd"}}
        database.create_collection(COLLECTION, validator=_VALIDATOR, storageEngine=engine)
    except (CollectionInvalid, OperationFailure) as error:
        if isinstance(error, OperationFailure) and error.code != 48:  # NamespaceExists
            raise
    history = database[COLLECTION]
    pieces = {"written": {"$exists": True}}
    history.create_index([("hour", ASCENDING), ("_id", ASCENDING)], name=PIECES_INDEX, partialFilterExpression=pieces)
    days: dict[str, int] = settings.retention_days.model_dump()
    held = {index["name"]: index for index in history.list_indexes()}
    for name, kept_days in days.items():
        _expire(database, held, f"expire_{name}", {"class": name}, kept_days * _DAY_S)
    _expire(database, held, "expire_pieces", pieces, max(days.values()) * _DAY_S)


def _expire(
    database: Database[Document], held: dict[str, Any], name: str, which: dict[str, Any], after_s: int
) -> None:  # fmt: skip
    index = held.get(name)
    if index is None:
        database[COLLECTION].create_index(
            [("to", ASCENDING)], name=name, partialFilterExpression=which, expireAfterSeconds=after_s
        )
    elif index["expireAfterSeconds"] != after_s:
        log.info("retention changed", index=name, days=after_s // _DAY_S)
        database.command("collMod", COLLECTION, index={"name": name, "expireAfterSeconds": after_s})
