"""Withheld samples of the last seconds, in case a capture wants them. Bounded in bytes over all assets."""

from collections import deque
from typing import Any, Final, NamedTuple

from edge.rules.cells import Cell

_ENTRY_BYTES: Final = 160
"""What an entry with a number costs in memory, about."""


_SCALARS: Final = frozenset({float, int, bool})


class Entry(NamedTuple):
    """One withheld sample."""

    ms: int
    cell: Cell
    value: Any
    size_bytes: int


class Budget:
    """Bytes that all rings together may hold."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.used_bytes = 0

    @property
    def is_nearly_full(self) -> bool:
        """Whether little room is left."""
        return self.used_bytes > 0.9 * self.bytes_max


class Ring:
    """Of one asset, in the order of arrival."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._entries: deque[Entry] | tuple[()] = ()
        """A deque once there is something: an empty one has 600 bytes."""

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, ms: int, cell: Cell, value: Any) -> bool:
        """Hold a sample; False when there is no room."""
        size_bytes = _ENTRY_BYTES if type(value) in _SCALARS else _size(value)
        if self._budget.used_bytes + size_bytes > self._budget.bytes_max:
            return False
        self._budget.used_bytes += size_bytes
        if isinstance(self._entries, tuple):
            self._entries = deque()
        self._entries.append(Entry(ms, cell, value, size_bytes))
        return True

    def expire(self, before_ms: int) -> None:
        """Forget what is older. What came out of order waits for its turn, and goes a little later."""
        entries = self._entries
        while entries and entries[0].ms < before_ms:
            self._budget.used_bytes -= entries.popleft().size_bytes

    def take(self, from_ms: int, to_ms: int, numbers: frozenset[int]) -> list[Entry]:
        """Remove and return what was taken in that time (both included) of those signals, oldest first."""
        taken: list[Entry] = []
        left: deque[Entry] = deque()
        for entry in self._entries:
            wanted = from_ms <= entry.ms <= to_ms and entry.cell.sensor.number in numbers
            (taken if wanted else left).append(entry)
        self._entries = left or ()
        self._budget.used_bytes -= sum(entry.size_bytes for entry in taken)
        return sorted(taken, key=lambda entry: entry.ms)

    def clear(self) -> list[Entry]:
        """Remove and return everything."""
        taken = sorted(self._entries, key=lambda entry: entry.ms)
        self._budget.used_bytes -= sum(entry.size_bytes for entry in taken)
        self._entries = ()
        return taken


def _size(value: Any) -> int:
    if isinstance(value, str):
        return _ENTRY_BYTES + len(value)
    return _ENTRY_BYTES + sum(len(item) + 60 for item in value) if isinstance(value, list) else _ENTRY_BYTES
