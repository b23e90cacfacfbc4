"""The twin service's one loop."""

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import structlog
from pymongo import UpdateOne

from cloud import detect, effects, facts, findings, fold, inbox, twin
from cloud.cache import Cache
from cloud.detect import Job
from cloud.effects import Outgoing
from cloud.fold import Outcome
from cloud.inbox import Delivery, Record
from cloud.kafka import Outlet, Source
from cloud.linker import Linker
from cloud.metrics import Metrics
from cloud.store import Document, Store
from cloud.twin import Twin
from cloud.upgrades import NewerSchemaError
from wire.malformed import Malformed, Reason
from wire.records import DeadLetter

log: Final = structlog.get_logger()

Deliveries = dict[str, list[Delivery]]


@dataclass(slots=True)
class Tidings:
    """What a turn has to tell others before the twins are written."""

    events: list[UpdateOne] = field(default_factory=list)
    anomalies: list[UpdateOne] = field(default_factory=list)
    records: list[Outgoing] = field(default_factory=list)


class Processor:
    """Folds, detects, links, in this order of durability:

    1. poll a batch of records; 2. open them: deliveries per asset, facts, dead letters;
    3. load the twins; 4. fold; 5. detect;
    6. tell: events, anomalies and dead letters become durable (all have deterministic ids);
    7. write the twins by compare-and-set; those that another writer changed go back to step 3;
    8. link: customers, roles, lifecycle, owners; 9. let the offsets be committed.

    A crash before 9 repeats the turn: the twins know what they have seen (4 skips it), and 6 and 8 are
    idempotent. Step 6 comes before 7, since a twin that has seen an offset never asks for it again.
    """

    def __init__(self, source: Source, outlet: Outlet, store: Store, linker: Linker, cache: Cache, metrics: Metrics):
        self._source, self._outlet, self._store, self._linker = source, outlet, store, linker
        self._cache, self._metrics = cache, metrics
        self.busy_until_s = time.monotonic()

    def run(self, stopped: Callable[[], bool]) -> None:
        """Turn until told to stop; then what is committed is what was done."""
        while not stopped():
            self.turn()

    def turn(self) -> None:
        """One turn of the loop; nothing to read is a short one."""
        records = self._source.poll()  # step 1
        if self._source.lost_ownership:
            self._source.lost_ownership = False
            self._cache.clear()  # another worker may have written since; its word counts
        if not records:
            return
        with self._metrics.step_seconds.time():
            deliveries = self._open([record for record in records if record.topic not in facts.TOPICS])  # step 2
            while deliveries:
                deliveries = self._fold(deliveries)  # steps 3 to 7
            self._link([record for record in records if record.topic in facts.TOPICS])  # step 8
            self._source.done(records)  # step 9
        for record in records:
            self._metrics.records.labels(record.topic).inc()
        self._metrics.lag_records.set(self._source.lag_records())
        self.busy_until_s = time.monotonic()

    def _open(self, records: list[Record]) -> Deliveries:
        deliveries: Deliveries = defaultdict(list)
        letters: list[tuple[DeadLetter, str]] = []
        for record in records:
            opened = inbox.open_record(record)
            letters += [(letter, record.topic) for letter in opened.dead_letters]
            if opened.delivery is not None:
                deliveries[opened.delivery.asset_id].append(opened.delivery)
        self._bury(letters)
        return deliveries

    def _fold(self, deliveries: Deliveries) -> Deliveries:
        """Steps 3 to 7; returns the deliveries of assets that another writer changed meanwhile."""
        twins, unlinked = self._load(deliveries)  # step 3
        tidings = Tidings()
        jobs: list[Job] = []
        outcomes: dict[str, Outcome] = {}
        for asset_id, asset in twins.items():
            inputs = detect.inputs_of(asset)
            outcome = outcomes[asset_id] = fold.fold(asset, deliveries[asset_id])  # step 4
            tidings.events += [effects.event_write(event) for event in outcome.events]
            if outcome.replayed < len(deliveries[asset_id]):
                jobs.append(Job(asset, inputs, outcome.advances))
        detect.detect(jobs)  # step 5
        for job in jobs:
            self._find(job, tidings)
        self._tell(tidings)  # step 6
        lost, refused = self._write([job.twin for job in jobs])  # step 7
        for asset_id, why in refused.items():
            self._give_up(deliveries[asset_id], why)
        done = [asset_id for asset_id in twins if asset_id not in lost and asset_id not in refused]
        self._cache.put(twins[asset_id] for asset_id in done)
        for asset_id in done:
            self._count(outcomes[asset_id], deliveries[asset_id])
        self._linker.relink(unlinked)
        return {asset_id: deliveries[asset_id] for asset_id in lost}

    def _load(self, deliveries: Deliveries) -> tuple[dict[str, Twin], list[str]]:
        """The twins of these assets, created where new, and which of them no linker has ever seen."""
        twins = {asset_id: cached for asset_id in deliveries if (cached := self._cache.take(asset_id)) is not None}
        absent = [asset_id for asset_id in deliveries if asset_id not in twins]
        unlinked: list[str] = []
        if absent:
            documents = {document["_id"]: document for document in self._store.load(absent)}
            new = {asset_id: deliveries[asset_id][0].kind for asset_id in absent if asset_id not in documents}
            self._store.create(new)
            documents |= {document["_id"]: document for document in self._store.load(list(new))}
            for asset_id, document in documents.items():
                asset = self._revive(document, deliveries[asset_id])
                if asset is not None:
                    twins[asset_id] = asset
                if document["link"]["revision"] == 0:
                    unlinked.append(asset_id)
        return twins, unlinked

    def _revive(self, document: Document, deliveries: list[Delivery]) -> Twin | None:
        try:
            asset = twin.from_document(document)
        except NewerSchemaError as error:
            self._give_up(deliveries, Malformed(Reason.NEWER_SCHEMA, str(error)))
            return None
        strangers = [delivery for delivery in deliveries if delivery.kind is not asset.kind]
        if strangers:
            self._give_up(strangers, Malformed(Reason.WRONG_ASSET, f"this asset is a {asset.kind}"))
            deliveries[:] = [delivery for delivery in deliveries if delivery.kind is asset.kind]
        return asset

    def _find(self, job: Job, tidings: Tidings) -> None:
        if not job.advances:
            return
        newest_ms = max(ts_ms for ts_ms, _ in job.advances)
        changes = findings.apply(job.twin, job.transitions, newest_ms)
        tidings.anomalies += effects.anomaly_writes(changes, job.twin.revision + 1)
        tidings.records += effects.anomaly_records(changes)
        for change in changes:
            if "status" in change:
                self._metrics.transitions.labels(change["detector"], change["status"]).inc()

    def _tell(self, tidings: Tidings) -> None:
        for collection, writes in (("events", tidings.events), ("anomalies", tidings.anomalies)):
            written = self._store.bulk(collection, writes)
            for index in set(written.refused) - written.duplicate_keys:
                log.error("refused by the database", collection=collection, reason=written.refused[index])
        if tidings.records:
            for outgoing in tidings.records:
                self._outlet.send(outgoing)
            self._outlet.flush()

    def _write(self, changed: list[Twin]) -> tuple[set[str], dict[str, Malformed]]:
        """Write twins; returns the assets to fold again and those that the database refused."""
        written = self._store.write_twins(changed)
        refused = {
            changed[index].asset_id: Malformed(Reason.REFUSED_BY_DATABASE, reason)
            for index, reason in written.refused.items()
        }
        short = len(changed) - written.matched - len(refused)
        if short:
            # Somebody else was first with some. Which ones need not be known: folding again skips what is done.
            self._metrics.conflicts.inc(short)
            return {asset.asset_id for asset in changed} - set(refused), refused
        for asset in changed:
            asset.revision += 1
        return set(), refused

    def _give_up(self, deliveries: list[Delivery], why: Malformed) -> None:
        """What cannot be folded into this asset goes to the dead letters; the others are not held up."""
        log.error("twin not written", asset_id=deliveries[0].asset_id, reason=why.reason, detail=why.detail)
        self._bury([(facts.dead_letter(delivery.record, why), delivery.topic) for delivery in deliveries])

    def _bury(self, letters: list[tuple[DeadLetter, str]]) -> None:
        for letter, topic in letters:
            self._metrics.dead_letters.labels(letter.reason).inc()
            self._outlet.send(effects.dead_letter_record(letter, topic))
        if letters:
            self._outlet.flush()

    def _link(self, records: list[Record]) -> None:
        if not records:
            return
        known = facts.read(records)
        refused = self._linker.apply(known)
        self._bury([(letter, letter.origin.split("/", 1)[0]) for letter in known.dead_letters + refused])
        for name, count in (("profile", len(known.profiles)), ("role", len(known.roles)), ("step", len(known.steps))):
            self._metrics.facts.labels(name).inc(count)

    def _count(self, outcome: Outcome, deliveries: list[Delivery]) -> None:
        self._metrics.folded.inc(outcome.folded)
        self._metrics.duplicates.inc(outcome.duplicates)
        self._metrics.uncertain.inc(outcome.uncertain)
        self._metrics.replayed.inc(outcome.replayed)
        now_ms = time.time() * 1000
        for delivery in deliveries:
            self._metrics.age_seconds.observe(max(0.0, now_ms - delivery.items[-1].received_ms) / 1000)
