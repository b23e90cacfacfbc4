"""What the twins must be after everything in the truth has arrived.

Written from the promises, not from the fold: each message counts once by (session, seq) and channel; the newest
value by source time wins, the greater one at equal times; what the broker never acknowledged may or may not have
arrived, so both are allowed.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

import msgpack

from simulator.oracle.expected import At, Count, Distinct, Expected
from simulator.oracle.tally import Tally
from simulator.truth import Sent, Truth
from wire.catalogue import BY_NUMBER, BY_PATH
from wire.messages import Profile

HOLDERS: Final = ("owner", "operator", "lessee", "fleet_manager")
"""Who stands for an asset when several hold it, in order of precedence."""


@dataclass(slots=True)
class World:
    """Everything expected: assets by id, without what `tallies` have of them; newest profiles by customer."""

    assets: dict[str, Expected] = field(default_factory=dict)
    profiles: dict[str, Profile] = field(default_factory=dict)
    activities: dict[str, str] = field(default_factory=dict)
    """Customer by activity id."""
    tallies: list[Tally] = field(default_factory=list)

    def asset(self, asset_id: str) -> Expected:
        if asset_id not in self.assets:
            self.assets[asset_id] = Expected(asset_id)
        return self.assets[asset_id]

    @property
    def asset_ids(self) -> list[str]:
        """Everybody who sent something or is known otherwise, in order."""
        return sorted(self.assets.keys() | {asset_id for tally in self.tallies for asset_id in tally.asset_ids})

    def expected(self, asset_id: str) -> Expected:
        """All that is expected of one asset."""
        asset = self.assets.get(asset_id) or Expected(asset_id)
        of_tallies = [(tally, tally.row_of[asset_id]) for tally in self.tallies if asset_id in tally.row_of]
        if not of_tallies:
            return asset
        whole = replace(asset, signals=dict(asset.signals), messages=asset.messages.copy())
        whole.samples, whole.maybe = asset.samples.copy(), {path: list(at) for path, at in asset.maybe.items()}
        whole.series = {path: list(at) for path, at in asset.series.items()}
        for tally, row in of_tallies:
            _add_tally(whole, tally, row)
        return whole

    @property
    def sent(self) -> int:
        """Distinct frames and events."""
        return sum(count.most for count in self._messages)

    @property
    def unacknowledged(self) -> int:
        return sum(count.open for count in self._messages)

    @property
    def dropped(self) -> int:
        """Messages that devices made and never sent."""
        return sum(asset.dropped for asset in self.assets.values()) + sum(tally.dropped for tally in self.tallies)

    @property
    def _messages(self) -> Iterator[Count]:
        yield from (asset.messages for asset in self.assets.values())
        yield from (tally.messages for tally in self.tallies)


def _add_tally(asset: Expected, tally: Tally, row: int) -> None:
    messages, samples = tally.messages_of(row), tally.samples_of(row)
    for total, more in ((asset.messages, messages), (asset.samples, samples)):
        total.add(more.sure, acknowledged=True)
        total.add(more.open, acknowledged=False)
    asset.dropped += tally.dropped_of(row)
    newest = tally.newest(row)
    if asset.signals:
        for path, at in newest.items():
            _keep_newest(asset, path, at)
    else:
        asset.signals = newest
    for path, at in tally.maybe(row):
        asset.maybe.setdefault(path, []).append(at)
    if asset.faults or asset.is_followed:
        for path, at in tally.story(row):
            asset.series.setdefault(path, []).append(at)


def read(truths: Iterable[Truth], followed: int = 0) -> World:
    """Add up what several runs sent and said; keep the whole story of about `followed` assets of each."""
    world = World()
    truths = list(truths)
    for truth in truths:
        ids = [asset_id for of_kind in truth.cells_of().values() for asset_id in of_kind.ids]
        for asset_id in ids[:: max(1, len(ids) // followed)] if followed else ():
            world.asset(asset_id).is_followed = True
    for truth in truths:
        for update in truth.updates():
            world.asset(update["asset_id"]).updated = update
        for fault in truth.faults():
            if fault["detector"] is not None:
                world.asset(fault["asset_id"]).faults.setdefault(fault["detector"], []).append(fault)
    for truth in truths:
        for sent in truth.sent():
            take(world, sent)
        _tally(world, truth)
        _facts(world, truth)
    return world


def _tally(world: World, truth: Truth) -> None:
    watched = {asset_id for asset_id, asset in world.assets.items() if asset.faults or asset.is_followed}
    tallies = {kind: Tally(of_kind, watched) for kind, of_kind in truth.cells_of().items()}
    for frames in truth.cells():
        tallies[frames.kind].add(frames)
    world.tallies += tallies.values()


def _facts(world: World, truth: Truth) -> None:
    for role in truth.roles():
        roles = world.asset(role.asset_id).roles
        known = roles.get(role.role_id)
        if known is None or known.recorded_ms <= role.recorded_ms:
            roles[role.role_id] = role
    for profile in truth.profiles():
        newest = world.profiles.get(profile.customer_id)
        if newest is None or newest.updated_ms <= profile.updated_ms:
            world.profiles[profile.customer_id] = profile
    for activity in truth.activities():
        world.activities[activity.activity_id] = activity.customer_id
    for step in truth.lifecycle():
        world.asset(step.asset_id).steps[step.ts, step.step] = step


def take(world: World, sent: Sent) -> None:
    """Add one message that was sent."""
    asset = world.asset(sent.asset_id)
    if sent.dropped:
        asset.dropped += 1
        return
    body = _read(sent.payload)
    if body is None:  # no frame for anybody: it must not count, and the next one must
        asset.unreadable += 1
        return
    if sent.channel == "connection":
        _connection(asset, body, sent.acknowledged)
        return
    session, seq = body["session"], body["seq"]
    if not asset.sessions.setdefault((sent.channel, session), Distinct()).add(seq):
        return
    asset.messages.add(1, sent.acknowledged)
    if sent.channel == "events":
        events = asset.events if sent.acknowledged else asset.maybe_events
        events[f"{asset.asset_id}:{session}:{seq}"] = body
        _told_by_event(asset, body)
        return
    for path, at in samples(body):
        asset.samples.add(1, sent.acknowledged)
        _take(asset, path, at, sent.acknowledged)


def _read(payload: bytes) -> dict[str, Any] | None:
    """A message of the contract's version; None for what nobody can read."""
    try:
        body = json.loads(payload) if payload[:1] == b"{" else msgpack.unpackb(payload, strict_map_key=False)
    except (ValueError, msgpack.UnpackException):
        return None
    return body if isinstance(body, dict) and body.get("v") == 1 else None


