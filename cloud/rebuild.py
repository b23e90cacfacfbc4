"""Folds the log again beside the live fold, and puts the result in its place.

1. fold into a collection of its own, never further than the live fold has committed; 2. when it has caught up: ask
the workers to finish what they have read, to commit and to wait; 3. fold up to what they committed; 4. take over what
is not folded from the log: the linker's half, and assets that the log says nothing of; 5. rename the collection over
the twins; the workers forget what they remember and go on where they had committed; 6. bring anomalies and owners up
to date.

Killed before 5, nothing has changed and the workers go on by themselves; killed after it, the next rebuild does 6.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, Protocol

import structlog

from cloud import handover, mongo, rebuild_compare, rebuild_lease, rebuild_start, rebuilt, upgrades
from cloud.cache import Cache
from cloud.config import CloudSettings
from cloud.handover import Handover, LostError, Phase
from cloud.linker import Linker
from cloud.metrics import Metrics
from cloud.mongo import Document
from cloud.processor import Processor
from cloud.rebuild_compare import Differences
from cloud.rebuild_result import Result
from cloud.rebuild_start import RefusedError
from cloud.rebuilt import NoLinker, NoOutlet, ShadowStore
from cloud.replay import Offsets, Replay
from cloud.sharing import Sharing
from cloud.store import Store

log: Final = structlog.get_logger()

_NEAR_RECORDS: Final = 2_000
"""So close to the live fold, catching up takes less time than the workers may wait."""
_NOBODY_WAITS: Final = 2**62
_PAUSE_LIMIT_S: Final = 60.0
_ANSWER_S: Final = 1.5
"""What a worker that is about to look, or has just joined, needs to see that it is to wait."""
_ROUNDS_MAX: Final = 3
_ROUND_S: Final = 0.5


class StoppedError(Exception):
    """Stopped by the user; says how the twins are."""


class View(Protocol):
    """Shows people how far it is."""

    def phase(self, text: str) -> None: ...

    def progress(self, done: int, total: int) -> None: ...


@dataclass(slots=True)
class Rebuild:
    """One rebuild. `since_ms`: from the records of this time on; None: from the beginning of the log."""

    settings: CloudSettings
    since_ms: int | None
    dry_run: bool
    view: View
    stopped: Callable[[], bool]
    result: Result = field(default_factory=Result)

    def run(self) -> Result:
        """Raises RefusedError, LostError, StoppedError, and the errors of Kafka and MongoDB."""
        client = mongo.connect(self.settings.mongo)
        replay = Replay(self.settings.kafka)
        try:
            live = Store(client, self.settings.mongo, self._heed, self.settings.fold.twin_bytes_max)
            hand = Handover(live.database)
            if self._begin(hand, live):
                with rebuild_lease.renewed(hand):
                    self._replace(replay, hand, live)
            else:
                self.since_ms = hand.take_over()
                self._finish(live, hand)
                self.result.finished = True
        finally:
            replay.close()
            client.close()
        return self.result

    def _begin(self, hand: Handover, live: Store) -> bool:
        """Whether it is to be done from its beginning; else another one died with its twins in place, and only needs to
        be finished. One that was killed counts as alive for a little while, and is waited for."""
        deadline = time.monotonic() + 1.2 * max(handover.REBUILD_LEASE_MS, handover.PAUSE_LEASE_MS) / 1000
        while True:
            handover.settle_expired(live.database)
            if hand.state()["phase"] == Phase.SWAPPED:
                return False
            try:
                hand.begin(self.since_ms)
            except LostError:
                if time.monotonic() > deadline:
                    raise
                self.view.phase("another rebuild is at work, or was a moment ago: waiting")
                self._heed()
                time.sleep(1)
            else:
                return True

    def _replace(self, replay: Replay, hand: Handover, live: Store) -> None:
        try:
            start = rebuild_start.offsets(replay, self.settings.kafka.group_id, self.since_ms)
            rebuild_start.check_versions(live)
            self._fold(replay, hand, live, start)
        except BaseException:
            self._give_up(hand, live)
            raise
        if self.dry_run:
            self._give_up(hand, live)
        else:
            self._finish(live, hand)  # step 6

    def _fold(self, replay: Replay, hand: Handover, live: Store, start: Offsets) -> None:
        shadow = ShadowStore(live, self.settings.mongo, self._heed, hand.first_revision)
        shadow.prepare()
        replay.begin(start)
        fold = self.settings.fold
        linker, cache = NoLinker(shadow, _now_ms), Cache(fold.cached_twins_max, fold.cached_bytes_max)
        sharing = Sharing(bytes_per_turn_max=_NOBODY_WAITS)
        processor = Processor(replay, NoOutlet(), shadow, linker, cache, Metrics(), fold.detect, sharing)  # type: ignore[arg-type]  # a replay has the verbs of a source
        self.view.phase("folding the log again")
        self._catch_up(replay, processor, near=_NEAR_RECORDS)  # step 1
        if self.dry_run:
            self._compare(replay, processor, live, hand)
        else:
            self._swap(replay, processor, live, hand)

    def _swap(self, replay: Replay, processor: Processor, live: Store, hand: Handover) -> None:
        hand.pause()  # step 2
        began_s = time.monotonic()
        self.view.phase("waiting for the workers to stand by")
        self._await_workers(replay, hand)
        self._catch_up(replay, processor)  # step 3
        self.result.kept = rebuilt.complete(live)  # step 4
        if self.since_ms is not None:
            rebuilt.write_overlaid(live, self._overlaid(live, hand.first_revision, self.since_ms))
        self.result.twins = live.database[handover.SHADOW_TWINS].estimated_document_count()
        hand.swap()  # step 5
        self.result.pause_ms = int(1000 * (time.monotonic() - began_s))

    def _catch_up(self, replay: Replay, processor: Processor, near: int = 0) -> None:
        """Fold until at most `near` records are left before what is committed."""
        while True:
            replay.advance(replay.committed())
            if replay.remaining() <= near:
                break
            self._reach(replay, processor, near)
        processor.settle()

    def _reach(self, replay: Replay, processor: Processor, near: int = 0) -> None:
        """Fold until at most `near` records are left before where the replay is to end."""
        while replay.remaining() > near:
            self._heed()
            processor.advance()
            done = self.result.records = sum(replay.position.values()) - sum(replay.start.values())
            self.view.progress(done, done + replay.remaining())
        processor.settle()

    def _await_workers(self, replay: Replay, hand: Handover) -> None:
        """Until every worker waits and what is committed stands still."""
        deadline = time.monotonic() + _PAUSE_LIMIT_S
        while True:
            self._heed()
            if self._all_wait(replay, hand):
                committed = replay.committed()
                time.sleep(_ANSWER_S)
                if self._all_wait(replay, hand) and replay.committed() == committed:
                    return
            if time.monotonic() > deadline:
                known = len(hand.paused())
                raise RefusedError(
                    f"not every worker of {self.settings.kafka.group_id} stands by ({known} do): is one of them stuck,"
                    " or of a version that knows no rebuild? The twins are as they were"
                )
            time.sleep(0.1)

    def _all_wait(self, replay: Replay, hand: Handover) -> bool:
        members, paused = replay.members(), hand.paused()
        if members is not None:
            return members <= {one.member for one in paused}
        covered = frozenset[tuple[str, int]]().union(*(one.partitions for one in paused))
        return covered >= replay.start.keys()

    def _compare(self, replay: Replay, processor: Processor, live: Store, hand: Handover) -> None:
        """Each twin at a moment at which both have read the same of it; for those that never rest, the workers wait."""
        self.view.phase("comparing")
        self.result.differences = Differences()
        todo: list[str] | None = None
        for _ in range(_ROUNDS_MAX):
            replay.advance(replay.committed())
            self._reach(replay, processor)
            todo = self._compare_once(live, todo)
            if not todo:
                break
            time.sleep(_ROUND_S)
        if todo:
            hand.pause()
            began_s = time.monotonic()
            self._await_workers(replay, hand)
            self._catch_up(replay, processor)
            todo = self._compare_once(live, todo)
            hand.resume()
            self.result.pause_ms = int(1000 * (time.monotonic() - began_s))
        self.result.not_compared = len(todo or ())
        self.result.twins = live.database[handover.SHADOW_TWINS].estimated_document_count()

    def _compare_once(self, live: Store, asset_ids: list[str] | None) -> list[str]:
        """Returns those that were not at the same place."""
        assert self.result.differences is not None
        moved: list[str] = []
        for again, held in rebuilt.pairs(live, asset_ids):
            if rebuild_compare.at_the_same_place(again, held):
                self.result.differences.add(again, held)
            else:
                moved.append(again["_id"])
        return moved

    def _overlaid(self, live: Store, first_revision: int, since_ms: int) -> Iterator[Document]:
        for again, held in rebuilt.pairs(live):
            if held is not None and again["revision"] >= first_revision:
                yield rebuilt.searchable(rebuild_compare.overlay(again, upgrades.upgraded(held), since_ms), again)

    def _finish(self, live: Store, hand: Handover) -> None:
        self.view.phase("bringing anomalies and owners up to date")
        try:
            found = rebuilt.reconcile(live, hand.first_revision, self.since_ms)
            self.result.anomalies, self.result.withdrawn = found
            Linker(live, _now_ms).relink(rebuilt.roles_assets(live))
        except StoppedError:
            raise StoppedError("the rebuilt twins are in place, run it again for anomalies and owners") from None
        hand.finish()

    def _give_up(self, hand: Handover, live: Store) -> None:
        """Leave everything as it was, unless it is no longer ours: another rebuild's, or what died while it swapped."""
        try:
            hand.renew()
        except LostError:
            return
        handover.discard(live.database)
        hand.finish()

    def _heed(self) -> None:
        if self.stopped():
            raise StoppedError("the twins are as they were")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
