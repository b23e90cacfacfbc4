"""Parcels on their way to Kafka, and what is done when Kafka does not want one. Never drops any.

* A full client queue, a limit (see `pacing`) or the turn of others (see `lineup`): the parcel waits.
* A record that Kafka refuses: it is sent again alone, since the error may have been another's in the same request;
  then each of its payloads alone; what is still refused becomes a dead letter. A dead letter that is refused
  stays, and is tried again now and then.
* A topic that takes nothing (missing, not authorized, …): its parcels are parked.
* A client that lost its place: `is_broken`; the owner calls `rebuild` and reads again.
"""

from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

import structlog

from edge.counts import Counts
from edge.lineup import Lineup
from edge.pacing import Pacing
from edge.parcels import Packer, Parcel, Report, SendError, Verdict
from edge.parking import Parking

_STUCK_RETRY_S: Final = 60.0


class Sink(Protocol):
    """A Kafka client."""

    def send(self, parcel: Parcel) -> bool:
        """Queue a parcel; False while the queue is full. The sink may have its value until it is reported."""

    def reports(self, wait_s: float = 0.0) -> list[Report]:
        """What became of parcels since the last call; waits when there is nothing."""

    @property
    def is_broken(self) -> bool:
        """Whether only `rebuild` helps."""

    @property
    def wire_bytes(self) -> int:
        """What went over the wire so far, as far as known."""

    def rebuild(self) -> None:
        """Begin anew; nothing is reported any more of what was sent before."""


class Outbox:
    """`delivered` is called with parcels that are in Kafka, each once."""

    def __init__(
        self,
        sink: Sink,
        packer: Packer,
        counts: Counts,
        delivered: Callable[[list[Parcel]], None],
        lineup: Lineup,
        pacing: Pacing,
    ) -> None:
        self.is_broken = False
        self._sink = sink
        self._packer = packer
        self._counts = counts
        self._delivered = delivered
        self._log = structlog.get_logger("edge.kafka")
        self._lineup = lineup
        self._pacing = pacing
        self._suspects: deque[Parcel] = deque()
        self._alone: Parcel | None = None
        self._stuck: list[tuple[float, Parcel, str]] = []
        self._parking = Parking()
        self._in_flight = 0

    def __len__(self) -> int:
        """Parcels that are not delivered."""
        return self._in_flight + len(self._lineup) + len(self._suspects) + len(self._stuck) + len(self._parking)

    @property
    def is_held_up(self) -> bool:
        """Whether parcels may go and are more than the client takes now."""
        return self._lineup.first() is not None

    @property
    def fault(self) -> str | None:
        """For people: why parcels are kept back, when that is not just Kafka being away."""
        return f"kafka refuses a dead letter: {self._stuck[0][2]}" if self._stuck else self._parking.why

    def put(self, parcel: Parcel) -> None:
        """Add a parcel behind the others."""
        self._lineup.put(parcel)

    def send(self, now_s: float) -> int:
        """Give the client what it takes. Returns how many parcels."""
        before = self._counts.produced
        self._unstick(now_s)
        if self._suspects or self._alone is not None:
            self._send_alone()
            return self._counts.produced - before
        trial = self._parking.trial(now_s)
        if trial is not None:
            self._lineup.put_first(trial)
        self._pacing.measured(self._sink.wire_bytes)
        if len(self._parking):
            for parcel in self._lineup.remove(self._parking.must_wait):
                self._parking.wait(parcel)
        self._send_in_turn(now_s)
        return self._counts.produced - before

    def _send_in_turn(self, now_s: float) -> None:
        room_bytes, send = self._pacing.room_bytes(now_s), self._sink.send
        sent = sent_bytes = 0

        def give(parcel: Parcel) -> bool:
            nonlocal sent, sent_bytes
            if sent_bytes >= room_bytes or not send(parcel):
                return False
            sent += 1
            sent_bytes += parcel.size_bytes
            return True

        self._lineup.take_while(give)
        self._sent(sent, sent_bytes)

    def _sent(self, parcels: int, size_bytes: int) -> None:
        self._in_flight += parcels
        self._counts.produced += parcels
        self._pacing.sent(size_bytes)

    def _send_alone(self) -> None:
        if self._in_flight == 0 and self._suspects and self._sink.send(self._suspects[0]):
            self._alone = self._suspects.popleft()
            self._sent(1, self._alone.size_bytes)

    def _unstick(self, now_s: float) -> None:
        while self._stuck and self._stuck[0][0] <= now_s:
            self._suspects.append(self._stuck.pop(0)[1])

    def settle(self, monotonic_s: Callable[[], float], wait_s: float = 0.0) -> int:
        """Take the client's reports, and wait for the first. Returns how many."""
        reports = self._sink.reports(wait_s)
        now_s = monotonic_s()
        if reports:
            self._in_flight -= len(reports)
            self._pacing.settled(sum([parcel.size_bytes for parcel, _ in reports]), now_s)
            delivered = [parcel for parcel, error in reports if error is None]
            if len(delivered) == len(reports) and self._is_smooth:
                self._delivered(delivered)
            else:
                self._settle_each(reports, now_s)
        self.is_broken = self.is_broken or self._sink.is_broken
        return len(reports)

    @property
    def _is_smooth(self) -> bool:
        return self._alone is None and not len(self._parking)

    def _settle_each(self, reports: list[Report], now_s: float) -> None:
        for parcel, error in reports:
            alone = parcel is self._alone
            if alone:
                self._alone = None
            if error is not None:
                self._counts.kafka_errors[error.name] += 1
                self._handle(parcel, error, alone, now_s)
                continue
            self._delivered([parcel])
            if self._parking.is_parked(parcel.topic):
                for waiting in reversed(self._parking.release(parcel.topic)):
                    self._lineup.put_first(waiting)

    def _handle(self, parcel: Parcel, error: SendError, alone: bool, now_s: float) -> None:
        if error.verdict is Verdict.CLIENT_BROKEN:
            self.is_broken = True
        elif error.verdict is Verdict.LATER:
            if not self._parking.is_parked(parcel.topic):
                self._log.error("kafka_topic_refuses", topic=parcel.topic, code=error.name, error=error.text)
            self._counts.resent += 1
            self._parking.park(parcel, error.text, now_s)
        elif not alone:
            self._counts.resent += 1
            self._suspects.append(parcel)
        else:
            self._refused_alone(parcel, error, now_s)

    def _refused_alone(self, parcel: Parcel, error: SendError, now_s: float) -> None:
        self._log.error(
            "kafka_refuses", topic=parcel.topic, records=parcel.record_count, code=error.name, error=error.text
        )
        if parcel.is_batch and parcel.record_count > 1:
            self._suspects.extendleft(reversed(self._packer.singles(parcel)))
        elif parcel.is_batch:
            letter = self._packer.refused_letter(parcel, error.text)
            self._counts.dead_letters["refused_by_kafka"] += 1
            self._suspects.appendleft(letter)
        else:
            self._stuck.append((now_s + _STUCK_RETRY_S, parcel, f"{parcel.topic}: {error.text}"))

    def rebuild(self) -> None:
        """Begin anew with a new client. Everything that is here is forgotten: the owner reads it again."""
        self._counts.resent += self._in_flight
        self._sink.rebuild()
        self._lineup.clear()
        self._pacing.begin_anew()
        self._suspects.clear()
        self._stuck.clear()
        self._parking.clear()
        self._alone = None
        self._in_flight = 0
        self.is_broken = False