def _is_possible(path: str, value: Any) -> bool:
    """Whether a number lies where the catalogue says; other types are sent only as they must be, or are texts."""
    signal = BY_PATH[path]
    if not signal.is_numeric:
        return True
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and bool(signal.min <= value <= signal.max)


def samples(frame: dict[str, Any]) -> Iterator[tuple[str, At]]:
    """Every (path, value, time) that a frame says and that can be."""
    offsets = frame.get("dt")
    for key, given in frame["signals"].items():
        path = key if key in BY_PATH else BY_NUMBER[int(key)].path
        if offsets is None:
            if _is_possible(path, given):
                yield path, At(frame["ts"], given)
            continue
        for offset, value in zip(offsets, given, strict=True):
            if value is not None and _is_possible(path, value):
                yield path, At(frame["ts"] + offset, value)


def _take(asset: Expected, path: str, at: At, acknowledged: bool) -> None:
    if not acknowledged:
        asset.maybe.setdefault(path, []).append(at)
        return
    if asset.faults or asset.is_followed:
        asset.series.setdefault(path, []).append(at)
    _keep_newest(asset, path, at)


def _keep_newest(asset: Expected, path: str, at: At) -> None:
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
    born_ms, is_offline, session = state["ts"], not state["online"], state["session"]
    held = asset.connection
    if held is not None and held[2] == session:
        asset.connection = (held[0] if is_offline else born_ms, is_offline, session)
    elif held is None or (not is_offline and born_ms >= held[0]):
        asset.connection = (born_ms, is_offline, session)
        asset.software = state.get("software", "")


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
            profile = world.profiles.get(role.customer_id)
            return Holder(role.customer_id, profile.display_name if profile else None, kind, role.from_ms)
    return None


def attributes(asset: Expected) -> dict[str, Any]:
    """What the steps of its life say about the asset, the later over the earlier."""
    merged: dict[str, Any] = {}
    for _, step in sorted(asset.steps.items()):
        given = step.attributes
        merged |= {name: getattr(given, name) for name in given.__struct_fields__ if getattr(given, name) is not None}
    return merged
