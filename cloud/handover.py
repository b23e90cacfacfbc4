"""How rebuilt twins take the place of the live ones while workers fold: a document that both sides read and change.

    collection `control`, _id "rebuild":
    generation  how many rebuilds there were; twins of one have revisions from `first_revision` on
    token       whose rebuild it is
    phase       idle → rebuilding → pausing → swapping → swapped → idle
    until       when another may take it for dead (rebuilding), or the workers go on by themselves (pausing, swapping)
    paused      [{member, partitions}]: workers that have committed everything they read, and wait
    shadow      the UUID of the collection of rebuilt twins
    since_ms    from when on, null: from the beginning of the log

All times are the server's, so that nobody's clock matters. A rebuild that dies while the workers wait: after `until`
they go on with the twins that there are. If it died while it swapped, they first remove what it could still put in
their place, so that one that was only asleep cannot.
"""

import secrets
from enum import StrEnum
from typing import Any, Final, NamedTuple

from bson.binary import Binary
from pymongo.database import Database
from pymongo.errors import OperationFailure
from pymongo.results import UpdateResult

Document = dict[str, Any]

CONTROL: Final = "control"
IDENTITY: Final = "rebuild"
TWINS: Final = "twins"
SHADOW_TWINS: Final = "twins_rebuilt"
SHADOW_ANOMALIES: Final = "anomalies_rebuilt"

PAUSE_LEASE_MS: Final = 30_000
REBUILD_LEASE_MS: Final = 20_000
_NAMESPACE_NOT_FOUND: Final = 26
_REVISIONS: Final = 2**40


class Phase(StrEnum):
    """Where a rebuild stands."""

    IDLE = "idle"
    REBUILDING = "rebuilding"
    PAUSING = "pausing"
    SWAPPING = "swapping"
    SWAPPED = "swapped"


WAITING: Final = (Phase.PAUSING, Phase.SWAPPING)
"""Phases in which workers wait."""


class LostError(Exception):
    """The rebuild is no longer ours to finish: it was taken for dead, or another one began."""


class Paused(NamedTuple):
    """A worker that waits, as it is known to its group, and the partitions that it reads."""

    member: str
    partitions: frozenset[tuple[str, int]]


