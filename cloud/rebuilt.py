"""What a rebuild does in MongoDB: twins and anomalies beside the live ones, and how they become the live ones."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

import structlog
from bson.datetime_ms import DatetimeMS
from pymongo import UpdateOne

from cloud import handover, schema, search, twin
from cloud.effects import Outgoing
from cloud.handover import SHADOW_ANOMALIES, SHADOW_TWINS, TWINS
from cloud.linker import Linker
from cloud.mongo import Document, Written
from cloud.outlet import Outlet
from cloud.store import Store
from cloud.twin import Twin
from runtime.settings import MongoSettings
from wire.records import DeadLetter
from wire.topics import Kind

log: Final = structlog.get_logger()

_PAGE: Final = 1_000
_LINKED: Final = ("attributes", "owner", "lifecycle", "link")
"""The linker's half of a twin: not folded from the fleet's topics, so it is taken over."""


class ShadowStore(Store):
    """Twins and anomalies beside the live ones; events go where they belong, since they are only inserted once.

    New twins begin at `first_revision`, above all that live ones have, so that a worker that slept through the
    handover never finds the revision that it remembers; what they have heard does too, so that their findings count.
    """

    def __init__(
        self, live: Store, settings: MongoSettings, while_waiting: Callable[[], None], first_revision: int
    ) -> None:  # fmt: skip
        super().__init__(live.database.client, settings, while_waiting, live.twin_bytes_max, SHADOW_TWINS)
        self._first_revision = first_revision

    def prepare(self) -> None:
        """Make the collections, with validators and indexes."""
        schema.ensure_like(self.database, SHADOW_TWINS, TWINS)
        schema.ensure_like(self.database, SHADOW_ANOMALIES, "anomalies")

    def new_twin(self, asset_id: str, kind: Kind) -> Twin:
        made = super().new_twin(asset_id, kind)
        made.revision = made.heard = self._first_revision
        return made

    def bulk(self, collection: str, writes: Sequence[Any]) -> Written:
        return super().bulk(SHADOW_ANOMALIES if collection == "anomalies" else collection, writes)


class NoLinker(Linker):
    """Owners and lives are taken over from the live twins."""

    def relink(self, _asset_ids: Sequence[str], _steps: object = None) -> list[DeadLetter]:
        return []


class NoOutlet(Outlet):
    """What the live fold has told already is not told again."""

    def __init__(self) -> None:
        pass

    def send(self, _outgoing: Outgoing) -> None:
        pass

    def flush(self) -> None:
        pass


def complete(store: Store) -> int:
    """Give the rebuilt twins the linker's half of the live ones, and add the twins of assets that the log says nothing
    of; returns how many those are. The workers must wait meanwhile."""
    database = store.database
    before = database[SHADOW_TWINS].count_documents({})
    taken_over: Document = {name: f"$$live.{name}" for name in _LINKED}
    merge = {
        "into": SHADOW_TWINS,
        "on": "_id",
        "let": {"live": "$$ROOT"},
        "whenMatched": [{"$set": taken_over}],
        "whenNotMatched": "insert",
    }
    store.patiently(lambda: list(database[TWINS].aggregate([{"$merge": merge}])))
    return database[SHADOW_TWINS].count_documents({}) - before


def reconcile(store: Store, first_revision: int, since_ms: int | None) -> tuple[int, int]:
    """Bring the live anomalies to what was found again: those found are written, an acknowledgement stays; open ones of
    rebuilt twins that were not found again are resolved, as `withdrawn`. Returns how many of each.

    With `since_ms`, what opened before is left as it is. Safe to repeat.
    """
    written = withdrawn = 0
    for found in _pages(store.database[SHADOW_ANOMALIES].find({})):
        page = found if since_ms is None else _not_going_on(store, found, since_ms)
        refused = store.bulk("anomalies", [_anomaly_write(found) for found in page]).refused
        for index, why in refused.items():
            log.error("anomaly found again, and refused", anomaly=page[index]["_id"], reason=why.detail)
        written += len(page) - len(refused)
    stale: Document = {"status": {"$in": ["open", "acknowledged"]}, "revision": {"$not": {"$gte": first_revision}}}
    if since_ms is not None:
        stale["opened"] = {"$gte": DatetimeMS(since_ms)}
    for page in _pages(store.database["anomalies"].find(stale, {"asset_id": 1})):
        wanted = {"_id": {"$in": [one["asset_id"] for one in page]}, "revision": {"$gte": first_revision}}
        rebuilt = {one["_id"] for one in store.database[TWINS].find(wanted, {"_id": 1})}
        gone = [{"_id": one["_id"], **stale} for one in page if one["asset_id"] in rebuilt]
        change = [{"$set": {"status": "resolved", "resolved": "$$NOW", "withdrawn": True}}]
        store.bulk("anomalies", [UpdateOne(which, change) for which in gone])
        withdrawn += len(gone)
    store.database.drop_collection(SHADOW_ANOMALIES)
    return written, withdrawn


def _not_going_on(store: Store, found: list[Document], since_ms: int) -> list[Document]:
    """Those that are not the same as one that opened before the rebuild's first record, and goes on."""
    wanted = {
        "asset_id": {"$in": [one["asset_id"] for one in found]},
        "status": {"$in": ["open", "acknowledged"]},
        "opened": {"$lt": DatetimeMS(since_ms)},
    }
    held = store.database["anomalies"].find(wanted, {"asset_id": 1, "detector": 1, "subject": 1})
    going_on = {(one["asset_id"], one["detector"], one["subject"]) for one in held}
    return [one for one in found if (one["asset_id"], one["detector"], one["subject"]) not in going_on]


