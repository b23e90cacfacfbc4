"""A turn of the fold's loop: what was read, what came of it, and what has to become durable before its offsets."""

from collections import defaultdict
from dataclasses import dataclass, field

from pymongo import UpdateOne

from cloud.changes import Change
from cloud.detect import Job
from cloud.effects import Outgoing
from cloud.fold import Outcome
from cloud.inbox import Delivery, Record
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

    def again(self, asset_ids: set[str]) -> "Turn":
        """A turn that folds these assets' deliveries once more."""
        deliveries = {asset_id: self.deliveries[asset_id] for asset_id in self.deliveries if asset_id in asset_ids}
        return Turn([], deliveries=deliveries)


@dataclass(slots=True)
class Delivered:
    """What became of a turn's twins. `lost`: assets that another writer changed meanwhile. `written_ms`: when."""

    lost: set[str]
    refused: dict[str, Malformed]
    written_ms: float
