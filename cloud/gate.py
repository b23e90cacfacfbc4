"""A worker's side of the handover from live twins to rebuilt ones."""

import time
from collections.abc import Callable
from typing import Any, Final

import structlog
from pymongo.database import Database
from pymongo.errors import PyMongoError

from cloud import handover
from cloud.handover import CONTROL, IDENTITY, WAITING

log: Final = structlog.get_logger()

CHECK_S: Final = 0.5
"""How often a worker looks whether it is to wait: one small read."""


class Gate:
    """Closed while a rebuild wants the workers to wait."""

    def __init__(self, database: Database[dict[str, Any]], clock_s: Callable[[], float] = time.monotonic) -> None:
        self._database, self._clock_s = database, clock_s
        self._checked_s = -CHECK_S

    @property
    def due(self) -> bool:
        """Whether it is time to look again."""
        return self._clock_s() - self._checked_s >= CHECK_S

    def closed(self) -> bool:
        """What cannot be looked up is open, since nothing can be written then either."""
        self._checked_s = self._clock_s()
        try:
            return self._waiting() is not None
        except PyMongoError as error:
            log.debug("rebuild's state not read", error=str(error)[:200])
            return False

    def stand_by(self, member: str, partitions: list[tuple[str, int]]) -> bool:
        """Say that this worker waits; whether it has to go on waiting."""
        try:
            handover.settle_expired(self._database)
            state = self._waiting()
            if state is None:
                log.info("the twins are folded on")
                return False
            mine = {"member": member, "partitions": [list(place) for place in partitions]}
            held = [one for one in state.get("paused", []) if one["member"] == member]
            if held != [mine]:
                log.info("waiting for rebuilt twins")
                others = {"$filter": {"input": "$paused", "cond": {"$ne": ["$$this.member", member]}}}
                self._database[CONTROL].update_one(
                    {"_id": IDENTITY, "token": state["token"], "phase": state["phase"]},
                    [{"$set": {"paused": {"$concatArrays": [others, [{"$literal": mine}]]}}}],
                )
        except PyMongoError as error:
            log.warning("waiting for rebuilt twins, and for the database", error=str(error)[:200])
        return True

    def _waiting(self) -> dict[str, Any] | None:
        phases = [str(phase) for phase in WAITING]
        return self._database[CONTROL].find_one({"_id": IDENTITY, "phase": {"$in": phases}})
