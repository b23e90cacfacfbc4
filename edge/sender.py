"""From the spool to Kafka: read in order, batch per asset, produce, confirm. One thread uses it."""

from typing import Final, Protocol

import structlog

from edge import letters, parcels
from edge.batcher import Batcher, Group
from edge.clock import Clock
from edge.counts import Counts
from edge.letters import Letter, Source
from edge.outbox import Outbox, Sink
from edge.parcels import Claim, Packer, Parcel
from edge.spool.reader import Chunk
from edge.spool.records import Bundle, Gap, Record, Refused, StorageClass

_RECORD_BYTES: Final = 600
"""What a record costs in memory beside its payloads, about."""
_REBUILD_INTERVAL_S: Final = 5.0


class ReadableSpool(Protocol):
    """What the sender needs of the spool."""

    def read(self, storage_class: StorageClass) -> Chunk | None:
        """The next records of a class. Raises OSError."""

    def confirm(self, chunk: Chunk, count: int) -> None:
        """`count` more records of a chunk are in Kafka."""

    def rewind(self) -> None:
        """Read again whatever is not confirmed."""


class Sender:
    """Of each class, at most `window_bytes_max` (and one chunk) are on their way: a busy class cannot stop another."""

    def __init__(
        self,
        spool: ReadableSpool,
        sink: Sink,
        batcher: Batcher,
        source: Source,
        window_bytes_max: int,
        clock: Clock,
        counts: Counts,
    ) -> None:
        self.fault: str | None = None
        """For people: what keeps records from being sent, when it is not just Kafka being away."""
        self._spool = spool
        self._batcher = batcher
        self._source = source
        self._window_bytes_max = window_bytes_max
        self._clock = clock
        self._counts = counts
        self._packer = Packer(source)
        self._outbox = Outbox(sink, self._packer, counts, self._delivered)
        self._window_bytes = dict.fromkeys(StorageClass, 0)
        self._rebuild_not_before_s = 0.0
        self._log = structlog.get_logger("edge.sender")

    @property
    def is_waiting(self) -> bool:
        """Whether reports of Kafka are due."""
        return len(self._outbox) > 0

    @property
    def due_s(self) -> float | None:
        """When the next batch has to leave, on the monotonic clock."""
        return self._batcher.due_s

    def read(self) -> None:
        """Take records from the spool while there is room for them. Raises OSError."""
        now_s = self._clock.monotonic_s()
        for storage_class in StorageClass:
            while self._window_bytes[storage_class] < self._window_bytes_max:
                chunk = self._spool.read(storage_class)
                if chunk is None:
                    break
                self._take(chunk, now_s)

    def _take(self, chunk: Chunk, now_s: float) -> None:
        for sequence, record in chunk.entries:
            if type(record) is Bundle:
                self._window_bytes[chunk.storage_class] += _weight(record)
                self._batcher.add(sequence, record, chunk, now_s)
            else:
                self._put_letter(sequence, record, chunk)
        chunk.entries.clear()

    def _put_letter(self, sequence: int, record: Record, chunk: Chunk) -> None:
        letter = _letter(record, self._source, sequence)
        parcel = parcels.of_letter(letter, sequence, Claim(chunk, 1))
        self._window_bytes[chunk.storage_class] += _parcel_weight(parcel)
        self._outbox.put(parcel)

    def produce(self, everything: bool = False) -> int:
        """Close batches that are full or due, or with `everything` all, and send. Returns how many parcels."""
        now_s = self._clock.monotonic_s()
        while (group := self._batcher.pop(now_s, everything)) is not None:
            self._put_batch(group)
        return 0 if self._outbox.is_broken else self._outbox.send(now_s)

    def _put_batch(self, group: Group) -> None:
        self._outbox.put(self._packer.batch(group.members, group.claims))

    def settle(self) -> int:
        """Take Kafka's reports; begin anew when the client is broken. Returns how many reports."""
        now_s = self._clock.monotonic_s()
        settled = self._outbox.settle(now_s)
        if self._outbox.is_broken and now_s >= self._rebuild_not_before_s:
            self._log.error("kafka_client_rebuilt", parcels=len(self._outbox))
            self._begin_anew()
            self._rebuild_not_before_s = now_s + _REBUILD_INTERVAL_S
        self.fault = self._outbox.fault
        return settled

    def _begin_anew(self) -> None:
        self._outbox.rebuild()
        self._batcher.clear()
        self._window_bytes = dict.fromkeys(StorageClass, 0)
        self._spool.rewind()

    def _delivered(self, parcel: Parcel) -> None:
        for chunk, record_count in parcel.claims:
            self._spool.confirm(chunk, record_count)
        self._counts.delivered += parcel.record_count
        self._window_bytes[parcel.storage_class] -= _parcel_weight(parcel)


def _letter(record: Record, source: Source, sequence: int) -> Letter:
    if type(record) is Refused:
        return letters.of_refused(record, source, sequence)
    assert type(record) is Gap
    return letters.of_gap(record, source)


def _weight(bundle: Bundle) -> int:
    return _RECORD_BYTES + len(bundle.packed)


def _parcel_weight(parcel: Parcel) -> int:
    return sum(_weight(bundle) for _, bundle in parcel.members) or _RECORD_BYTES + len(parcel.value)
