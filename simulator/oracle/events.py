"""Events: each that a device told is in the database once, and says what was told."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from simulator.oracle import times
from simulator.oracle.expected import Expected

Document = Mapping[str, Any]

_ENVELOPE: Final = {"v", "session", "seq"}


def differences(asset: Expected, counted: int, found: Mapping[str, Document]) -> Iterator[str]:
    """What is wrong about one asset's events: how many its twin `counted`, and those that the database has, by id."""
    sure, most = len(asset.events), len(asset.events) + len(asset.maybe_events)
    if not sure <= counted <= most:
        yield f"{sure} events sent, {counted} counted"
    told = asset.events | asset.maybe_events
    for missing in sorted(asset.events.keys() - found.keys()):
        yield f"event {missing} is missing"
    for surplus in sorted(found.keys() - told.keys()):
        yield f"event {surplus} was never sent"
    for id_ in sorted(found.keys() & told.keys()):
        yield from (f"event {id_}: {text}" for text in _content(told[id_], found[id_]))


def _content(told: Document, found: Document) -> Iterator[str]:
    ts_ms = times.ms(found["ts"]) if "ts" in found else None
    actual = {"type": found.get("type"), "ts": ts_ms, **found.get("data", {})}
    for name in sorted((told.keys() | actual.keys()) - _ENVELOPE):
        if actual.get(name) != told.get(name):
            yield f"{name} is {actual.get(name)!r}, expected {told.get(name)!r}"
