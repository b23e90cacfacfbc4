"""The rules between receiving and storing: payloads in, payloads out, in the same order per series.

A crash loses nothing that the rules kept: what they withhold was judged against samples that become durable before
the message is acknowledged, or earlier. State is in memory alone; after a restart every signal is sent once more. What
is heard first may be a copy of what was stored before: the twin service takes the stored one, so that newer samples
must not be measured against the copy. Until `settle_s` after an asset is first heard none counts as sent.

Of `assets_max` assets the one not heard for longest is forgotten: what waits in its ring is sent, its next frame is
sent in full. When the rings hold `ring_bytes_max`, samples are sent instead of kept back.
"""

import bisect
import itertools
import math
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from edge import receive
from edge.receive import Arrival
from edge.rules import extras as made
from edge.rules import reduction
from edge.rules.asset import Asset
from edge.rules.extras import Extra
from edge.rules.plan import Plan
from edge.rules.ring import Budget
from edge.spool import records
from edge.spool import series as names
from wire.topics import Address, Channel

_RELEASE_INTERVAL_S: Final = 1.0


class Limits(NamedTuple):
    """What is remembered. For `settle_s` after an asset was first heard, nothing counts as sent."""

    assets_max: int
    ring_bytes_max: int
    settle_s: float = 0.0


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
    failures: int = 0


class Engine:
    """`adopt` may be called by any thread; the rest is for one."""

    def __init__(self, bounds: Limits, monotonic_s: Callable[[], float]) -> None:
        self.plan: Plan | None = None
        self.tally = Tally()
        self.failure: str | None = None
        """The last fault of ours, with its traceback: then everything was sent."""
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

    def apply(self, arrivals: dict[bytes, Arrival]) -> dict[bytes, Arrival]:
        """What is to be stored of a chunk, by series. Without rules: the same."""
        if self._offered is not None:
            self._begin(self._offered[0])
        if self.plan is None:
            return arrivals
        try:
            return self._apply(arrivals, self.plan)
        except Exception:  # a fault of ours must not stop the agent, nor cost a sample: everything is sent
            self.tally.failures += 1
            self.failure = traceback.format_exc()
            self._forget_everything()
            return arrivals

    def _apply(self, arrivals: dict[bytes, Arrival], plan: Plan) -> dict[bytes, Arrival]:
        passed: dict[bytes, Arrival] = {}
        for series, arrival in arrivals.items():
            address = names.address_of(series)
            if address.channel is Channel.SIGNALS:
                self._collect(arrival, address, plan, passed)
            else:
                passed[series] = arrival
        return passed

    def _begin(self, plan: Plan | None) -> None:
        self._offered = None
        self.plan = plan
        self._valid_from_ms, self._valid_until_ms = math.inf, -math.inf
        if plan is None:
            self._forget_everything()

    def _forget_everything(self) -> None:
        self._assets.clear()
        self._budget.used_bytes = 0

    def _collect(self, arrival: Arrival, address: Address, plan: Plan, passed: dict[bytes, Arrival]) -> None:
        payloads = iter(arrival.payloads)
        for each in arrival.runs:
            received_ms, payload_count = each.received_ms, each.payload_count
            if not self._valid_from_ms <= received_ms < self._valid_until_ms:
                self._revise(plan, received_ms)
            asset = self._asset(address, received_ms, passed)
            if asset.plan_number != self._plan_number:
                asset.follow(plan, self._plan_number, received_ms)
            run = list(itertools.islice(payloads, payload_count))
            size_bytes = sum(map(len, run))
            self.tally.frames += payload_count
            self.tally.received_bytes += size_bytes
            if asset.is_transparent:
                self.tally.passed_bytes += size_bytes
                receive.add(passed, arrival.series, run, records.Run(received_ms, len(run)))
                continue
            is_settled = asset.heard_s - asset.first_heard_s >= self._bounds.settle_s
            for payload in run:
                self._pass(payload, asset, received_ms, passed)
                if not is_settled:
                    asset.forget_sent()

    def _revise(self, plan: Plan, now_ms: float) -> None:
        """A rule has started or expired, or the clock jumped."""
        index = bisect.bisect_right(plan.times_ms, now_ms)
        self._valid_from_ms = plan.times_ms[index - 1] if index > 0 else -math.inf
        self._valid_until_ms = plan.times_ms[index] if index < len(plan.times_ms) else math.inf
        self._plan_number += 1

    def _asset(self, address: Address, received_ms: int, passed: dict[bytes, Arrival]) -> Asset:
        """It moves to the end of those that are remembered."""
        asset = self._assets.pop(address.asset_id, None)
        now_s = self._monotonic_s()
        if asset is None or asset.kind is not address.kind:
            asset = Asset(address.kind, address.asset_id, self._budget, now_s)
            if len(self._assets) >= self._bounds.assets_max:
                self._forget(self._assets.pop(next(iter(self._assets))), received_ms, passed)
        self._assets[address.asset_id] = asset
        asset.heard_s = now_s
        self._release_silent(now_s)
        return asset

    def _forget(self, asset: Asset, received_ms: int, passed: dict[bytes, Arrival]) -> None:
        self.tally.assets_forgotten += 1
        self._pass_extras(asset, asset.give_up(), received_ms, passed)

    def _pass(self, payload: bytes, asset: Asset, received_ms: int, passed: dict[bytes, Arrival]) -> None:
        """One frame, and what is sent with it."""
        read = reduction.read(payload, received_ms)
        if read is None:
            self.tally.unread_frames += 1
        else:
            extras: list[Extra] = []
            reduced = reduction.reduce(asset, read, extras)
            if extras:
                self._pass_extras(asset, extras, received_ms, passed)
            if reduced is not None:
                self.tally.reduced_frames += 1
                payload, is_empty = reduced
                self.tally.emptied_frames += is_empty
        self.tally.passed_bytes += len(payload)
        receive.add(passed, asset.series, [payload], records.Run(received_ms, 1))

    def _release_silent(self, now_s: float) -> None:
        """When little room is left, empty the rings of assets that are silent for longer than captures look back."""
        if not self._budget.is_nearly_full or now_s < self._release_not_before_s:
            return
        self._release_not_before_s = now_s + _RELEASE_INTERVAL_S
        for asset in self._assets.values():
            if now_s - asset.heard_s > asset.before_ms / 1000:
                asset.ring.clear()

    def _pass_extras(self, asset: Asset, extras: list[Extra], received_ms: int, passed: dict[bytes, Arrival]) -> None:
        for payload, urgent in made.frames(extras):
            self.tally.extra_frames += 1
            self.tally.passed_bytes += len(payload)
            receive.add(passed, asset.urgent_series if urgent else asset.series, [payload], records.Run(received_ms, 1))
