"""The twin service's one loop."""

import time
from array import array
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Final, NamedTuple

import structlog

from cloud import detect, effects, facts, filling, findings, fold, loading, plain
from cloud.aside import Aside
from cloud.cache import Cache
from cloud.detect import Job
from cloud.filling import Candidate
from cloud.forms import Forms
from cloud.gate import Gate
from cloud.inbox import Record
from cloud.kafka import Source
from cloud.linker import Linker
from cloud.metrics import Metrics
from cloud.mongo import Document
from cloud.outlet import Outlet
from cloud.picking import Part, Picker
from cloud.sharing import Sharing
from cloud.store import Store
from cloud.turn import Delivered, Turn
from cloud.twin import Twin
from cloud.writer import Writer

log: Final = structlog.get_logger()

_STAND_BY_S: Final = 0.05


class _InFlight(NamedTuple):
    turn: Turn
    delivered: "Future[Delivered]"


class Processor:
    """Folds, detects, links, in this order of durability:

    1. poll a batch of records, of which no asset gets more than its share;
    2. open them: deliveries per asset, facts, dead letters;
    3. load the twins; 4. fold; 5. detect, and encode what their documents lack;
    6. tell: events, anomalies and dead letters become durable (all have deterministic ids);
    7. write the twins by compare-and-set; those that another writer changed go back to step 3;
    8. link: customers, roles, lifecycle, owners; 9. let the offsets be committed.

    A crash before 9 repeats the turn: the twins know what they have seen (4 skips it), and 6 and 8 are
    idempotent. Step 6 comes before 7, since a twin that has seen an offset never asks for it again.

    Steps 6 to 8 of a turn are in flight on the writer's thread while the loop does 1 to 5 of the next. Only one
    turn is in flight, so offsets follow the order of the log; and an asset is never folded while a write of its
    twin is in flight, so a twin in memory is always what MongoDB had or will have. The loop's thread alone speaks
    to the consumer; it speaks to MongoDB through threads, and keeps its place in the group while it waits.
    """

    def __init__(
        self,
        source: Source,
        outlet: Outlet,
        store: Store,
        linker: Linker,
        cache: Cache,
        metrics: Metrics,
        detecting: bool = True,
        sharing: Sharing | None = None,
        picker: Picker | None = None,
    ) -> None:
        self._source, self._store, self._cache, self._metrics = source, store, cache, metrics
        self._detecting = detecting
        self._sharing = sharing or Sharing()
        self._picker, self._forms = picker or Picker(cache.at_hand), Forms()
        self._writer = Writer(outlet, store, linker, metrics)
        self._aside = Aside("fold", 2, source.keep_alive)
        self._in_flight: _InFlight | None = None
        self.busy_until_s = time.monotonic()

    def run(self, stopped: Callable[[], bool], gate: Gate | None = None) -> None:
        """Advance until told to stop; then what is committed is what was done."""
        while not stopped():
            if gate is not None and gate.due and self._aside.ask(gate.closed):
                self._stand_by(gate, stopped)
            self.advance()
        self.settle()

    def _stand_by(self, gate: Gate, stopped: Callable[[], bool]) -> None:
        """Rebuilt twins take the place of the twins: everything read is done, committed and forgotten meanwhile."""
        while self._sharing.carried_records:
            self._turn_of(self._sharing.admit([]))
        self.settle()
        self._source.commit()
        self._cache.clear()
        while not stopped() and self._aside.ask(partial(gate.stand_by, *self._source.membership())):
            self._source.keep_alive()
            time.sleep(_STAND_BY_S)

    def turn(self) -> None:
        """One turn from poll to commit."""
        self.advance()
        self.settle()

    def advance(self) -> None:
        """Steps 1 to 5 of the next turn, while 6 to 8 of the last are in flight; nothing to read is a short one."""
        with self._metrics.stage("poll"):
            records = self._source.poll(patient=not self._sharing.carried_records)  # step 1
        if self._source.lost_ownership:
            self.settle()  # its twins would come back into memory after the others are forgotten
            self._source.lost_ownership = False
            self._cache.clear()  # another worker may have written since; its word counts
            self._sharing.drop(self._source.owns)
        records = self._sharing.admit(records)
        self._source.hold_back(self._sharing.crowded())
        self._turn_of(records)

    def _turn_of(self, records: list[Record]) -> None:
        if not records or (self._in_flight is not None and self._in_flight.delivered.done()):
            self.settle()  # so that its twins are at hand
        if not records:
            return
        self._metrics.begun(records)
        with self._metrics.step_seconds.time():
            turn = self._open(records)  # step 2
            if self._in_flight is not None and not turn.asset_ids.isdisjoint(self._in_flight.turn.asset_ids):
                self.settle()
            self._fold(turn)  # steps 3 to 5
            self.settle()
            self._in_flight = _InFlight(turn, self._aside.submit(partial(self._writer.deliver, turn)))  # steps 6 to 8

    def settle(self) -> None:
        """Wait until the turn in flight is durable, fold again what was lost, then let its offsets go."""
        if self._in_flight is None:
            return
        (turn, future), self._in_flight = self._in_flight, None
        lost = self._conclude(turn, self._aside.wait(future))
        while lost:
            again = turn.again(lost)
            self._fold(again)
            lost = self._conclude(again, self._aside.ask(partial(self._writer.deliver, again)))
        with self._metrics.stage("commit"):
            self._source.done(turn.records)  # step 9
        self._metrics.settled(turn.records, self._source.lag_records() + self._sharing.carried_records)
        self._metrics.carried_records.set(self._sharing.carried_records)
        self.busy_until_s = time.monotonic()

    def _open(self, records: list[Record]) -> Turn:
        turn = Turn(records)
        with self._metrics.stage("open"):
            turn.groups, others = self._picker.pick(records)
            for record in others:
                if record.topic in facts.TOPICS:
                    turn.facts.append(record)
                else:
                    turn.open(record)
        return turn

    def _fold(self, turn: Turn) -> None:
        """Steps 3 to 5."""
        with self._metrics.stage("plain"):
            turn.plain = plain.fold(turn.groups, self._detecting)
            for record in turn.plain.left:
                turn.open(record)
        with self._metrics.stage("load"):
            loading.load(turn, self._cache, self._store, self._documents)  # step 3
        with self._metrics.stage("fold"):
            for asset in turn.twins:
                deliveries = turn.deliveries[asset.asset_id]
                inputs = detect.inputs_of(asset) if self._detecting else array("d")
                outcome = turn.outcomes[asset.asset_id] = fold.fold(asset, deliveries)  # step 4
                turn.events += [effects.event_write(event) for event in outcome.events]
                if outcome.replayed < len(deliveries):
                    turn.jobs.append(Job(asset, inputs, outcome.advances))
        if self._detecting:
            with self._metrics.stage("detect"):
                detect.detect(turn.jobs)  # step 5
                for job in turn.jobs:
                    self._find(job, turn)
        with self._metrics.stage("encode"):
            turn.changes = self._store.changes_of([job.twin for job in turn.jobs])

    def _find(self, job: Job, turn: Turn) -> None:
        if not job.advances or not (job.transitions or job.twin.findings or job.twin.closed):
            return  # by far the most: all is well, and was
        newest_ms = max(ts_ms for ts_ms, _ in job.advances)
        changes = findings.apply(job.twin, job.transitions, newest_ms)
        turn.anomalies += effects.anomaly_writes(changes, job.twin.heard)
        turn.outgoing += effects.anomaly_records(changes)
        for change in changes:
            if "status" in change:
                self._metrics.transitions.labels(change["detector"], change["status"]).inc()

    def _conclude(self, turn: Turn, delivered: Delivered) -> set[str]:
        """Keep and count what was written, bury what was refused; returns the assets to fold again."""
        refused = Turn([])
        for asset_id, why in delivered.refused.items():
            loading.give_up(turn.deliveries_of(asset_id), why, refused)
        self._aside.ask(partial(self._writer.bury, refused.letters))
        gone = delivered.lost | delivered.refused.keys()
        done = [asset for asset in turn.twins if asset.asset_id not in gone] if gone else turn.twins
        plainly = [part for part in turn.plain.parts if part.twin.asset_id not in gone] if gone else turn.plain.parts
        self._keep(turn, done, plainly)
        for asset_id in gone:
            self._cache.take(asset_id)
        self._metrics.twins_written.inc(sum(job.twin.asset_id not in gone for job in turn.jobs) + len(plainly))
        self._metrics.folded.inc(len(plainly))
        self._metrics.folded_plainly.inc(len(plainly))
        self._metrics.count([turn.outcomes[asset.asset_id] for asset in done])
        received = [delivery.items[-1].received_ms for asset in done for delivery in turn.deliveries[asset.asset_id]]
        received += [part.received_ms for part in plainly]
        self._metrics.age_seconds.observe([(delivered.written_ms - received_ms) / 1000 for received_ms in received])
        return delivered.lost

    def _keep(self, turn: Turn, done: list[Twin], plainly: list[Part]) -> None:
        """In memory."""
        several = list(zip(turn.jobs, turn.changes, strict=True))
        written = [
            Candidate(job.twin, turn.deliveries[change.asset_id], turn.outcomes[change.asset_id], change)
            for job, change in several
        ]
        filling.fill(written, self._forms, self._picker.few)
        self._cache.written((job.twin, change.size_bytes) for job, change in several)
        self._cache.put(done)
        self._cache.used([part.twin.asset_id for part in plainly])

    def _documents(self, asset_ids: Sequence[str]) -> list[Document]:
        return self._aside.ask(lambda: self._store.load(asset_ids))
