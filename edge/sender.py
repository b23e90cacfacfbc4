"""From the spool to Kafka: read in order, batch per asset, produce, confirm. One thread uses it."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Final, Protocol

import structlog

from edge import letters, parcels
from edge.batcher import Batcher
from edge.clock import Clock
from edge.counts import Counts
from edge.letters import Letter, Source
from edge.lineup import Lineup
from edge.link import LinkCost
from edge.outbox import Outbox, Sink
from edge.pacing import Pacing
from edge.parcels import Claim, Packer, Parcel
from edge.spool.reader import Chunk
from edge.spool.records import Bundle, Gap, Record, Refused, StorageClass
from edge.upload import Upload

_REBUILD_INTERVAL_S: Final = 5.0
_WORKING_S: Final = 5.0
"""Kafka takes records when it confirmed one so lately."""
_SPLIT_INTERVAL_S: Final = 60.0


class ReadableSpool(Protocol):
    """What the sender needs of the spool."""

    def read(self, storage_class: StorageClass, backlog: bool = False) -> Chunk | None:
        """The next records of a class. Raises OSError."""

    def split(self, storage_class: StorageClass) -> bool:
        """Make a backlog of what is there now. False: not now."""

    def live_stream(self, storage_class: StorageClass) -> int:
        """What is received now belongs to this stream; records of others are backlog."""

    def live_oldest_received_ms(self, storage_class: StorageClass) -> int | None:
        """When the oldest unconfirmed record that is no backlog was received, if known."""

    def confirm(self, chunk: Chunk, count: int) -> None:
        """`count` more records of a chunk are in Kafka."""

    def rewind(self) -> None:
        """Read again whatever is not confirmed."""


class Sender:
    """Of each class, at most `window_bytes_max` (and one chunk) are on their way, and as much again of a backlog.

    Events are read and sent before signals, which keep a share while both wait (see `lineup`). Once Kafka takes records
    again that have waited for long, signals are split (see `spool.lanes`), so that what is received from then on does
    not wait for the backlog.
    """

    def __init__(
        self,
        spool: ReadableSpool,
        sink: Sink,
        batcher: Batcher,
        source: Source,
        window_bytes_max: int,
        clock: Clock,
        counts: Counts,
        upload: Upload = Upload(),  # noqa: B008 - a constant
        link_cost: Callable[[], LinkCost] = lambda: LinkCost.FREE,
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
        self._upload = upload
        self._link_cost = link_cost
        self._lineup = Lineup(upload.live_share_percent, upload.signals_share_percent)
        self._lineup.set_live_stream(spool.live_stream(StorageClass.SIGNALS))
        self._pacing = Pacing(upload.bytes_per_s, clock.monotonic_s())
        self._outbox = Outbox(sink, self._packer, counts, self._delivered, self._lineup, self._pacing)
        self._window_bytes: Counter[tuple[StorageClass, int]] = Counter()
        """Of what is on its way, by class and stream."""
        self._delivered_of: defaultdict[Chunk, int] = defaultdict(int)
        """In this turn, of each chunk."""
        self._leaving_bytes: defaultdict[Chunk, int] = defaultdict(int)
        """The same of what was on its way, by the first chunk of each parcel."""
        self._delivered_s = -math.inf
        self._is_full = False
        self.has_more = False
        """Whether there may be more to read at once: what was read before goes to the Kafka client first."""
        self._catches_up = False
        """Whether something was read that had waited in the spool for longer than for company in a batch."""
        self._split_not_before_s = 0.0
        self._rebuild_not_before_s = 0.0
        self._log = structlog.get_logger("edge.sender")

    @property
    def is_waiting(self) -> bool:
        """Whether reports of Kafka are due."""
        return len(self._outbox) > 0

    @property
    def is_held_up(self) -> bool:
        """Whether there is no room, for more that was read or may be, before Kafka has confirmed some."""
        return self._is_full or self._outbox.is_held_up

    @property
    def due_s(self) -> float | None:
        """When the next batch has to leave, on the monotonic clock."""
        return self._batcher.due_s

    @property
    def held(self) -> frozenset[StorageClass]:
        """Classes that wait for a link that is free. For any thread."""
        return self._lineup.held

    def use(self, upload: Upload) -> None:
        """Another way to use the uplink from now on."""
        self._upload = upload
        self._lineup.live_share_percent = upload.live_share_percent
        self._lineup.signals_share_percent = upload.signals_share_percent

    def read(self) -> None:
        """Take records from the spool while there is room for them. Raises OSError."""
        now_s = self._clock.monotonic_s()
        cost = self._link_cost()
        self._lineup.held = self._upload.held(cost)
        self._pacing.limit(self._upload.limit(cost))
        self._is_full = self.has_more = False
        for storage_class in (StorageClass.EVENTS, StorageClass.SIGNALS):
            if storage_class not in self._lineup.held:
                self._read(storage_class, False, now_s)
                self._read(storage_class, True, now_s)
        self._split_when_late(now_s)

    def _read(self, storage_class: StorageClass, backlog: bool, now_s: float) -> None:
        while self._has_room(storage_class, backlog):
            chunk = self._spool.read(storage_class, backlog)
            if chunk is None:
                return
            self._take(chunk, now_s)
            if self._batcher.held_bytes > self._window_bytes_max // 2:
                self.has_more = True  # in portions, so that the client has work while we read on
                return
        self._is_full = True

    def _has_room(self, storage_class: StorageClass, backlog: bool) -> bool:
        live = self._window_bytes[storage_class, self._spool.live_stream(storage_class)]
        all_of_class = sum(size for (each, _), size in self._window_bytes.items() if each is storage_class)
        return (all_of_class - live if backlog else live) < self._window_bytes_max

    def _split_when_late(self, now_s: float) -> None:
        """Where records come in late while Kafka takes them, there was an outage, or the link is too slow."""
        if not self._upload.live_share_percent or StorageClass.SIGNALS in self._lineup.held:
            return
        if now_s - self._delivered_s > _WORKING_S or now_s < self._split_not_before_s:
            return
        oldest_ms = self._spool.live_oldest_received_ms(StorageClass.SIGNALS)
        if oldest_ms is None or self._clock.now_ms() - oldest_ms < self._upload.backlog_age_s * 1000:
            return
        if self._spool.split(StorageClass.SIGNALS):
            self._split_not_before_s = now_s + _SPLIT_INTERVAL_S
            stream = self._spool.live_stream(StorageClass.SIGNALS)
            self._lineup.set_live_stream(stream)
            self._log.info(
                "backlog_split", stream=stream, waited_s=round(self._clock.now_ms() / 1000 - oldest_ms / 1000)
            )

    def _take(self, chunk: Chunk, now_s: float) -> None:
        self._catches_up = self._catches_up or self._clock.now_ms() - chunk.received_ms > self._batcher.age_s * 1000
        held_bytes, add = self._batcher.held_bytes, self._batcher.add
        for sequence, record in chunk.entries:
            if type(record) is Bundle:
                add(sequence, record, chunk, now_s)
            else:
                self._put_letter(sequence, record, chunk)
        self._window_bytes[chunk.storage_class, chunk.stream] += self._batcher.held_bytes - held_bytes
        chunk.entries.clear()

    def _put_letter(self, sequence: int, record: Record, chunk: Chunk) -> None:
        letter = _letter(record, self._source, sequence)
        parcel = parcels.of_letter(letter, sequence, Claim(chunk, 1))
        self._window_bytes[chunk.storage_class, chunk.stream] += parcel.weight_bytes
        self._outbox.put(parcel)

    def produce(self, everything: bool = False) -> int:
        """Close batches that are full or due, or with `everything` all, and send. Returns how many parcels."""
        now_s = self._clock.monotonic_s()
        if self._catches_up and not (self._is_full or self.has_more):
            everything, self._catches_up = True, False  # all was read: what is that late waits for no more company
        # with most of what may be on its way in open batches the oldest leave, to make room
        for group in self._batcher.pop(now_s, -1 if everything else self._window_bytes_max // 2):
            parcel = self._packer.batch(group.members, group.claims)
            self._window_bytes[parcel.storage_class, parcel.stream] += parcel.weight_bytes - group.held_bytes
            self._outbox.put(parcel)
        return 0 if self._outbox.is_broken else self._outbox.send(now_s)

    def settle(self, wait_s: float = 0.0) -> int:
        """Take Kafka's reports, and wait for the first; begin anew when the client is broken. Returns how many."""
        settled = self._outbox.settle(self._clock.monotonic_s, wait_s)
        now_s = self._clock.monotonic_s()
        self._confirm(now_s)
        if self._outbox.is_broken and now_s >= self._rebuild_not_before_s:
            self._log.error("kafka_client_rebuilt", parcels=len(self._outbox))
            self._begin_anew()
            self._rebuild_not_before_s = now_s + _REBUILD_INTERVAL_S
        self.fault = self._outbox.fault
        return settled

    def _begin_anew(self) -> None:
        self._outbox.rebuild()
        self._batcher.clear()
        self._window_bytes.clear()
        self._leaving_bytes.clear()
        self._spool.rewind()

    def _delivered(self, parcels: list[Parcel]) -> None:
        delivered_of, leaving_bytes = self._delivered_of, self._leaving_bytes
        for parcel in parcels:
            for claim in parcel.claims:
                delivered_of[claim.chunk] += claim.record_count
            leaving_bytes[parcel.claims[0].chunk] += parcel.weight_bytes

    def _confirm(self, now_s: float) -> None:
        """What was delivered in this turn, by chunk: a chunk has thousands of parcels."""
        if not self._delivered_of:
            return
        for chunk, record_count in self._delivered_of.items():
            self._spool.confirm(chunk, record_count)
        for chunk, size_bytes in self._leaving_bytes.items():
            self._window_bytes[chunk.storage_class, chunk.stream] -= size_bytes
        self._counts.delivered += sum(self._delivered_of.values())
        self._delivered_of.clear()
        self._leaving_bytes.clear()
        self._delivered_s = now_s
        self._window_bytes = +self._window_bytes


def _letter(record: Record, source: Source, sequence: int) -> Letter:
    if type(record) is Refused:
        return letters.of_refused(record, source, sequence)
    assert type(record) is Gap
    return letters.of_gap(record, source)
