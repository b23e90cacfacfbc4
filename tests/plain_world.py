"""Two twin services in memory that hear the same: one folds plain frames together, the other each by itself."""

from collections.abc import Sequence
from typing import Any

import bson
from bson.codec_options import CodecOptions, DatetimeConversion

from cloud import changes
from cloud.cache import Cache
from cloud.changes import Change
from cloud.inbox import Record
from cloud.leaves import Leaves
from cloud.metrics import Metrics
from cloud.mongo import Written
from cloud.picking import Picker
from cloud.processor import Processor
from cloud.twin import Twin
from tests.cloud_worker import Drawer, Script
from wire.malformed import Malformed, Reason
from wire.topics import Kind

AS_MS: CodecOptions[dict[str, Any]] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_MS)
NEVER = 10**9
"""Of so many frames on: of none."""


class Shelf:
    """Twins by id, with the verbs of a store; `refuses`: assets whose next write it does not take."""

    largest_twin_bytes = alone = apart = 0

    def __init__(self) -> None:
        self.twins: dict[str, dict[str, Any]] = {}
        self.others: list[tuple[str, Any]] = []
        self.refuses: set[str] = set()
        self._leaves = Leaves()

    def load(self, asset_ids: Sequence[str]) -> list[dict[str, Any]]:
        return [bson.decode(bson.encode(self.twins[one]), AS_MS) for one in asset_ids if one in self.twins]

    def new_twin(self, asset_id: str, kind: Kind) -> Twin:
        return Twin(asset_id, kind, new=True)

    def changes_of(self, changed: Sequence[Twin]) -> list[Change]:
        return [changes.of(twin, self._leaves) for twin in changed]

    def bulk(self, collection: str, writes: Sequence[Any]) -> Written:
        self.others += [(collection, repr(write)) for write in writes]
        return Written()

    def write_twins(self, several: Sequence[Change]) -> Written:
        written = Written()
        for index, change in enumerate(several):
            held = self.twins.get(change.asset_id)
            if change.asset_id in self.refuses:
                self.refuses.discard(change.asset_id)
                written.refused[index] = Malformed(Reason.REFUSED_BY_DATABASE, "for a test")
            elif change.new != (held is None) or (held is not None and held["revision"] != change.revision):
                written.behind.append(index)
            else:
                self._set(change)
        return written

    def _set(self, change: Change) -> None:
        twin = self.twins.setdefault(change.asset_id, {})
        for name, value in bson.decode(change.fields.raw, AS_MS).items():
            outer, _, inner = name.partition(".")
            if inner:
                twin[outer][inner] = value
            else:
                twin[name] = value


class _NoLinker:
    def relink(self, asset_ids: Sequence[str]) -> None:
        """Nobody owns anything."""


class Side:
    """One of the two services. `few`: of how many frames on it folds them together."""

    def __init__(self, few: int, twins_max: int, detecting: bool) -> None:
        self.shelf, self.source, self.drawer, self.metrics = Shelf(), Script(), Drawer(), Metrics()
        self.cache = Cache(twins_max)
        shelf: Any = self.shelf
        linker: Any = _NoLinker()
        outlet: Any = self.drawer
        source: Any = self.source
        picker = Picker(self.cache.at_hand, few)
        self.worker = Processor(source, outlet, shelf, linker, self.cache, self.metrics, detecting, picker=picker)

    def hear(self, records: Sequence[Record]) -> None:
        """A turn, perhaps with the last one still on its way."""
        self.source.turns.append(list(records))
        self.worker.advance()

    def everything(self) -> Any:
        """All that anybody can see of it."""
        self.worker.settle()
        counts = {
            sample.name: sample.value
            for metric in self.metrics.registry.collect()
            for sample in metric.samples
            if sample.name.endswith(("messages_folded_total", "twins_written_total", "duplicates_total"))
            or sample.name == "fleetfold_cloud_age_seconds_count"
        }
        letters = [(one.topic, one.key, one.value) for one in self.drawer.records]
        return self.shelf.twins, sorted(self.shelf.others), sorted(letters, key=repr), counts

    def in_memory(self) -> dict[str, Twin]:
        """The twins, taken out."""
        self.worker.settle()
        return {one: twin for one in self.shelf.twins if (twin := self.cache.take(one)) is not None}
