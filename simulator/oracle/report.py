"""The verdict: counts, the first differences, and one line at the end."""

from collections.abc import Iterable, Mapping, Set
from types import MappingProxyType
from typing import Any, NamedTuple

from simulator.oracle import compare, links
from simulator.oracle.compare import Actual, Difference
from simulator.oracle.expect import World


class Told(NamedTuple):
    """What the database has of what other systems told: ids of activities, customers by id."""

    activity_ids: Set[str] = frozenset()
    customers: Mapping[str, Mapping[str, Any]] = MappingProxyType({})


class Verdict(NamedTuple):
    """What a verification comes to."""

    sent: int
    folded: int
    unacknowledged: int
    assets: int
    differences: list[Difference]
    dropped: int = 0

    def total(self, kind: compare.Kind) -> int:
        """How many frames and events (lost, doubled) or other things (wrong)."""
        return sum(difference.amount for difference in self.differences if difference.kind == kind)

    @property
    def good(self) -> bool:
        return not self.differences

    @property
    def line(self) -> str:
        """The last line, for people and scripts."""
        return (
            f"verified: {self.sent} sent, {self.folded} folded, "
            f"{self.total('lost')} lost, {self.total('doubled')} doubled, {self.total('wrong')} wrong"
        )

    def lines(self, differences_max: int) -> list[str]:
        """Everything that is printed."""
        shown = [f"{item.kind}: {item.asset_id}: {item.text}" for item in self.differences[:differences_max]]
        hidden = len(self.differences) - len(shown)
        if hidden:
            shown.append(f"and {hidden} more differences")
        if self.unacknowledged:
            shown.append(f"unacknowledged: {self.unacknowledged} messages, which may or may not have arrived")
        if self.dropped:
            shown.append(f"dropped: {self.dropped} messages that devices had no room to keep while they had no link")
        return [*shown, self.line]

    def plain(self, differences_max: int) -> dict[str, Any]:
        """For JSON."""
        return {
            "sent": self.sent,
            "folded": self.folded,
            "lost": self.total("lost"),
            "doubled": self.total("doubled"),
            "wrong": self.total("wrong"),
            "unacknowledged": self.unacknowledged,
            "dropped": self.dropped,
            "assets": self.assets,
            "differences": [item._asdict() for item in self.differences[:differences_max]],
        }


def verdict(world: World, actual: Iterable[tuple[str, Actual]], now_ms: int, told: Told) -> Verdict:
    """Compare every expected asset, the customers and what they did with what there is."""
    found = [*links.activities(world, told.activity_ids), *links.customers(world, told.customers)]
    folded = 0
    for asset_id, there in actual:
        expected = world.expected(asset_id)
        folded += compare.folded(there.twin)
        found += compare.differences(expected, there)
        if there.twin is not None:
            found += links.differences(world, expected, there.twin, now_ms)
    return Verdict(world.sent, folded, world.unacknowledged, len(world.asset_ids), found, world.dropped)
