"""How fast parcels may go to the Kafka client: a limit in bytes per second, and one on what is on its way. Pure.

Only so much is given to the client as the link takes in about a second, so that what comes later and matters more does
not wait behind it. The limit in bytes per second is on what goes over the wire: until the client has reported how much
that is for what it was given, a byte of a parcel counts as one.
"""

from typing import Final

_BURST_S: Final = 1.0
_IN_FLIGHT_BYTES_MIN: Final = 262_144
_IN_FLIGHT_S: Final = 2.0
_SLOT_S: Final = 1.0
_TURNOVERS: Final = 2
"""A slot ends early when what may be on its way has gone so often: then its second half was sent within the slot."""
_RATIO_MEMORY: Final = 0.7


class Pacing:
    """`bytes_per_s`: 0 for no limit."""

    def __init__(self, bytes_per_s: int, now_s: float) -> None:
        self.in_flight_bytes = 0
        self._bytes_per_s = bytes_per_s
        self._tokens = float(bytes_per_s) * _BURST_S
        self._filled_s = now_s
        self._wire_ratio = 1.0
        self._given_bytes = 0
        self._charged = 0.0
        self._wire_bytes = 0
        self._slot_begin_s = now_s
        self._slot_bytes = 0
        self._best_slot_bytes = 0
        self._in_flight_bytes_max: float = _IN_FLIGHT_BYTES_MIN

    def limit(self, bytes_per_s: int) -> None:
        """Another limit from now on."""
        if bytes_per_s != self._bytes_per_s:
            self._bytes_per_s = bytes_per_s
            self._tokens = min(self._tokens, bytes_per_s * _BURST_S)

    def room_bytes(self, now_s: float) -> float:
        """While less than this was sent from now on, another parcel may go."""
        room_bytes = self._in_flight_bytes_max - self.in_flight_bytes
        if self._bytes_per_s == 0:
            return room_bytes
        self._fill(now_s)
        return min(room_bytes, self._tokens / self._wire_ratio)

    def _fill(self, now_s: float) -> None:
        burst = self._bytes_per_s * _BURST_S
        self._tokens = min(burst, self._tokens + (now_s - self._filled_s) * self._bytes_per_s)
        self._filled_s = now_s

    def sent(self, size_bytes: int) -> None:
        """So much went to the client. It may leave the limit overdrawn: the next ones wait the longer."""
        self.in_flight_bytes += size_bytes
        cost = size_bytes * self._wire_ratio
        self._given_bytes += size_bytes
        self._charged += cost
        self._tokens -= cost

    def settled(self, size_bytes: int, now_s: float) -> None:
        """The client reported so much."""
        self.in_flight_bytes -= size_bytes
        self._slot_bytes += size_bytes
        elapsed_s = now_s - self._slot_begin_s
        has_turned_over = elapsed_s > 0 and self._slot_bytes >= _TURNOVERS * self._in_flight_bytes_max
        if elapsed_s >= _SLOT_S or has_turned_over:
            rate = self._slot_bytes / elapsed_s
            # forgets slowly what the link once took, so that a pause does not count as a slow link
            self._best_slot_bytes = int(max(rate, self._best_slot_bytes * 0.8))
            self._slot_begin_s, self._slot_bytes = now_s, 0
            self._in_flight_bytes_max = max(_IN_FLIGHT_BYTES_MIN, self._best_slot_bytes * _IN_FLIGHT_S)

    def measured(self, wire_bytes: int) -> None:
        """What all clients have sent over the wire so far."""
        since = wire_bytes - self._wire_bytes
        self._wire_bytes = wire_bytes
        if since <= 0 or self._given_bytes == 0:
            return
        self._tokens -= since - self._charged
        self._wire_ratio += (since / self._given_bytes - self._wire_ratio) * (1 - _RATIO_MEMORY)
        self._given_bytes, self._charged = 0, 0.0

    def begin_anew(self) -> None:
        """A new client: nothing is on its way."""
        self.in_flight_bytes = 0
