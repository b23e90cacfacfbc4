"""Who an asset belongs to and what it is, from the facts known so far: pure functions of facts and the clock.

Whatever the order in which facts arrive, the same facts give the same answer.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from bson.datetime_ms import DatetimeMS

Document = Mapping[str, Any]

_HOLDERS: Final = ("owner", "operator", "lessee", "fleet_manager")
"""Roles that make somebody the one to talk to, in order of precedence."""


def owner_of(roles: Iterable[Document], profiles: Mapping[str, Document], now_ms: int) -> dict[str, Any] | None:
    """The `owner` of a twin at `now_ms`, or None.

    Periods that overlap are a fault of the source: the one that began last counts, and `overlaps` says how many
    others claim the same role at this moment.
    """
    current = [role for role in roles if not role.get("retracted") and _holds(role, now_ms)]
    for held_as in _HOLDERS:
        holders = [role for role in current if role["role"] == held_as]
        if holders:
            latest = max(holders, key=lambda role: (int(role["from"]), str(role["_id"])))
            profile = profiles.get(latest["customer_id"])
            return {
                "customer_id": latest["customer_id"],
                "display_name": profile["display_name"] if profile else None,
                "role": held_as,
                "since": latest["from"],
                "overlaps": len({role["customer_id"] for role in holders}) - 1,
            }
    return None


def _holds(role: Document, now_ms: int) -> bool:
    return int(role["from"]) <= now_ms and (role.get("to") is None or now_ms < int(role["to"]))


def lifecycle_of(held: Document | None, steps: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The `lifecycle` of a twin with more steps (`ts` in ms) added; the latest step is its state."""
    known = {(step["step"], int(step["ts"])): dict(step) for step in (held or {}).get("steps", [])}
    for step in steps:
        known[step["step"], step["ts"]] = {**step, "ts": DatetimeMS(step["ts"])}
    if not known:
        return None
    ordered = [known[key] for key in sorted(known, key=lambda key: (key[1], key[0]))]
    return {"state": ordered[-1]["step"], "since": ordered[-1]["ts"], "steps": ordered}


def attributes_of(lifecycle: Mapping[str, Any] | None) -> dict[str, Any]:
    """Attributes as the steps gave them, the later over the earlier."""
    merged: dict[str, Any] = {}
    for step in (lifecycle or {}).get("steps", []):
        merged |= step.get("attributes", {})
    return merged
