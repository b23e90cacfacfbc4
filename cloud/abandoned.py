"""Transactions that nobody continues: of a worker that was killed in the middle of one, or whose connection broke.

MongoDB keeps such a one for `transactionLifetimeLimitSeconds`, a minute by default, and for so long everybody waits who
wants to write one of its documents. Ours are the work of a moment, so one that has been idle for a second is taken for
abandoned. Should its owner live after all, it finds that it was ended, and writes its twins one by one.
"""

from typing import Any, Final

import structlog
from pymongo import timeout
from pymongo.errors import PyMongoError

from cloud.mongo import APP_NAME, Client

log: Final = structlog.get_logger()

_IDLE_US: Final = 1_000_000
_LIMIT_S: Final = 1.0


def end(client: Client) -> int:
    """End those that our own user left behind; how many. Where the server does not let us they end by themselves."""
    idle: dict[str, Any] = {
        "type": "idleSession",
        "appName": APP_NAME,
        "transaction.timeInactiveMicros": {"$gt": _IDLE_US},
    }
    try:
        with timeout(_LIMIT_S):
            asked: list[dict[str, Any]] = [{"$currentOp": {"idleSessions": True}}, {"$match": idle}]
            left = [found["lsid"]["id"] for found in client.admin.aggregate(asked)]
            if left:
                client.admin.command("killSessions", [{"id": session} for session in left])
    except PyMongoError as error:
        log.debug("abandoned transactions not looked for", error=str(error)[:200])
        return 0
    if left:
        log.warning("transactions ended that nobody continued", count=len(left))
    return len(left)
