"""Customers: one with the assets held now and before. Reads only."""

from collections.abc import Iterable
from datetime import datetime
from typing import Final, NamedTuple

from cloud.indexes import NAME_COLLATION
from cloud.queries import conditions
from cloud.queries.reading import Document, Reader

ROLES_MAX: Final = 1_000
"""Most periods read of one customer, the latest first."""
ACTIVITIES_MAX: Final = 10
"""The latest activities shown of a customer."""

_CANDIDATES_MAX: Final = 10
_ASSET: Final = {"attributes": 1, "health": 1, "connection": 1, "kind": 1, "lifecycle.state": 1}


class Period(NamedTuple):
    """An asset that the customer holds or held; `twin` is None where no twin exists yet."""

    role: Document
    twin: Document | None


class Shown(NamedTuple):
    """The answer. `profile` is None where roles came before the profile, or it was erased."""

    customer_id: str
    profile: Document | None
    held: list[Period]
    before: list[Period]
    activities: list[Document]
    cut: bool


def show(reader: Reader, key: str, now: datetime) -> Shown | list[str]:
    """The customer of an id or a name; else who could have been meant (one line each)."""
    profiles = reader.find("customers", {"_id": key}, [], 1)
    if not profiles:
        profiles = _by_name(reader, key)
    if len(profiles) > 1:
        return [_named(profile) for profile in profiles]
    customer_id = profiles[0]["_id"] if profiles else key
    roles = reader.find("asset_roles", {"customer_id": customer_id}, [("customer_id", -1), ("from", -1)], ROLES_MAX + 1)
    if not profiles and not roles:
        similar = reader.similar("customers", "display_name", key.strip(), NAME_COLLATION)
        return [_named(profile) for profile in similar]
    held, before = _periods(roles[:ROLES_MAX], _twins(reader, roles), now)
    latest = [("customer_id", -1), ("ts", -1)]
    activities = reader.find("activities", {"customer_id": customer_id}, latest, ACTIVITIES_MAX)
    profile = profiles[0] if profiles else None
    return Shown(customer_id, profile, held, before, activities, len(roles) > ROLES_MAX)


def _by_name(reader: Reader, key: str) -> list[Document]:
    name = key.strip()
    if not any(character.isalnum() for character in name):
        return []
    exact = reader.find("customers", {"display_name": name}, [], _CANDIDATES_MAX, collation=NAME_COLLATION)
    begins_so = conditions.prefix("display_name", name)
    order = [("display_name", 1)]
    return exact or reader.find("customers", begins_so, order, _CANDIDATES_MAX, collation=NAME_COLLATION)


def _twins(reader: Reader, roles: Iterable[Document]) -> dict[str, Document]:
    asset_ids = sorted({role["asset_id"] for role in roles})
    found = reader.find("twins", {"_id": {"$in": asset_ids}}, [], ROLES_MAX + 1, _ASSET) if asset_ids else []
    return {twin["_id"]: twin for twin in found}


def _periods(roles: Iterable[Document], twins: dict[str, Document], now: datetime) -> tuple[list[Period], list[Period]]:
    """Periods that run at `now`, and those that ended; a retracted one never was, a later one is not yet."""
    held: list[Period] = []
    before: list[Period] = []
    for role in roles:
        if role.get("retracted") or role["from"] > now:
            continue
        ended = role.get("to") is not None and role["to"] <= now
        (before if ended else held).append(Period(role, twins.get(role["asset_id"])))
    return held, before


def _named(profile: Document) -> str:
    return f"{profile['_id']} {profile['display_name']}"
