"""Rebuilt twins beside live ones: what differs, and what a rebuild from the middle of the log takes over. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

Document = Mapping[str, Any]

EXAMPLES_MAX: Final = 20
_COUNTED: Final = ("frames", "events", "samples", "gaps")
"""Counters that depend only on what devices sent; the others describe how it arrived."""


@dataclass(slots=True)
class Differences:
    """What a comparison found. `fields`: how many twins differ in it; `examples`: (asset, field, live, rebuilt)."""

    compared: int = 0
    equal: int = 0
    only_rebuilt: int = 0
    fields: Counter[str] = field(default_factory=Counter)
    examples: list[tuple[str, str, Any, Any]] = field(default_factory=list)

    def add(self, rebuilt: Document, live: Document | None) -> None:
        """Count one asset."""
        self.compared += 1
        if live is None:
            self.only_rebuilt += 1
            return
        found = list(between(rebuilt, live))
        self.equal += not found
        for name, here, there in found:
            self.fields[name] += 1
            if len(self.examples) < EXAMPLES_MAX:
                self.examples.append((rebuilt["_id"], name, here, there))


def at_the_same_place(rebuilt: Document, live: Document | None) -> bool:
    """Whether both have read the same records."""
    return live is None or _positions(rebuilt) == _positions(live)


def between(rebuilt: Document, live: Document) -> Iterator[tuple[str, Any, Any]]:
    """(field, live, rebuilt) where they differ, in what devices sent and what detectors found."""
    yield from _leaves(rebuilt.get("signals", {}), live.get("signals", {}), "signals")
    for name in _COUNTED:
        here, there = live["counters"].get(name, 0), rebuilt["counters"].get(name, 0)
        if here != there:
            yield f"counters.{name}", here, there
    held, found = sorted(_findings(live)), sorted(_findings(rebuilt))
    if held != found:
        yield "health.open", held, found


def _leaves(rebuilt: Any, live: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    if rebuilt == live:
        return
    deeper = isinstance(rebuilt, Mapping) and isinstance(live, Mapping) and "ts" not in rebuilt and "ts" not in live
    if not deeper:
        yield path, _shown(live), _shown(rebuilt)
        return
    for name in sorted({*rebuilt, *live}):
        yield from _leaves(rebuilt.get(name), live.get(name), f"{path}.{name}")


def _shown(leaf: Any) -> Any:
    return leaf.get("value") if isinstance(leaf, Mapping) else leaf


def _findings(twin: Document) -> Iterator[str]:
    for one in twin["health"]["open"]:
        yield f"{one['detector']} {one['subject']} {one['severity']}"


def _positions(twin: Document) -> list[Any]:
    held = twin.get("fold", {}).get("positions", [])
    return sorted(list(one) for one in held)


def overlay(rebuilt: Document, live: Document, since_ms: int) -> dict[str, Any]:
    """The fold's half of a twin that was rebuilt from `since_ms` on, over a live one that knows what came before.

    Signals: the newer of both, by source time; of equal times the rebuilt one, which may be a bug's correction.
    What was counted and seen is the live twin's, since the log that would count it again is gone. Findings and
    detectors' states are the rebuilt twin's, but one that opened before `since_ms` goes on as it is: whatever would
    open it again may be gone too.
    """
    kept = [one for one in live["health"]["open"] if int(one["since"]) < since_ms]
    named = {(one["detector"], one["subject"]) for one in kept}
    shown = kept + [one for one in rebuilt["health"]["open"] if (one["detector"], one["subject"]) not in named]
    worst = _worst(shown)
    fold = dict(live.get("fold", {}))
    old, new = fold.get("detectors", {}), rebuilt.get("fold", {}).get("detectors", {})
    going_on = {one["detector"] for one in kept}
    fold["detectors"] = {
        name: old[name] if name in going_on and name in old else new.get(name, old.get(name))
        for name in sorted({*old, *new})
    }
    fold["closed"] = _closed(live, rebuilt, since_ms)
    fields = {name: live[name] for name in ("connection", "counters", "location", "catalog") if name in live}
    if "location" in rebuilt:
        fields["location"] = rebuilt["location"]
    return {
        "_id": live["_id"],
        **fields,
        "schema_version": rebuilt["schema_version"],
        "signals": _newer(rebuilt.get("signals", {}), live.get("signals", {})),
        "health": {
            "status": worst["severity"] if worst else "ok",
            "worst": worst["detector"] if worst else None,
            "open": shown,
        },
        "fold": fold,
    }


_RANK: Final = {"critical": 0, "service": 1, "watch": 2}


def _worst(shown: list[Document]) -> Document | None:
    shown.sort(key=lambda one: (_RANK[one["severity"]], int(one["since"]), one["subject"]))
    return shown[0] if shown else None


def _closed(live: Document, rebuilt: Document, since_ms: int) -> list[Any]:
    """Findings that closed lately: [detector, subject, anomaly_id, since_ms, resolved_ms]."""
    before = [one for one in live.get("fold", {}).get("closed", []) if one[4] < since_ms]
    again = {tuple(one[:2]) for one in rebuilt.get("fold", {}).get("closed", [])}
    return [*rebuilt.get("fold", {}).get("closed", []), *(one for one in before if tuple(one[:2]) not in again)]


def _newer(rebuilt: Document, live: Document) -> dict[str, Any]:
    merged: dict[str, Any] = dict(live)
    for name, node in rebuilt.items():
        held = live.get(name)
        if held is None:
            merged[name] = node
        elif "ts" in node:
            merged[name] = node if int(node["ts"]) >= int(held["ts"]) else held
        else:
            merged[name] = _newer(node, held)
    return merged
