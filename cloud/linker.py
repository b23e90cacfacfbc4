"""Keeps customers, roles and the linked half of the twins: owner, attributes, lifecycle.

`link.revision` is read before the facts and compared when writing, so that a linker that worked on older facts
loses against one that worked on newer ones, and tries again.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import bson
import structlog
from bson.datetime_ms import DatetimeMS
from pymongo import UpdateOne

from cloud import facts as fact_reader
from cloud import link, upgrades
from cloud.erasure import Erasures
from cloud.facts import Facts, Step
from cloud.mongo import Document, replace_if_newer
from cloud.store import Store
from cloud.upgrades import SCHEMA_VERSION
from wire.malformed import Malformed, Reason
from wire.messages import Activity, Profile, Role, plain
from wire.records import DeadLetter
from wire.topics import Kind

log: Final = structlog.get_logger()

_PAGE: Final = 1_000


class Linker:
    """Applies facts and relinks the twins that they touch. `now_ms` is the clock."""

    def __init__(self, store: Store, now_ms: Callable[[], int]) -> None:
        self._store = store
        self._now_ms = now_ms
        self._swept_ms = 0
        self.erasures = Erasures(store)

    def apply(self, facts: Facts) -> list[DeadLetter]:
        """Make facts durable and bring the twins they touch up to date; returns what the database refused."""
        self.erasures.note(facts.erased_ms)  # first, and enforced last: see its module
        self._store.bulk("customers", [_profile_write(profile) for profile in facts.profiles.values() if profile])
        self._store.bulk("asset_roles", [_role_write(role) for role in facts.roles])
        self._store.bulk("activities", [_activity_write(activity) for activity in facts.activities])
        self.erasures.enforce(facts.profiles.keys() | {activity.customer_id for activity in facts.activities})
        steps: dict[str, list[Step]] = defaultdict(list)
        for step in facts.steps:
            steps[step.step.asset_id].append(step)
        self._store.create({asset_id: Kind(several[0].step.kind) for asset_id, several in steps.items()})
        touched = {role.asset_id for role in facts.roles} | set(steps) | self._assets_of(facts.profiles)
        return self.relink(sorted(touched), steps)

    def relink(self, asset_ids: Sequence[str], steps: dict[str, list[Step]] | None = None) -> list[DeadLetter]:
        """Bring the linked half of these twins up to date with all facts known, and with new `steps`."""
        return [letter for page in _pages(asset_ids) for letter in self._relink_page(page, steps or {})]

    def sweep(self) -> int:
        """Relink the assets of which a period began or ended since the last sweep; returns how many."""
        now_ms = self._now_ms()
        since_last = {"$gt": DatetimeMS(self._swept_ms), "$lte": DatetimeMS(now_ms)}
        due = self._store.patiently(
            lambda: self._store.database["asset_roles"].distinct(
                "asset_id", {"$or": [{"from": since_last}, {"to": since_last}]}
            )
        )
        self.relink(sorted(due))
        self._swept_ms = now_ms
        return len(due)

    def _assets_of(self, customer_ids: Iterable[str]) -> set[str]:
        wanted = {"customer_id": {"$in": list(customer_ids)}}
        roles = self._store.database["asset_roles"]
        return set(self._store.patiently(lambda: roles.distinct("asset_id", wanted)))

    def _relink_page(self, asset_ids: Sequence[str], steps: dict[str, list[Step]]) -> list[DeadLetter]:
        refused: list[DeadLetter] = []
        pending = list(asset_ids)
        while pending:
            twins = self._linked_halves(pending)  # before the facts: see the module's first lines
            refused += _leave_alone(twins, steps) + self._oversized(twins, steps)
            owners = self._owners(list(twins))
            writes = {asset_id: self._write(twin, owners, steps) for asset_id, twin in twins.items()}
            written = self._store.bulk("twins", list(writes.values()))
            order = list(writes)
            for index, why in written.refused.items():
                refused += _refuse(order[index], steps, why.detail, index in written.duplicate_keys)
            failed = {order[index] for index in written.refused}
            # A refused asset goes round once more without the steps that the database would not take.
            pending = [asset_id for asset_id in failed if steps.pop(asset_id, None)]
            if written.matched + len(failed) < len(order):
                pending += [asset_id for asset_id in order if asset_id not in failed]
        return refused

    def _oversized(self, twins: dict[str, Document], steps: dict[str, list[Step]]) -> list[DeadLetter]:
        """Take out the steps that would make a life larger than is wanted, long before MongoDB's 16 MB."""
        letters: list[DeadLetter] = []
        for asset_id in twins.keys() & steps.keys():
            added = [fact_reader.step_document(step.step) for step in steps[asset_id]]
            lifecycle = link.lifecycle_of(twins[asset_id].get("lifecycle"), added) or {}
            size = len(bson.encode(lifecycle))
            if size > self._store.twin_bytes_max:
                limit = self._store.twin_bytes_max
                detail = f"the twin's lifecycle would have {size} bytes, fold.twin_bytes_max is {limit}"
                log.error("twin not linked", asset_id=asset_id, reason=detail)
                why = Malformed(Reason.TOO_LARGE, detail)
                letters += [fact_reader.dead_letter(step.record, why) for step in steps.pop(asset_id)]
        return letters

    def _linked_halves(self, asset_ids: Sequence[str]) -> dict[str, Document]:
        twins = self._store.database["twins"]
        wanted, half = {"_id": {"$in": list(asset_ids)}}, {"link": 1, "lifecycle": 1, "schema_version": 1}
        return {twin["_id"]: twin for twin in self._store.patiently(lambda: list(twins.find(wanted, half)))}

    def _owners(self, asset_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        database, patiently = self._store.database, self._store.patiently
        roles = patiently(lambda: list(database["asset_roles"].find({"asset_id": {"$in": list(asset_ids)}})))
        holders = sorted({role["customer_id"] for role in roles})
        profiles = patiently(lambda: list(database["customers"].find({"_id": {"$in": holders}}, {"display_name": 1})))
        by_customer = {profile["_id"]: profile for profile in profiles}
        by_asset: dict[str, list[Document]] = defaultdict(list)
        for role in roles:
            by_asset[role["asset_id"]].append(role)
        now_ms = self._now_ms()
        owners = {asset_id: link.owner_of(by_asset[asset_id], by_customer, now_ms) for asset_id in by_asset}
        return {asset_id: owner for asset_id, owner in owners.items() if owner is not None}

    def _write(self, twin: Document, owners: dict[str, dict[str, Any]], steps: dict[str, list[Step]]) -> UpdateOne:
        asset_id, revision = twin["_id"], twin["link"]["revision"]
        added = [fact_reader.step_document(step.step) for step in steps.get(asset_id, [])]
        lifecycle = link.lifecycle_of(twin.get("lifecycle"), added)
        fields: dict[str, Any] = {"link": {"revision": revision + 1}}
        if lifecycle is not None:
            fields |= {"lifecycle": lifecycle, "attributes": link.attributes_of(lifecycle)}
        change: dict[str, Any] = {"$set": fields}
        if asset_id in owners:
            fields["owner"] = owners[asset_id]
        else:
            change["$unset"] = {"owner": ""}
        return UpdateOne({"_id": asset_id, "link.revision": revision}, change)


def _pages(asset_ids: Sequence[str]) -> Iterable[Sequence[str]]:
    return (asset_ids[start : start + _PAGE] for start in range(0, len(asset_ids), _PAGE))


def _leave_alone(twins: dict[str, Document], steps: dict[str, list[Step]]) -> list[DeadLetter]:
    """Take out the twins that a newer version of this service wrote, and what was to be done to them."""
    letters: list[DeadLetter] = []
    for asset_id in [asset_id for asset_id, twin in twins.items() if twin["schema_version"] > SCHEMA_VERSION]:
        error = upgrades.newer(twins.pop(asset_id))
        log.error("twin not linked", asset_id=asset_id, reason=str(error))
        why = Malformed(Reason.NEWER_SCHEMA, str(error))
        letters += [fact_reader.dead_letter(step.record, why) for step in steps.pop(asset_id, [])]
    return letters


def _refuse(asset_id: str, steps: dict[str, list[Step]], reason: str, duplicate: bool) -> list[DeadLetter]:
    # The server's text of a duplicate repeats the VIN, which is personal data.
    detail = "this VIN belongs to another asset" if duplicate else reason
    log.error("twin not linked", asset_id=asset_id, reason=detail)
    why = Malformed(Reason.REFUSED_BY_DATABASE, detail)
    return [fact_reader.dead_letter(step.record, why) for step in steps.get(asset_id, [])]


def _profile_write(profile: Profile) -> UpdateOne:
    document = plain(profile)
    for envelope in ("v", "customer_id"):
        document.pop(envelope)
    document["updated"] = DatetimeMS(document.pop("updated_ms"))
    return replace_if_newer(profile.customer_id, document, "updated")


def _activity_write(activity: Activity) -> UpdateOne:
    document = plain(activity)
    for envelope in ("v", "activity_id"):
        document.pop(envelope)
    document["ts"] = DatetimeMS(document["ts"])
    return UpdateOne({"_id": activity.activity_id}, {"$set": document}, upsert=True)


def _role_write(role: Role) -> UpdateOne:
    document: dict[str, Any] = {
        "asset_id": role.asset_id,
        "customer_id": role.customer_id,
        "role": role.role,
        "from": DatetimeMS(role.from_ms),
        "to": DatetimeMS(role.to_ms) if role.to_ms is not None else None,
        "recorded": DatetimeMS(role.recorded_ms),
        "retracted": role.retracted,
    }
    return replace_if_newer(role.role_id, document, "recorded")
