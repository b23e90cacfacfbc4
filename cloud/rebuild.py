"""Folds the log again beside the live fold, and puts the result in its place.

1. fold into a collection of its own, never further than the live fold has committed; 2. when it has caught up: ask
the workers to finish what they have read, to commit and to wait; 3. fold up to what they committed; 4. take over what
is not folded from the log: the linker's half, and assets that the log says nothing of; 5. rename the collection over
the twins; the workers forget what they remember and go on where they had committed; 6. bring anomalies and owners up
to date.

Killed before 5, nothing has changed and the workers go on by themselves; killed after it, the next rebuild does 6.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import structlog
from pymongo.errors import PyMongoError

from cloud import handover, mongo, rebuild_compare, rebuilt, upgrades
from cloud.cache import Cache
from cloud.config import CloudSettings
from cloud.handover import Handover, LostError, Phase
from cloud.linker import Linker
from cloud.metrics import Metrics
from cloud.mongo import Document
from cloud.processor import Processor
from cloud.rebuild_compare import Differences
from cloud.rebuilt import NoLinker, NoOutlet, ShadowStore
from cloud.replay import Offsets, Replay
from cloud.sharing import Sharing
from cloud.store import Store
from cloud.upgrades import SCHEMA_VERSION

log: Final = structlog.get_logger()

_NEAR_RECORDS: Final = 2_000
"""So close to the live fold, catching up takes less time than the workers may wait."""
_NOBODY_WAITS: Final = 2**62
_PAUSE_LIMIT_S: Final = 60.0
_ANSWER_S: Final = 1.5
"""What a worker that is about to look, or has just joined, needs to see that it is to wait."""
_RENEW_S: Final = 5.0
_ROUNDS_MAX: Final = 3
_ROUND_S: Final = 0.5


class RefusedError(Exception):
    """What was asked for cannot be right, or a worker does not answer; nothing has changed."""


class StoppedError(Exception):
    """Stopped by the user; nothing has changed."""


class View(Protocol):
    """Shows people how far it is."""

    def phase(self, text: str) -> None: ...

    def progress(self, done: int, total: int) -> None: ...


@dataclass(slots=True)
class Result:
    """What a rebuild did. `kept`: assets that the log says nothing of, left as they are."""

    records: int = 0
    twins: int = 0
    kept: int = 0
    anomalies: int = 0
    withdrawn: int = 0
    pause_ms: int = 0
    differences: Differences | None = None
    not_compared: int = 0
    finished: bool = False
    """Only what an earlier, killed rebuild had left to do was done."""


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
            handover.settle_expired(live.database)
            if hand.state()["phase"] == Phase.SWAPPED:
                self.since_ms = hand.take_over()
                self._finish(live, hand)
                self.result.finished = True
                return self.result
            start = self._start(replay)
            self._check_versions(live)
            self._begin(hand)
            shadow = ShadowStore(live, self.settings.mongo, self._heed, hand.first_revision)
            with _kept(hand, live):
                self._fold(replay, hand, live, shadow, start)
        finally:
            replay.close()
            client.close()
        return self.result

    def _begin(self, hand: Handover) -> None:
        """One that was killed counts as alive for a little while."""
        deadline = time.monotonic() + 1.2 * handover.REBUILD_LEASE_MS / 1000
        while True:
            try:
                hand.begin(self.since_ms)
            except LostError:
                if time.monotonic() > deadline:
                    raise
                self.view.phase("another rebuild is at work, or was a moment ago: waiting")
                self._heed()
                time.sleep(1)
            else:
                return

    def _check_versions(self, live: Store) -> None:
        newer = live.database[handover.TWINS].find_one({"schema_version": {"$gt": SCHEMA_VERSION}}, {"_id": 1})
        if newer is not None:
            raise RefusedError(f"twins such as {newer['_id']} were written by a newer version: rebuild with that one")

    def _start(self, replay: Replay) -> dict[tuple[str, int], int]:
        """Where to begin, or why not."""
        oldest, committed = replay.oldest(), replay.committed()
        if not committed:
            raise RefusedError(f"the group {self.settings.kafka.group_id} has folded nothing yet: nothing to rebuild")
        cut = {place: offset for place, offset in oldest.items() if offset > 0}
        if self.since_ms is None:
            if cut:
                raise RefusedError(_gone(cut, replay.time_of(cut)))
            return oldest
        if cut:
            whole_ms = replay.time_of(cut)
            if whole_ms is None or self.since_ms < whole_ms:
                raise RefusedError(_gone(cut, whole_ms))
        return replay.at_time(oldest, self.since_ms)

    def _fold(self, replay: Replay, hand: Handover, live: Store, shadow: ShadowStore, start: Offsets) -> None:
        shadow.prepare()
        replay.begin(start)
        fold = self.settings.fold
        linker, cache = NoLinker(shadow, _now_ms), Cache(fold.cached_twins_max, fold.cached_bytes_max)
        sharing = Sharing(bytes_per_turn_max=_NOBODY_WAITS)
        processor = Processor(replay, NoOutlet(), shadow, linker, cache, Metrics(), fold.detect, sharing)  # type: ignore[arg-type]  # a replay has the verbs of a source
        self.view.phase("folding the log again")
        self._catch_up(replay, processor, near=_NEAR_RECORDS)  # step 1
        if self.dry_run:
            try:
                self._compare(replay, processor, live, hand)
            finally:
                self._give_up(hand, live)
            return
        hand.pause()  # step 2
        began_s = time.monotonic()
        try:
            self.view.phase("waiting for the workers to stand by")
            self._await_workers(replay, hand)
            self._catch_up(replay, processor)  # step 3
            self.result.kept = rebuilt.complete(live)  # step 4
            if self.since_ms is not None:
                rebuilt.write_overlaid(live, self._overlaid(live, hand.first_revision, self.since_ms))
            self.result.twins = live.database[handover.SHADOW_TWINS].estimated_document_count()
            hand.swap()  # step 5
        except BaseException:
            self._give_up(hand, live)
            raise
        self.result.pause_ms = int(1000 * (time.monotonic() - began_s))
        self._finish(live, hand)  # step 6

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
        found = rebuilt.reconcile(live, hand.first_revision, self.since_ms)
        self.result.anomalies, self.result.withdrawn = found
        Linker(live, _now_ms).relink(rebuilt.roles_assets(live))
        hand.finish()

    def _give_up(self, hand: Handover, live: Store) -> None:
        """Leave everything as it was; what died while it swapped is decided by `handover.settle_expired`."""
        if hand.state().get("phase") not in (Phase.SWAPPING, Phase.SWAPPED):
            hand.finish()
            handover.discard(live.database)

    def _heed(self) -> None:
        if self.stopped():
            raise StoppedError


@contextmanager
def _kept(hand: Handover, live: Store) -> Iterator[None]:
    """Others are told that this rebuild is alive, on a thread; what it made is removed if it ends early."""
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(_RENEW_S):
            try:
                hand.renew()
            except LostError:
                return  # the next step of the handover says so
            except PyMongoError as error:
                log.warning("rebuild: database away", error=str(error)[:200])

    thread = threading.Thread(target=renew, name="rebuild-alive", daemon=True)
    thread.start()
    try:
        yield
    except StoppedError:
        hand.finish()
        handover.discard(live.database)
        raise
    finally:
        ended.set()
        thread.join()


def _gone(cut: Offsets, whole_ms: int | None) -> str:
    (topic, partition), offset = min(cut.items())
    text = (
        f"the log begins at offset {offset} of {topic}/{partition}: what came before is gone by the topic's retention"
    )
    if whole_ms is None:
        return f"{text}, and nothing came since"
    since = datetime.fromtimestamp(whole_ms / 1000 + 1, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return (
        f"{text}. Possible: --from {since} or later, which keeps what the twins counted before, and finds again only"
        " what can be found from then on"
    )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def summary(result: Result) -> dict[str, Any]:
    """The result as plain values."""
    found: dict[str, Any] = {
        name: getattr(result, name)
        for name in ("records", "twins", "kept", "anomalies", "withdrawn", "pause_ms", "finished")
    }
    if result.differences is not None:
        differences = result.differences
        found["differences"] = {
            "compared": differences.compared,
            "equal": differences.equal,
            "only_rebuilt": differences.only_rebuilt,
            "not_compared": result.not_compared,
            "fields": dict(differences.fields.most_common()),
            "examples": [
                {"asset_id": asset_id, "field": name, "live": here, "rebuilt": there}
                for asset_id, name, here, there in differences.examples
            ],
        }
    return found
