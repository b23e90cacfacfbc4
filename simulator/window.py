"""What one MQTT connection has on its way: packets that wait, packets that wait for their PUBACK.

Packet ids are free or out; freed ones go to the end of the line. Packets keep their order, also when they are sent a
second time after a lost connection.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np

from simulator.arrays import Integers, where_true
from simulator.devices import UNCOUNTED
from simulator.packets import Packets

_NOBODY: Final = -1
_PACKET_IDS: Final = 65_535
_IDS_PER_PLACE: Final = 4
"""So many more ids than places in the window, so that an id rests before it means another message."""


@dataclass(frozen=True, slots=True)
class _Flight:
    """Packets that were sent together: those of `packets` from `begin` on, under `ids`."""

    number: int
    packets: Packets
    begin: int
    ids: Integers


class Window:
    """At most `size` packets wait for their PUBACK."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.outstanding = 0
        self._waiting: deque[Packets] = deque()
        self._next = 0
        """First unsent packet of the first in `_waiting`."""
        self._flights: deque[_Flight] = deque()
        self._numbers = 0
        ids = min(_PACKET_IDS, size * _IDS_PER_PLACE)
        self._free: Integers = np.arange(1, ids + 1)
        self._flight_of: Integers = np.full(ids + 1, _NOBODY, dtype=np.int64)
        self._position_of: Integers = np.zeros(ids + 1, dtype=np.int64)

    def add(self, packets: Packets) -> None:
        """Packets to be sent after all others."""
        if len(packets):
            self._waiting.append(packets)

    @property
    def backlog(self) -> int:
        """Packets that were never sent."""
        return sum(map(len, self._waiting)) - self._next

    def take(self) -> memoryview | None:
        """Bytes to send now, as far as the window is open; None: nothing, or not yet."""
        room = self.size - self.outstanding
        if not self._waiting or room <= 0:
            return None
        packets, begin = self._waiting[0], self._next
        count = min(room, len(packets) - begin)
        ids, self._free = self._free[:count], self._free[count:]
        self._flights.append(_Flight(self._numbers, packets, begin, ids))
        self._flight_of[ids] = self._numbers
        self._position_of[ids] = packets.positions[begin : begin + count]
        self._numbers += 1
        self.outstanding += count
        self._next += count
        if self._next == len(packets):
            self._waiting.popleft()
            self._next = 0
        return packets.number(begin, ids)

    def abandon(self) -> int:
        """Never send what was not sent yet; how much that is."""
        count = self.backlog
        self._waiting.clear()
        self._next = 0
        return count

    def settle(self, ids: Integers) -> Integers:
        """The broker has answered for `ids`; their positions in the truth, without the uncounted ones."""
        ids = ids[ids < len(self._flight_of)]
        ids = np.unique(ids[self._flight_of[ids] != _NOBODY])  # an id that is not out means nothing
        positions = self._position_of[ids]
        self._flight_of[ids] = _NOBODY
        self._free = np.concatenate([self._free, ids])
        self.outstanding -= len(ids)
        while self._flights and not len(self._open(self._flights[0])):
            self._flights.popleft()
        return np.asarray(positions[positions != UNCOUNTED])

    def again(self) -> bytes:
        """Everything that was sent and not answered, in its order, for a new connection of the same session."""
        return b"".join(flight.packets.again(flight.begin + self._open(flight)) for flight in self._flights)

    def _open(self, flight: _Flight) -> Integers:
        return where_true(self._flight_of[flight.ids] == flight.number)
