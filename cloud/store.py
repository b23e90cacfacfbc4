"""The twins' documents, as the fold and the linker see them. Every write is safe to repeat."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ClassVar, Final

import structlog
from pymongo import UpdateOne
from pymongo.errors import ConnectionFailure, PyMongoError
from pymongo.read_concern import ReadConcern
from tenacity import RetryCallState

from cloud import abandoned, changes
from cloud import twin as twins
from cloud.changes import Change
from cloud.leaves import Leaves
from cloud.mongo import Client, Document, Mongo, Written
from cloud.twin import Twin
from cloud.upgrades import SCHEMA_VERSION, NewerSchemaError
from runtime.settings import MongoSettings
from wire.malformed import Malformed, Reason
from wire.topics import Kind

log: Final = structlog.get_logger()

_PAGE: Final = 1_000
_LANE_MIN: Final = 250
"""Twins for which a transaction of their own is worth a thread."""
_MESSAGE_BYTES_MAX: Final = 40_000_000
"""The server takes 48 MB."""
_STATEMENT_BYTES: Final = 500
"""Of an update beside its fields, at most."""
_FOLD_HALF: Final = {"attributes": 0, "owner": 0, "lifecycle": 0}


class Store(Mongo):
    """The twins of a database. `twins`: their collection, another one while they are rebuilt."""

    together_min: ClassVar[int] = 8
    """Twins for which a transaction is worth its two more exchanges with the server."""

    def __init__(
        self,
        client: Client,
        settings: MongoSettings,
        while_waiting: Callable[[], None],
        twin_bytes_max: int = 1_000_000,
        twins: str = "twins",
    ) -> None:
        super().__init__(client, settings, while_waiting)
        self._leaves = Leaves()
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="store")
        self.apart = 0
        """How often twins could not be written together."""
        self.alone = 0
        """Twins that were written each on its own."""
        self.twin_bytes_max = twin_bytes_max
        self.twins = twins
        self.largest_twin_bytes = 0

    def load(self, asset_ids: Sequence[str]) -> list[Document]:
        """The fold's half of the twins that exist."""
        if not asset_ids:
            return []
        wanted = {"_id": {"$in": list(asset_ids)}}
        return self.patiently(lambda: list(self.database[self.twins].find(wanted, _FOLD_HALF)))

    def create(self, assets: Mapping[str, Kind]) -> None:
        """Make a document for each asset that has none, for what others than the fold say of it."""
        made = [twins.new_document(asset_id, kind) for asset_id, kind in assets.items()]
        self.bulk(self.twins, [UpdateOne({"_id": one["_id"]}, {"$setOnInsert": one}, upsert=True) for one in made])

    def new_twin(self, asset_id: str, kind: Kind) -> Twin:
        """The twin of an asset that has no document; the first write makes it."""
        return Twin(asset_id, kind, new=True)

    def changes_of(self, changed: Sequence[Twin]) -> list[Change]:
        """What brings each twin's document from `revision` to the next; see `changes.of`."""
        return [changes.of(twin, self._leaves) for twin in changed]

    def write_twins(self, several: Sequence[Change]) -> Written:
        """Those that leave all indexes as they are together; the others, and what cannot be written so, each alone.
        Those that are `behind` somebody else wrote: load those twins again and fold again.

        In a transaction MongoDB 6.0 looks up its catalogue again for each index, where a document changes in any of
        them: 330 µs instead of 57, while a write on its own takes 180 (measured).
        """
        written = Written(refused=self._oversized(several))
        due = [index for index in range(len(several)) if index not in written.refused]
        steady = [index for index in due if several[index].steady]
        if len(steady) < self.together_min:
            steady, others = [], due
        else:
            others = [index for index in due if not several[index].steady]
        lanes = _lanes(steady)
        together = [self._threads.submit(self._lane_together, several, lane) for lane in lanes]
        try:
            self._write_alone(several, others, written)
        finally:
            futures.wait(together)
        for lane, future in zip(lanes, together, strict=True):
            behind = future.result()
            if behind is None:
                self._write_alone(several, lane, written)
            else:
                written.behind += [lane[at] for at in behind]
        return written

    def _write_alone(self, several: Sequence[Change], places: Sequence[int], written: Written) -> None:
        lanes = _lanes(places)
        for lane, each in zip(lanes, self._threads.map(partial(self._lane_alone, several), lanes), strict=True):
            written.behind += [lane[at] for at in each.behind]
            written.refused |= {lane[at]: why for at, why in each.refused.items()}
        self.alone += len(places)

    def _lane_together(self, several: Sequence[Change], lane: Sequence[int]) -> list[int] | None:
        return self.patiently(lambda: self._together([several[index] for index in lane]))

    def _lane_alone(self, several: Sequence[Change], lane: Sequence[int]) -> Written:
        done = self.bulk(self.twins, [several[index].alone() for index in lane])
        made_by_others = [at for at in done.duplicate_keys if several[lane[at]].new]
        if done.matched + len(done.refused) < len(lane):  # which of them need not be known: what is done is skipped
            done.behind = [at for at in range(len(lane)) if at not in done.refused]
        done.behind += made_by_others
        for at in made_by_others:
            del done.refused[at]
        return done

    def _together(self, several: Sequence[Change]) -> list[int] | None:
        """In one transaction, which reads the revisions and then writes without looking. Returns those that are behind;
        None: nothing was written, since somebody else wrote in between or the server refuses a document."""
        collection = self.database[self.twins]
        wanted = {"_id": {"$in": [change.asset_id for change in several]}}
        snapshot, concern = ReadConcern("snapshot"), self.database.write_concern
        try:
            with self.database.client.start_session() as session, session.start_transaction(snapshot, concern):
                found = collection.find(wanted, {"revision": 1}, session=session, batch_size=len(several))
                held = {document["_id"]: document["revision"] for document in found}
                behind = [index for index, one in enumerate(several) if held.get(one.asset_id) != one.revision]
                current = [one for one in several if held.get(one.asset_id) == one.revision] if behind else several
                for part in _messages(current):
                    self.update_within(session, self.twins, part)
        except ConnectionFailure:
            raise
        except PyMongoError as error:
            self.apart += 1
            log.debug("twins not written together", error=str(error)[:200])
            abandoned.end(self.database.client)
            return None
        return behind

    def _on_wait(self, state: RetryCallState) -> None:
        super()._on_wait(state)
        abandoned.end(self.database.client)  # perhaps we wait for one that was ours

    def upgrade_twins(self) -> int:
        """Bring the documents of older versions to today's layout, as a fold would: what nobody is heard of any more
        must be found as well. One that somebody else writes meanwhile is left to them. Returns how many."""
        upgraded, last = 0, ""
        while found := self.patiently(partial(self._older, last)):
            older = [twin for document in found if (twin := _ours(document)) is not None]
            written = self.write_twins(self.changes_of(older))
            upgraded += len(older) - len(written.behind) - len(written.refused)
            last = found[-1]["_id"]
        return upgraded

    def _older(self, after: str) -> list[Document]:
        wanted = {"schema_version": {"$lt": SCHEMA_VERSION}, "_id": {"$gt": after}}
        return list(self.database[self.twins].find(wanted, _FOLD_HALF, sort=[("_id", 1)], limit=_PAGE))

    def _oversized(self, made: Sequence[Change]) -> dict[int, Malformed]:
        """Those whose half of the document would be larger than is wanted, long before MongoDB's 16 MB."""
        limit = self.twin_bytes_max
        self.largest_twin_bytes = max([self.largest_twin_bytes, *[change.size_bytes for change in made]])
        return {
            index: Malformed(
                Reason.TOO_LARGE, f"the twin would have {one.size_bytes} bytes, fold.twin_bytes_max is {limit}"
            )
            for index, one in enumerate(made)
            if one.size_bytes > limit
        }


def _messages(several: Sequence[Change]) -> Iterator[list[Mapping[str, Any]]]:
    """As many statements as one message to the server may carry."""
    part: list[Mapping[str, Any]] = []
    size_bytes = 0
    for one in several:
        size_bytes += len(one.fields.raw) + _STATEMENT_BYTES
        if part and size_bytes > _MESSAGE_BYTES_MAX:
            yield part
            part, size_bytes = [], len(one.fields.raw) + _STATEMENT_BYTES
        part.append(one.statement())
    if part:
        yield part


def _lanes(places: Sequence[int]) -> list[Sequence[int]]:
    """Many are written in two halves side by side: the server has a thread for each, and more than one core."""
    if len(places) < 2 * _LANE_MIN:
        return [places] if places else []
    return [places[0::2], places[1::2]]


def _ours(document: Document) -> Twin | None:
    try:
        return twins.from_document(document)
    except NewerSchemaError as error:  # it says so again when something is to be folded into it
        log.warning("twin not upgraded", asset_id=document["_id"], reason=str(error))
        return None