def _anomaly_write(found: Document) -> UpdateOne:
    newer = {"$gt": [{"$ifNull": ["$revision", -1]}, found["revision"]]}
    acknowledged = {"$and": [{"$eq": ["$status", "acknowledged"]}, {"$literal": found["status"] == "open"}]}
    status = {"$cond": [acknowledged, "acknowledged", {"$literal": found["status"]}]}
    merged = {"$mergeObjects": ["$$ROOT", {"$literal": found}, {"status": status}]}
    return UpdateOne({"_id": found["_id"]}, [{"$replaceWith": {"$cond": [newer, "$$ROOT", merged]}}], upsert=True)


def roles_assets(store: Store) -> list[str]:
    """Assets with owners: periods that began or ended while the twins were swapped are looked at again."""
    return sorted(store.patiently(lambda: store.database["asset_roles"].distinct("asset_id")))


def pairs(store: Store, asset_ids: Sequence[str] | None = None) -> Iterator[tuple[Document, Document | None]]:
    """Rebuilt twins, each with the live one, page by page."""
    wanted: Document = {} if asset_ids is None else {"_id": {"$in": list(asset_ids)}}
    for page in _pages(store.database[SHADOW_TWINS].find(wanted)):
        ids = {"_id": {"$in": [one["_id"] for one in page]}}
        live = {one["_id"]: one for one in store.database[TWINS].find(ids)}
        yield from ((one, live.get(one["_id"])) for one in page)


def searchable(overlaid: Document, again: Document) -> Document:
    """With the coarse copies that questions find it by, of what it is now."""
    asset = twin.from_document({**again, **overlaid, "search": None})
    return {**overlaid, "search": search.document(twin.search_due(asset))}


def write_overlaid(store: Store, overlaid: Iterator[Document]) -> None:
    """Replace the fold's half of rebuilt twins."""
    for page in _pages(overlaid):
        writes = []
        for document in page:
            fields = dict(document)
            writes.append(UpdateOne({"_id": fields.pop("_id")}, {"$set": fields}))
        store.bulk(SHADOW_TWINS, writes)


def exists(store: Store) -> bool:
    """Whether there are rebuilt twins."""
    return handover.uuid_of(store.database, SHADOW_TWINS) is not None


def _pages(found: Iterator[Document] | Any) -> Iterator[list[Document]]:
    several = iter(found)
    while page := list(islice(several, _PAGE)):
        yield page
