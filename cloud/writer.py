"""Makes a turn durable, on a thread of its own: pymongo waits for the network without the interpreter's lock, so the
loop polls and opens the next turn meanwhile."""

import time
from typing import Final

import structlog
from pymongo import UpdateOne

from cloud import effects, facts, inbox
from cloud.linker import Linker
from cloud.metrics import Metrics
from cloud.outlet import Outlet
from cloud.store import Store
from cloud.turn import Delivered, Letters, Turn
from wire.malformed import Malformed
from wire.topics import Channel

log: Final = structlog.get_logger()


class Writer:
    """Steps 6 to 8 of the loop, in the order of durability: what others are told, the twins, the links."""

    def __init__(self, outlet: Outlet, store: Store, linker: Linker, metrics: Metrics) -> None:
        self._outlet, self._store, self._linker, self._metrics = outlet, store, linker, metrics

    def deliver(self, turn: Turn) -> Delivered:
        """Write everything of a turn; waits while a server is away. Safe to repeat."""
        with self._metrics.stage("tell"):
            self._tell(turn)  # step 6
        with self._metrics.stage("write"):
            delivered = self._write(turn)  # step 7
        with self._metrics.stage("link"):
            self._link(turn)  # step 8
        return delivered

    def bury(self, letters: Letters) -> None:
        """Send dead letters; returns when they are durable."""
        for letter, topic in letters:
            self._metrics.dead_letters.labels(letter.reason).inc()
            self._outlet.send(effects.dead_letter_record(letter, topic))
        if letters:
            self._outlet.flush()

    def _tell(self, turn: Turn) -> None:
        for collection, writes in (("events", turn.events), ("anomalies", turn.anomalies)):
            written = self._store.bulk(collection, writes)
            for index in set(written.refused) - written.duplicate_keys:
                why = written.refused[index]
                log.error("refused by the database", collection=collection, reason=why.detail)
                self._metrics.refused_writes.labels(collection).inc()
                if collection == "events":
                    turn.letters += _event_letter(turn, writes[index], why)
        for outgoing in turn.outgoing:
            self._outlet.send(outgoing)
        if turn.outgoing and not turn.letters:
            self._outlet.flush()
        self.bury(turn.letters)

    def _write(self, turn: Turn) -> Delivered:
        """The twins; `lost` are those to fold again, `refused` those that the database will not have."""
        several = turn.changes + turn.plain.changes
        written = self._store.write_twins(several)
        refused = {several[index].asset_id: why for index, why in written.refused.items()}
        self._metrics.largest_twin_bytes.set(self._store.largest_twin_bytes)
        self._metrics.alone.set(self._store.alone)
        self._metrics.apart.set(self._store.apart)
        lost = {several[index].asset_id for index in written.behind} - refused.keys()
        self._metrics.conflicts.inc(len(lost))
        for job in turn.jobs:
            job.twin.revision += 1
        return Delivered(lost, refused, time.time() * 1000)

    def _link(self, turn: Turn) -> None:
        self._linker.relink(turn.unlinked)
        if not turn.facts:
            return
        known = facts.read(turn.facts)
        refused = self._linker.apply(known)
        self._metrics.erased.set(self._linker.erasures.deleted)
        self.bury([(letter, letter.origin.split("/", 1)[0]) for letter in known.dead_letters + refused])
        read = {"profile": known.profiles, "role": known.roles, "step": known.steps, "activity": known.activities}
        for name, several in read.items():
            self._metrics.facts.labels(name).inc(len(several))


def _event_letter(turn: Turn, write: UpdateOne, why: Malformed) -> Letters:
    """The dead letter of an event that the collection would not have; its twin has counted it."""
    identity = write._filter["_id"]  # noqa: SLF001 - pymongo shows what a write is about nowhere else
    asset_id = identity.split(":", 1)[0]
    for delivery in turn.deliveries.get(asset_id, ()):
        for index, item in enumerate(delivery.items):
            if delivery.channel is Channel.EVENTS and f"{asset_id}:{item.session}:{item.seq}" == identity:
                return [(inbox.letter_of(delivery.record, index, why), delivery.topic)]
    return []
