"""A turn of the fold's loop: what was read, what came of it, and what has to become durable before its offsets."""

from collections import defaultdict
from dataclasses import dataclass, field

from pymongo import UpdateOne

from cloud import inbox
from cloud.changes import Change
from cloud.detect import Job
from cloud.effects import Outgoing
from cloud.fold import Outcome
from cloud.inbox import Delivery, Record
from cloud.picking import Group
from cloud.plain import Folded
from cloud.twin import Twin
from wire.malformed import Malformed
from wire.records import DeadLetter

Deliveries = dict[str, list[Delivery]]
Letters = list[tuple[DeadLetter, str]]
"""Dead letters, each with the topic that it came in on."""


@dataclass(slots=True)
class Turn:
    """`records` are what was polled, `facts` those of them that other systems said, `deliveries` the devices' words
    per asset. The rest is filled while the turn goes on."""

    records: list[Record]
    facts: list[Record] = field(default_factory=list)
    deliveries: Deliveries = field(default_factory=lambda: defaultdict(list))
    groups: list[Group] = field(default_factory=list)
    """Frames that may turn out to be plain."""
    plain: Folded = field(default_factory=Folded)
    """Those that were; their twins have no part in the rest."""
    twins: list[Twin] = field(default_factory=list)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    jobs: list[Job] = field(default_factory=list)
    """The twins that changed, in the order in which they are written."""
    changes: list[Change] = field(default_factory=list)
    """What is written of them."""
    unlinked: list[str] = field(default_factory=list)
    """Assets that no linker has ever seen."""
    letters: Letters = field(default_factory=list)
    events: list[UpdateOne] = field(default_factory=list)
    anomalies: list[UpdateOne] = field(default_factory=list)
    outgoing: list[Outgoing] = field(default_factory=list)

    @property
    def asset_ids(self) -> set[str]:
        """Whom it is about."""
        picked = {part.twin.asset_id for group in self.groups for part in group.parts}
        return picked | self.deliveries.keys()

    def open(self, record: Record) -> None:
        """Read a device's word."""
        opened = inbox.open_record(record)
        self.letters += [(letter, record.topic) for letter in opened.dead_letters]
        if opened.delivery is not None:
            self.deliveries[opened.delivery.asset_id].append(opened.delivery)

    def again(self, asset_ids: set[str]) -> "Turn":
        """A turn that folds these assets' deliveries once more."""
        turn = Turn([])
        for asset_id in asset_ids:
            turn.deliveries[asset_id] = self.deliveries_of(asset_id)
        return turn

    def deliveries_of(self, asset_id: str) -> list[Delivery]:
        """What was read of an asset."""
        if asset_id not in self.deliveries:
            for part in self.plain.parts:
                if part.twin.asset_id == asset_id:
                    self.open(part.record)
        return self.deliveries[asset_id]


@dataclass(slots=True)
class Delivered:
    """What became of a turn's twins. `lost`: assets that another writer changed meanwhile. `written_ms`: when."""

    lost: set[str]
    refused: dict[str, Malformed]
    written_ms: float
