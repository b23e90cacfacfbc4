"""The rules between receiving and storing: records in, records out, in the same order.

A crash loses nothing that the rules kept: what they withhold was judged against samples that become durable before
the message is acknowledged, or earlier. State is in memory alone; after a restart every signal is sent once more.

Of `assets_max` assets the one not heard for longest is forgotten: what waits in its ring is sent, its next frame is
sent in full. When the rings hold `ring_bytes_max`, samples are sent instead of kept back.
"""

import bisect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from edge.rules import extras as made
from edge.rules import reduction
from edge.rules.asset import Asset
from edge.rules.extras import Extra
from edge.rules.plan import Plan
from edge.rules.ring import Budget
from edge.spool.records import Message, Record
from wire import codec, frames, limits
from wire.malformed import Malformed
from wire.messages import Frame
from wire.topics import Channel

_RELEASE_INTERVAL_S: Final = 1.0


class Limits(NamedTuple):
    """What is remembered."""

    assets_max: int
    ring_bytes_max: int


@dataclass(slots=True)
class Tally:
    """Since the start. Bytes are of payloads; `extra_frames` are those that the agent made."""

    frames: int = 0
    reduced_frames: int = 0
    emptied_frames: int = 0
    extra_frames: int = 0
    unread_frames: int = 0
    """Passed on as they are: no frame, or from the future."""
    received_bytes: int = 0
    passed_bytes: int = 0
    assets_forgotten: int = 0


class Engine:
    """`adopt` may be called by any thread; the rest is for one."""

    def __init__(self, bounds: Limits, monotonic_s: Callable[[], float]) -> None:
        self.plan: Plan | None = None
        self.tally = Tally()
        self._bounds = bounds
        self._monotonic_s = monotonic_s
        self._budget = Budget(bounds.ring_bytes_max)
        self._release_not_before_s = 0.0
        self._offered: tuple[Plan | None] | None = None
        self._plan_number = 0
        self._valid_from_ms = self._valid_until_ms = 0.0
        self._assets: dict[str, Asset] = {}  # the one not heard for longest comes first

    @property
    def assets(self) -> int:
        """How many are remembered."""
        return len(self._assets)

    @property
    def ring_bytes(self) -> int:
        """What the rings hold."""
        return self._budget.used_bytes

    def adopt(self, plan: Plan | None) -> None:
        """Follow other rules from the next message on; with None, send everything."""
        self._offered = (plan,)

    def apply(self, records: list[Record]) -> list[Record]:
        """What is to be stored of a chunk. Without rules: the same list."""
        if self._offered is not None:
            self._begin(self._offered[0])
        if self.plan is None:
            return records
        passed: list[Record] = []
        for record in records:
            if type(record) is Message and record.channel is Channel.SIGNALS:
                self._collect(record, self.plan, passed)
            else:
                passed.append(record)
        return passed

    def _begin(self, plan: Plan | None) -> None:
        self._offered = None
        self.plan = plan
        self._valid_from_ms, self._valid_until_ms = math.inf, -math.inf
        if plan is None:
            for asset in self._assets.values():
                asset.ring.clear()
            self._assets.clear()

    def _collect(self, message: Message, plan: Plan, passed: list[Record]) -> None:
        now_ms = message.received_ms
        if not self._valid_from_ms <= now_ms < self._valid_until_ms:
            self._revise(plan, now_ms)
        asset = self._asset(message, passed)
        if asset.plan_number != self._plan_number:
            asset.follow(plan, self._plan_number, now_ms)
        tally, size_bytes = self.tally, len(message.payload)
        tally.frames += 1
        tally.received_bytes += size_bytes
        if not asset.is_transparent:
            message = self._reduced(message, asset, passed)
        tally.passed_bytes += len(message.payload)
        passed.append(message)

    def _revise(self, plan: Plan, now_ms: float) -> None:
        """A rule has started or expired, or the clock jumped."""
        index = bisect.bisect_right(plan.times_ms, now_ms)
        self._valid_from_ms = plan.times_ms[index - 1] if index > 0 else -math.inf
        self._valid_until_ms = plan.times_ms[index] if index < len(plan.times_ms) else math.inf
        self._plan_number += 1

    def _asset(self, message: Message, passed: list[Record]) -> Asset:
        """Of a message; it moves to the end of those that are remembered."""
        asset = self._assets.pop(message.asset_id, None)
        if asset is None or asset.kind is not message.kind:
            asset = Asset(message.kind, message.asset_id, self._budget)
            if len(self._assets) >= self._bounds.assets_max:
                self._forget(self._assets.pop(next(iter(self._assets))), passed, message.received_ms)
        self._assets[message.asset_id] = asset
        return asset

    def _forget(self, asset: Asset, passed: list[Record], received_ms: int) -> None:
        self.tally.assets_forgotten += 1
        self._pass_extras(asset, asset.give_up(), received_ms, passed)

    def _reduced(self, message: Message, asset: Asset, passed: list[Record]) -> Message:
        given = codec.decode(message.payload)
        frame = frames.of_value(given)
        if isinstance(frame, Malformed) or _newest_ms(frame) > message.received_ms + limits.CLOCK_AHEAD_MS_MAX:
            self.tally.unread_frames += 1
            return message
        asset.heard_s = self._monotonic_s()
        self._release_silent(asset.heard_s)
        extras: list[Extra] = []
        reduced = reduction.reduce(asset, given, frame, extras)
        if extras:
            self._pass_extras(asset, extras, message.received_ms, passed)
        if reduced is None:
            return message
        self.tally.reduced_frames += 1
        self.tally.emptied_frames += not reduced["signals"]
        return message._replace(payload=codec.to_msgpack(reduced))

    def _release_silent(self, now_s: float) -> None:
        """When little room is left, empty the rings of assets that are silent for longer than captures look back."""
        if not self._budget.is_nearly_full or now_s < self._release_not_before_s:
            return
        self._release_not_before_s = now_s + _RELEASE_INTERVAL_S
        for asset in self._assets.values():
            if now_s - asset.heard_s > asset.before_ms / 1000:
                asset.ring.clear()

    def _pass_extras(self, asset: Asset, extras: list[Extra], received_ms: int, passed: list[Record]) -> None:
        for payload, urgent in made.frames(extras):
            self.tally.extra_frames += 1
            self.tally.passed_bytes += len(payload)
            passed.append(Message(received_ms, asset.kind, asset.asset_id, Channel.SIGNALS, payload, urgent))


def _newest_ms(frame: Frame) -> int:
    return frame.ts if frame.dt is None else frame.ts + max(frame.dt)
