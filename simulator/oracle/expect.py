"""What the twins must be after everything in the truth has arrived.

Written from the promises, not from the fold: each message counts once by (session, seq) and channel; the newest
value by source time wins, the greater one at equal times; what the broker never acknowledged may or may not have
arrived, so both are allowed.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import msgpack

from simulator.truth import Sent, Truth
from wire.catalogue import BY_NUMBER, BY_PATH
from wire.messages import LifecycleStep, Role

Value = Any

HOLDERS: Final = ("owner", "operator", "lessee", "fleet_manager")
"""Who stands for an asset when several hold it, in order of precedence."""


class At(NamedTuple):
    """A value and when it was so."""

    ts_ms: int
    value: Value


@dataclass(slots=True)
class Count:
    """How often: `sure` acknowledged, and `open` ones that may or may not have arrived."""

    sure: int = 0
    open: int = 0

    def add(self, amount: int, acknowledged: bool) -> None:
        if acknowledged:
            self.sure += amount
        else:
            self.open += amount

    @property
    def most(self) -> int:
        return self.sure + self.open


@dataclass(slots=True)
class Distinct:
    """Which sequences of one session were sent: all below `next`, and the `later` ones."""

    next: int = 0
    later: set[int] = field(default_factory=set)

    def add(self, seq: int) -> bool:
        """False when it was there already."""
        if seq < self.next or seq in self.later:
            return False
        self.later.add(seq)
        while self.next in self.later:
            self.later.remove(self.next)
            self.next += 1
        return True


@dataclass(slots=True)
class Expected:
    """One asset. `signals` from what was acknowledged; `maybe` are values that would be as right."""

    asset_id: str
    signals: dict[str, At] = field(default_factory=dict)
    maybe: dict[str, list[At]] = field(default_factory=dict)
    messages: Count = field(default_factory=Count)
    samples: Count = field(default_factory=Count)
    event_ids: set[str] = field(default_factory=set)
    maybe_event_ids: set[str] = field(default_factory=set)
    connection: tuple[int, bool, str] | None = None
    """(ts, offline, session) of the last state that was told, and acknowledged."""
    connection_is_sure: bool = True
    roles: dict[str, Role] = field(default_factory=dict)
    steps: dict[tuple[int, str], LifecycleStep] = field(default_factory=dict)
    faults: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """By detector."""
    series: dict[str, list[At]] = field(default_factory=dict)
    """All acknowledged samples of an asset with a fault, by path."""
    sessions: dict[tuple[str, str], Distinct] = field(default_factory=dict)


@dataclass(slots=True)
class World:
    """Everything expected: assets by id, display names by customer."""

    assets: dict[str, Expected] = field(default_factory=dict)
    names: dict[str, tuple[int, str]] = field(default_factory=dict)
    activities: dict[str, str] = field(default_factory=dict)
    """Customer by activity id."""

    def asset(self, asset_id: str) -> Expected:
        if asset_id not in self.assets:
            self.assets[asset_id] = Expected(asset_id)
        return self.assets[asset_id]

    @property
    def sent(self) -> int:
        """Distinct frames and events."""
        return sum(asset.messages.most for asset in self.assets.values())

    @property
    def unacknowledged(self) -> int:
        return sum(asset.messages.open for asset in self.assets.values())


def read(truths: Iterable[Truth]) -> World:
    """Add up what several runs sent and said."""
    world = World()
    truths = list(truths)
    for truth in truths:
        for fault in truth.faults():
            if fault["detector"] is not None:
                world.asset(fault["asset_id"]).faults.setdefault(fault["detector"], []).append(fault)
    for truth in truths:
        for sent in truth.sent():
            take(world, sent)
        _facts(world, truth)
    return world


def _facts(world: World, truth: Truth) -> None:
    for role in truth.roles():
        roles = world.asset(role.asset_id).roles
        known = roles.get(role.role_id)
        if known is None or known.recorded_ms <= role.recorded_ms:
            roles[role.role_id] = role
    for profile in truth.profiles():
        known_name = world.names.get(profile.customer_id)
        if known_name is None or known_name[0] <= profile.updated_ms:
            world.names[profile.customer_id] = (profile.updated_ms, profile.display_name)
    for activity in truth.activities():
        world.activities[activity.activity_id] = activity.customer_id
    for step in truth.lifecycle():
        world.asset(step.asset_id).steps[step.ts, step.step] = step


def take(world: World, sent: Sent) -> None:
    """Add one message that was sent."""
    asset = world.asset(sent.asset_id)
    body = json.loads(sent.payload) if sent.payload[:1] == b"{" else msgpack.unpackb(sent.payload, strict_map_key=False)
    if sent.channel == "connection":
        _connection(asset, body, sent.acknowledged)
        return
    session, seq = body["session"], body["seq"]
    if not asset.sessions.setdefault((sent.channel, session), Distinct()).add(seq):
        return
    asset.messages.add(1, sent.acknowledged)
    if sent.channel == "events":
        ids = asset.event_ids if sent.acknowledged else asset.maybe_event_ids
        ids.add(f"{asset.asset_id}:{session}:{seq}")
        _told_by_event(asset, body)
        return
    for path, at in samples(body):
        asset.samples.add(1, sent.acknowledged)
        _take(asset, path, at, sent.acknowledged)


def samples(frame: dict[str, Any]) -> Iterator[tuple[str, At]]:
    """Every (path, value, time) that a frame says."""
    offsets = frame.get("dt")
    for key, given in frame["signals"].items():
        path = key if key in BY_PATH else BY_NUMBER[int(key)].path
        if offsets is None:
            yield path, At(frame["ts"], given)
            continue
        for offset, value in zip(offsets, given, strict=True):
            if value is not None:
                yield path, At(frame["ts"] + offset, value)


def _take(asset: Expected, path: str, at: At, acknowledged: bool) -> None:
    if not acknowledged:
        asset.maybe.setdefault(path, []).append(at)
        return
    if asset.faults:
        asset.series.setdefault(path, []).append(at)
    held = asset.signals.get(path)
    if held is None or at > held:  # the later; at the same time the greater
        asset.signals[path] = at


def _told_by_event(asset: Expected, event: dict[str, Any]) -> None:
    """A NotifyEvent says the value of a variable, which a twin may take as its signal."""
    if event["type"] == "notify_event":
        path = f"Station.{event['component']}.{event['variable']}"
        if path in BY_PATH:
            asset.maybe.setdefault(path, []).append(At(event["ts"], event["actual_value"]))


def _connection(asset: Expected, state: dict[str, Any], acknowledged: bool) -> None:
    if not acknowledged:
        asset.connection_is_sure = False
        return
    told = (state["ts"], not state["online"], state["session"])
    if asset.connection is None or told[:2] >= asset.connection[:2]:
        asset.connection = told


class Holder(NamedTuple):
    """Who stands for an asset."""

    customer_id: str
    display_name: str | None
    role: str
    since_ms: int


def holder(world: World, asset: Expected, now_ms: int) -> Holder | None:
    """Who holds the asset at `now_ms`: by precedence of the role, then who began last."""
    current = [
        role
        for role in asset.roles.values()
        if not role.retracted and role.from_ms <= now_ms and (role.to_ms is None or now_ms < role.to_ms)
    ]
    for kind in HOLDERS:
        of_kind = [role for role in current if role.role == kind]
        if of_kind:
            role = max(of_kind, key=lambda role: (role.from_ms, role.role_id))
            name = world.names.get(role.customer_id)
            return Holder(role.customer_id, name[1] if name else None, kind, role.from_ms)
    return None


def attributes(asset: Expected) -> dict[str, Any]:
    """What the steps of its life say about the asset, the later over the earlier."""
    merged: dict[str, Any] = {}
    for _, step in sorted(asset.steps.items()):
        given = step.attributes
        merged |= {name: getattr(given, name) for name in given.__struct_fields__ if getattr(given, name) is not None}
    return merged
