"""The verdict: counts, the first differences, and one line at the end."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from simulator.oracle import compare
from simulator.oracle.compare import Actual, Difference
from simulator.oracle.expect import World


class Verdict(NamedTuple):
    """What a verification comes to."""

    sent: int
    folded: int
    unacknowledged: int
    assets: int
    differences: list[Difference]

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
            "assets": self.assets,
            "differences": [item._asdict() for item in self.differences[:differences_max]],
        }


def verdict(
    world: World, actual: Iterable[tuple[str, Actual]], now_ms: int, activity_ids: Iterable[str] = ()
) -> Verdict:
    """Compare every expected asset, and what customers did, with what there is."""
    found: list[Difference] = list(compare.activities(world, set(activity_ids)))
    folded = 0
    for asset_id, there in actual:
        expected = world.expected(asset_id)
        folded += compare.folded(there.twin)
        found += compare.differences(world, expected, there, now_ms)
    return Verdict(world.sent, folded, world.unacknowledged, len(world.asset_ids), found)
