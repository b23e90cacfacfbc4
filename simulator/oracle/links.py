"""What other systems told about assets and customers, against what twins and database have: owner, life, customers.

Values that are personal data are not repeated: a line says which field differs, and of whom.
"""

from collections.abc import Iterator, Mapping, Set
from typing import Any, Final

import msgspec

from simulator.oracle import expect, times
from simulator.oracle.compare import Difference
from simulator.oracle.expect import World
from simulator.oracle.expected import Expected
from wire.messages import Profile

Document = Mapping[str, Any]

_OF_A_STEP: Final = ("place", "odometer_m", "reference")
_NOT_OF_A_CUSTOMER: Final = ("v", "customer_id", "updated_ms")


def differences(world: World, asset: Expected, twin: Document, now_ms: int) -> Iterator[Difference]:
    """Everything that is not as told about one asset."""
    for text in (*_owner(world, asset, twin, now_ms), *_life(asset, twin)):
        yield Difference("wrong", asset.asset_id, 1, text)


def _owner(world: World, asset: Expected, twin: Document, now_ms: int) -> Iterator[str]:
    if not asset.roles:
        return
    expected, actual = expect.holder(world, asset, now_ms), twin.get("owner") or {}
    if expected is None:
        if actual:
            yield f"owner is {actual.get('customer_id')}, expected nobody"
        return
    found = {**actual, "since_ms": times.ms(actual["since"]) if actual.get("since") else None}
    for name, value in expected._asdict().items():
        if found.get(name) != value:
            yield f"owner's {name} is {found.get(name)!r}, expected {value!r}"


def _life(asset: Expected, twin: Document) -> Iterator[str]:
    if not asset.steps:
        return
    ts_ms, last = max(asset.steps)
    lifecycle, actual = twin.get("lifecycle") or {}, twin.get("attributes") or {}
    if lifecycle.get("state") != last:
        yield f"lifecycle is {lifecycle.get('state')!r}, expected {last!r}"
    since_ms = times.ms(lifecycle["since"]) if lifecycle.get("since") else None
    if since_ms != ts_ms:
        yield f"lifecycle is so since {times.said(since_ms) if since_ms else None}, expected {times.said(ts_ms)}"
    yield from _steps(asset, lifecycle.get("steps", []))
    told = expect.attributes(asset)
    for name in sorted(actual.keys() - told.keys()):
        yield f"attribute {name} was never told"
    for name, value in told.items():
        if actual.get(name) != value:
            shown = "" if name == "vin" else f" {actual.get(name)!r}, expected {value!r}"  # a VIN is personal data
            yield f"attribute {name} is not as told{shown}"


def _steps(asset: Expected, steps: list[Document]) -> Iterator[str]:
    """Each step of the life, with where, at which odometer and under which number it was."""
    found = {(times.ms(step["ts"]), step["step"]): step for step in steps}
    if len(steps) > len(found):
        yield f"{len(steps) - len(found)} lifecycle steps are there twice"
    for ts_ms, name in sorted(found.keys() - asset.steps.keys()):
        yield f"lifecycle step {name!r} of {times.said(ts_ms)} was never told"
    for (ts_ms, name), told in sorted(asset.steps.items()):
        step = found.get((ts_ms, name))
        if step is None:
            yield f"lifecycle step {name!r} of {times.said(ts_ms)} is missing"
            continue
        for field in _OF_A_STEP:
            if step.get(field) != getattr(told, field):
                there = f"{step.get(field)!r}, expected {getattr(told, field)!r}"
                yield f"lifecycle step {name!r} of {times.said(ts_ms)}: {field} is {there}"


def activities(world: World, found: Set[str]) -> Iterator[Difference]:
    """What customers did, against the ids that the database has."""
    for missing in sorted(world.activities.keys() - found):
        yield Difference("wrong", world.activities[missing], 1, f"activity {missing} is missing")


def customers(world: World, found: Mapping[str, Document]) -> Iterator[Difference]:
    """The newest profile of each customer, consents included, against the database's."""
    for customer_id, profile in sorted(world.profiles.items()):
        held = found.get(customer_id)
        if held is None:
            yield Difference("wrong", customer_id, 1, "the customer is missing")
            continue
        for text in _profile(profile, held):
            yield Difference("wrong", customer_id, 1, text)


def _profile(told: Profile, held: Document) -> Iterator[str]:
    for name, value in msgspec.structs.asdict(told).items():
        if name == "consents":
            for consent in sorted(value.keys() | held.get(name, {}).keys()):
                given, expected = held.get(name, {}).get(consent), value.get(consent)
                if given is not expected:
                    yield f"consent {consent} is {given}, expected {expected}"
        elif name not in _NOT_OF_A_CUSTOMER and held.get(name) != value:
            yield f"the customer's {name} is not the newest that was told"
