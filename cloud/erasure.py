"""Customers who were erased stay erased, whatever comes late, again, or from another worker.

That somebody was erased is known by a digest of the id and a time, and nothing else. It is written before anything is
deleted, and whoever writes something about a customer looks for it afterwards: so of two workers that do both at the
same time one sees what the other did. Who comes back begins with a profile that is newer.
"""

import hashlib
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Final

from bson.datetime_ms import DatetimeMS
from pymongo import UpdateOne

from cloud.mongo import Mongo

_DOMAIN: Final = "fleetfold customer "


def digest(customer_id: str) -> str:
    """What is kept of an id: SHA-256 in hexadecimal. Who has the id can tell that it was erased; nobody else can."""
    return hashlib.sha256((_DOMAIN + customer_id).encode()).hexdigest()


class Erasures:
    """The collection `erasures` of a database."""

    def __init__(self, store: Mongo) -> None:
        self._store = store
        self.deleted = 0
        """Profiles and activities that were deleted."""

    def note(self, erased_ms: Mapping[str, int]) -> None:
        """Customer → when erased. What a clock that goes ahead dated later, but was known before, is erased too; of an
        erasure that is read again nothing more is believed, since the customer may have come back meanwhile."""
        if not erased_ms:
            return
        known, updated_ms = self._known(erased_ms), self._updated_ms(erased_ms)
        new = {
            customer: max(ms, updated_ms.get(customer, ms))
            for customer, ms in erased_ms.items()
            if ms > known.get(customer, -1)
        }
        self._store.bulk("erasures", [_write(customer, ms) for customer, ms in new.items()])

    def enforce(self, customers: Iterable[str]) -> None:
        """Delete what is not newer than the erasure of these, and of those who did not come back, all."""
        known = self._known(set(customers))
        for customer, erased_ms in known.items():
            until = {"$lte": DatetimeMS(erased_ms)}
            self._delete("customers", {"_id": customer, "updated": until})
            back = customer in self._updated_ms([customer])
            self._delete("activities", {"customer_id": customer, **({"ts": until} if back else {})})

    def _delete(self, collection: str, which: dict[str, Any]) -> None:
        held = self._store.database[collection]
        self.deleted += self._store.patiently(partial(held.delete_many, which)).deleted_count

    def _known(self, customers: Iterable[str]) -> dict[str, int]:
        by_digest = {digest(customer): customer for customer in customers}
        erasures, wanted = self._store.database["erasures"], {"_id": {"$in": list(by_digest)}}
        found = self._store.patiently(lambda: list(erasures.find(wanted))) if by_digest else []
        return {by_digest[one["_id"]]: int(one["erased"]) for one in found}

    def _updated_ms(self, customers: Iterable[str]) -> dict[str, int]:
        held, wanted = self._store.database["customers"], {"_id": {"$in": list(customers)}}
        found = self._store.patiently(lambda: list(held.find(wanted, {"updated": 1})))
        return {one["_id"]: int(one["updated"]) for one in found}


def _write(customer_id: str, erased_ms: int) -> UpdateOne:
    return UpdateOne({"_id": digest(customer_id)}, {"$max": {"erased": DatetimeMS(erased_ms)}}, upsert=True)
