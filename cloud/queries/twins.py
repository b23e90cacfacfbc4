"""Twins: those that match, and one with all that belongs to it. Reads only."""

from typing import Any, Final, NamedTuple

from pymongo.errors import ExecutionTimeout

from cloud.indexes import NAME_COLLATION, PLATE_COLLATION
from cloud.queries import conditions
from cloud.queries.asking import CUSTOMERS_MAX, PLATES_MAX, Known, Options
from cloud.queries.filters import Query
from cloud.queries.reading import Document, Reader

_EVENTS_SHOWN: Final = 5
_CANDIDATES_SHOWN: Final = 10
_ID_ONLY: Final = {"_id": 1}


class Found(NamedTuple):
    """The answer of `find`. `matched` is None when counting took too long: then there are more than shown."""

    twins: list[Document]
    matched: int | None


class Shown(NamedTuple):
    """The answer of `show`. `profile` is the owner's, if there is one; the latest event first."""

    twin: Document
    profile: Document | None
    events: list[Document]


def known(reader: Reader, options: Options, detectors: tuple[str, ...]) -> Known:
    """Look up the names that were given. `detectors`: those that exist beside those the database has seen."""
    customer_ids, similar = _customers(reader, options.owner) if options.owner is not None else ((), ())
    return Known(
        models=reader.distinct("twins", "attributes.model") if options.model is not None else (),
        brands=reader.distinct("twins", "attributes.brand") if options.brand is not None else (),
        detectors=known_detectors(reader, detectors) if options.finding else (),
        customer_ids=customer_ids,
        similar_customers=similar,
        plate_assets=tuple(_ids_of_plate(reader, options.plate)) if options.plate is not None else (),
    )


def known_detectors(reader: Reader, detectors: tuple[str, ...]) -> tuple[str, ...]:
    """Detectors that exist or ever raised something."""
    return tuple(sorted({*detectors, *reader.distinct("anomalies", "detector")}))


def find(reader: Reader, query: Query, limit: int) -> Found:
    """The first `limit` matches, and how many there are in all."""
    twins: list[Document] = []
    for part in query.parts:
        wanted = limit + 1 - len(twins)
        near = query.point if not query.keys else None
        twins += reader.nearest(part, near, wanted) if near else reader.twins(part, query.keys, wanted)
        if len(twins) > limit:
            return Found(twins[:limit], _count(reader, query))
    return Found(twins, len(twins))


def _count(reader: Reader, query: Query) -> int | None:
    try:
        return reader.count("twins", query.condition)
    except ExecutionTimeout:
        return None


def show(reader: Reader, key: str) -> Shown | list[str]:
    """The twin of an asset id, VIN or plate; else what could have been meant (one line each).

    A plate is meant last, so that nobody hides an asset behind one.
    """
    matches = _by_key(reader, key)
    if len(matches) != 1:
        return [_named(twin) for twin in matches] or _similar(reader, key)
    twin = matches[0]
    customer_id = twin.get("owner", {}).get("customer_id", "")
    profiles = reader.find("customers", {"_id": customer_id}, [], 1) if customer_id else []
    events = reader.find("events", {"asset_id": twin["_id"]}, [("asset_id", -1), ("ts", -1)], _EVENTS_SHOWN)
    return Shown(twin, profiles[0] if profiles else None, events)


def asset_id_of(reader: Reader, key: str) -> str | list[str]:
    """The id of the asset that an id, VIN or plate names; else what could have been meant."""
    matches = _by_key(reader, key)
    if len(matches) != 1:
        return [_named(twin) for twin in matches] or _similar(reader, key)
    return str(matches[0]["_id"])


def _by_key(reader: Reader, key: str) -> list[Document]:
    for condition in ({"_id": key}, {"attributes.vin": conditions.normal_vin(key)}):
        found = reader.twins(condition, [], 1)
        if found:
            return found
    ids = _ids_of_plate(reader, key)
    return reader.twins({"_id": {"$in": ids}}, [("_id", 1)], _CANDIDATES_SHOWN) if ids else []


def _ids_of_plate(reader: Reader, plate: str) -> list[str]:
    if not any(character.isalnum() for character in plate):
        return []  # under the collation a plate of spaces and dashes equals any other such plate
    found = reader.find("twins", {"attributes.plate": plate}, [], PLATES_MAX + 1, _ID_ONLY, PLATE_COLLATION)
    return [twin["_id"] for twin in found]


def _similar(reader: Reader, key: str) -> list[str]:
    ids = [twin["_id"] for twin in reader.similar("twins", "_id", key.strip().casefold())]
    by_vin = reader.similar("twins", "attributes.vin", conditions.normal_vin(key))
    plates = reader.similar("twins", "attributes.plate", key.strip(), PLATE_COLLATION)
    attributes: list[dict[str, Any]] = [twin["attributes"] for twin in by_vin + plates]
    return ids + [value for held in attributes for value in held.values()]


def _named(twin: Document) -> str:
    attributes = twin.get("attributes", {})
    return " ".join([twin["_id"], *(attributes[name] for name in ("plate", "model") if name in attributes)])


def _customers(reader: Reader, given: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Ids of the customers that an id or the beginning of a name stands for; else similar names."""
    name = given.strip()
    if not any(character.isalnum() for character in name):
        return (), ()
    exact = reader.find("customers", {"_id": name}, [], 1, _ID_ONLY) or reader.find(
        "twins", {"owner.customer_id": name}, [], 1, _ID_ONLY
    )
    if exact:
        return (name,), ()
    begins_so = conditions.prefix("display_name", name)
    found = reader.find("customers", begins_so, [], CUSTOMERS_MAX + 1, _ID_ONLY, NAME_COLLATION)
    if found:
        return tuple(customer["_id"] for customer in found), ()
    similar = reader.similar("customers", "display_name", name, NAME_COLLATION)
    return (), tuple(customer["display_name"] for customer in similar)