class Handover:
    """The rebuild's side."""

    def __init__(self, database: Database[Document]) -> None:
        self._database, self._control = database, database[CONTROL]
        self._token = secrets.token_hex(8)
        self.first_revision = 0

    def begin(self, since_ms: int | None) -> None:
        """Make the rebuild ours and its collections empty. Raises LostError while another one is alive."""
        self._control.update_one(
            {"_id": IDENTITY}, {"$setOnInsert": {"phase": str(Phase.IDLE), "generation": 0}}, upsert=True
        )
        free = {"$or": [{"phase": Phase.IDLE}, {"phase": Phase.REBUILDING, **_expired()}]}
        fields = {
            "token": self._token,
            "phase": str(Phase.REBUILDING),
            "until": _in(REBUILD_LEASE_MS),
            "since_ms": since_ms,
        }
        change: list[Document] = [{"$set": {**fields, "generation": {"$add": ["$generation", 1]}, "paused": []}}]
        begun = self._control.find_one_and_update({"_id": IDENTITY, **free}, change, return_document=True)
        if begun is None:
            raise LostError("another rebuild is at work, or was a moment ago")
        self.first_revision = int(begun["generation"]) * _REVISIONS
        discard(self._database)

    def state(self) -> Document:
        return self._control.find_one({"_id": IDENTITY}) or {"phase": Phase.IDLE}

    def renew(self) -> None:
        """Still alive. Raises LostError."""
        lease_ms = {"$cond": [{"$eq": ["$phase", Phase.PAUSING]}, PAUSE_LEASE_MS, REBUILD_LEASE_MS]}
        change = [{"$set": {"until": {"$add": ["$$NOW", lease_ms]}}}]
        self._mine((Phase.REBUILDING, Phase.PAUSING), change)

    def pause(self) -> None:
        """Ask the workers to finish what they have read, and to wait."""
        fields = {"phase": str(Phase.PAUSING), "until": _in(PAUSE_LEASE_MS), "paused": []}
        self._mine((Phase.REBUILDING,), [{"$set": fields}])

    def paused(self) -> list[Paused]:
        """The workers that wait."""
        return [
            Paused(one["member"], frozenset((topic, partition) for topic, partition in one["partitions"]))
            for one in self.state().get("paused", [])
        ]

    def resume(self) -> None:
        """Let the workers go on with the twins as they are; the rebuild goes on too."""
        fields = {"phase": str(Phase.REBUILDING), "until": _in(REBUILD_LEASE_MS), "paused": []}
        self._mine(WAITING, [{"$set": fields}])

    def swap(self) -> None:
        """Put the rebuilt twins in place of the live ones, in one step. Raises LostError before anything was done."""
        shadow = uuid_of(self._database, SHADOW_TWINS)
        fields = {"phase": str(Phase.SWAPPING), "until": _in(PAUSE_LEASE_MS), "shadow": shadow}
        self._mine((Phase.PAUSING,), [{"$set": fields}])
        name = self._database.name
        try:
            self._database.client.admin.command(
                "renameCollection", f"{name}.{SHADOW_TWINS}", to=f"{name}.{TWINS}", dropTarget=True
            )
        except OperationFailure as error:
            if error.code == _NAMESPACE_NOT_FOUND:
                raise LostError("the workers did not wait any longer") from error
            raise
        self._mine((Phase.SWAPPING, Phase.SWAPPED), [{"$set": {"phase": str(Phase.SWAPPED), "paused": []}}])

    def finish(self) -> None:
        """Everything is done, or given up."""
        fields = {"phase": str(Phase.IDLE), "paused": []}
        self._control.update_one({"_id": IDENTITY, "token": self._token}, {"$set": fields})

    def take_over(self) -> int | None:
        """Make a rebuild ours whose twins are in place already, to finish what comes after; returns its `since_ms`."""
        taken = self._control.find_one_and_update(
            {"_id": IDENTITY, "phase": Phase.SWAPPED}, {"$set": {"token": self._token}}, return_document=True
        )
        if taken is None:
            raise LostError("it was finished meanwhile")
        self.first_revision = int(taken["generation"]) * _REVISIONS
        since_ms: int | None = taken.get("since_ms")
        return since_ms

    def _mine(self, phases: tuple[Phase, ...], change: list[Document]) -> None:
        mine = {"_id": IDENTITY, "token": self._token, "phase": {"$in": [str(phase) for phase in phases]}}
        if not self._control.update_one(mine, change).matched_count:
            raise LostError(f"the rebuild is no longer {' or '.join(phases)}: it was taken for dead")


def discard(database: Database[Document]) -> None:
    """Remove what a rebuild made."""
    database.drop_collection(SHADOW_TWINS)
    database.drop_collection(SHADOW_ANOMALIES)


def settle_expired(database: Database[Document]) -> None:
    """Whatever a rebuild left half done when it died: decide it, if its time is over. Anybody may do this."""
    control = database[CONTROL]
    gone: Document = {"_id": IDENTITY, **_expired()}
    idle = {"$set": {"phase": str(Phase.IDLE), "paused": []}}
    released: UpdateResult = control.update_one({**gone, "phase": Phase.PAUSING}, idle)
    if released.modified_count:
        return
    left = control.find_one({**gone, "phase": Phase.SWAPPING})
    if left is None:
        return
    discard_twins = uuid_of(database, TWINS) != left["shadow"]
    if discard_twins:
        database.drop_collection(SHADOW_TWINS)  # from here on it cannot take the twins' place any more
        discard_twins = uuid_of(database, TWINS) != left["shadow"]
    done = idle if discard_twins else {"$set": {"phase": str(Phase.SWAPPED), "paused": []}}
    control.update_one({"_id": IDENTITY, "token": left["token"], "phase": Phase.SWAPPING}, done)


def uuid_of(database: Database[Document], name: str) -> Binary | None:
    """What MongoDB knows a collection by, whatever its name."""
    found = list(database.list_collections(filter={"name": name}))
    return found[0]["info"]["uuid"] if found else None


def _in(ms: int) -> Document:
    return {"$add": ["$$NOW", ms]}


def _expired() -> Document:
    return {"$expr": {"$lt": ["$until", "$$NOW"]}}
