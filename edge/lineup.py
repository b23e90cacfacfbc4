"""Parcels that wait for the Kafka client, and whose turn it is. Pure.

Events go first, up to a share: signals that wait beside them are owed theirs, and have it once it makes up a parcel. A
few events never wait; a flood of them does not hold signals up for ever. Signals of the newest stream of the spool
(what is live) and those of older streams (the backlog of an outage) take turns, so that each gets its share of the
bytes while both have something; within a stream, and so for each asset within a stream, the order is that of `put`.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from edge.parcels import Parcel
from edge.spool.records import StorageClass

_PERCENT: Final = 100


class Lineup:
    """`live_share_percent`: of the bytes of signals, for what is live, while there is a backlog.
    `signals_share_percent`: of all bytes, for signals, while events wait as well; 0: none.
    """

    def __init__(self, live_share_percent: int, signals_share_percent: int = 0) -> None:
        self.live_share_percent = live_share_percent
        self.signals_share_percent = signals_share_percent
        self.held: frozenset[StorageClass] = frozenset()
        """Classes that must not be sent now."""
        self._events: deque[Parcel] = deque()
        self._signals: dict[int, deque[Parcel]] = {}
        """By stream."""
        self._live_stream = 0
        self._owed_bytes = 0.0
        """What is live may send so much more before it is the backlog's turn; negative: the other way round."""
        self._owed_to_signals = 0.0
        """Bytes × percent that events have earned them."""

    def __len__(self) -> int:
        return len(self._events) + sum(map(len, self._signals.values()))

    def put(self, parcel: Parcel) -> None:
        """Add a parcel behind those of its stream."""
        self._queue(parcel).append(parcel)

    def put_first(self, parcel: Parcel) -> None:
        """Add a parcel before those of its stream."""
        self._queue(parcel).appendleft(parcel)

    def _queue(self, parcel: Parcel) -> deque[Parcel]:
        if parcel.storage_class is StorageClass.EVENTS:
            return self._events
        queue = self._signals.get(parcel.stream)
        if queue is None:
            queue = self._signals[parcel.stream] = deque()
            self._live_stream = max(self._live_stream, parcel.stream)
        return queue

    def set_live_stream(self, stream: int) -> None:
        """Signals of older streams are backlog from now on."""
        self._live_stream = max(self._live_stream, stream)

    def first(self) -> Parcel | None:
        """Whose turn it is; None when nothing may be sent."""
        event = self._events[0] if self._events and StorageClass.EVENTS not in self.held else None
        if not self._signals or StorageClass.SIGNALS in self.held:
            return event
        signal = self._signals[self._turn()][0]
        return signal if event is None or self._owed_to_signals >= self._price(signal) else event

    def _price(self, signal: Parcel) -> float:
        """What events must have earned before it goes; a share of 0 is never enough."""
        return max(1, signal.size_bytes) * (_PERCENT - self.signals_share_percent)

    def _turn(self) -> int:
        if len(self._signals) == 1:
            return next(iter(self._signals))
        oldest = min(self._signals)
        if self._live_stream not in self._signals or oldest == self._live_stream:
            return oldest
        return self._live_stream if self._owed_bytes > 0 else oldest

    def take_while(self, give: Callable[[Parcel], bool]) -> None:
        """Remove parcels in turn, as long as `give` takes them."""
        while (parcel := self.first()) is not None and give(parcel):
            self.take_first()
            if not self._events and len(self._signals) == 1 and not self.held:
                self._take_only(give)

    def _take_only(self, give: Callable[[Parcel], bool]) -> None:
        """The same where there is one queue: nobody owes another anything."""
        ((stream, queue),) = self._signals.items()
        self._owed_bytes = self._owed_to_signals = 0.0
        while queue and give(queue[0]):
            queue.popleft()
        if not queue:
            del self._signals[stream]

    def take_first(self) -> Parcel:
        """Remove the parcel whose turn it is; it counts against its share."""
        parcel = self.first()
        assert parcel is not None
        self._account_for_events(parcel)
        if parcel.storage_class is StorageClass.EVENTS:
            return self._events.popleft()
        self._account(parcel)
        queue = self._signals[parcel.stream]
        queue.popleft()
        if not queue:
            del self._signals[parcel.stream]
        return parcel

    def _account_for_events(self, parcel: Parcel) -> None:
        if not self._events or not self._signals or self.held:
            self._owed_to_signals = 0.0
        elif parcel.storage_class is StorageClass.EVENTS:
            self._owed_to_signals += parcel.size_bytes * self.signals_share_percent
        else:
            self._owed_to_signals -= self._price(parcel)

    def _account(self, parcel: Parcel) -> None:
        """Each byte of the one earns the other what its share is; who has nothing to send saves nothing up."""
        if self._live_stream not in self._signals or len(self._signals) == 1:
            self._owed_bytes = 0.0
            return
        size, live = parcel.size_bytes, self.live_share_percent
        if parcel.stream == self._live_stream:
            self._owed_bytes -= size * (_PERCENT - live)
        else:
            self._owed_bytes += size * live

    def remove(self, must_go: Callable[[Parcel], bool]) -> list[Parcel]:
        """Take out what counts against no share, in order."""
        removed: list[Parcel] = []
        for queue in (self._events, *self._signals.values()):
            leaving = [parcel for parcel in queue if must_go(parcel)]
            if leaving:
                staying = [parcel for parcel in queue if not must_go(parcel)]
                queue.clear()
                queue.extend(staying)
                removed += leaving
        self._signals = {stream: queue for stream, queue in self._signals.items() if queue}
        return removed

    def clear(self) -> None:
        """Forget everything."""
        self._events.clear()
        self._signals.clear()
        self._owed_bytes = self._owed_to_signals = 0.0
