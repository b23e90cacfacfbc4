"""Who gets how much of a turn: an asset that sends a thousand times its share waits for its own rest, not the others.

What is over an asset's share stays here, in order, and is first in its next turn. When too much stays, the
partitions that it comes from are held back in Kafka until half of it is gone. Pure.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from cloud.inbox import Record
from wire.topics import CHANNEL_OF

Place = tuple[str, int]
"""Topic and partition."""

BYTES_PER_TURN_MAX: Final = 500_000
CARRIED_BYTES_MAX: Final = 16_000_000


class Sharing:
    """At most `bytes_per_turn_max` of an asset in a turn, but one record at least; `carried_bytes_max` of all stay."""

    def __init__(
        self, bytes_per_turn_max: int = BYTES_PER_TURN_MAX, carried_bytes_max: int = CARRIED_BYTES_MAX
    ) -> None:
        self._share, self._carried_max = bytes_per_turn_max, carried_bytes_max
        self._carried: dict[bytes, deque[Record]] = {}
        self._crowded = False
        self.carried_bytes = 0
        self.carried_records = 0

    def admit(self, records: list[Record]) -> list[Record]:
        """The records of this turn: what waited, then what is new; of each asset in the order of its partitions."""
        if not self._carried and sum([len(record.value or b"") for record in records]) <= self._share:
            return records
        room: dict[bytes, int] = {}
        admitted = [record for asset in list(self._carried) for record in self._take(asset, room)]
        for record in records:
            asset, size = record.key, len(record.value or b"")
            left = room.get(asset, self._share)
            if record.topic not in CHANNEL_OF:
                admitted.append(record)
            elif asset in self._carried or (size > left and asset in room):
                self._carry(asset, record, size)
            else:
                room[asset] = left - size
                admitted.append(record)
        return admitted

    def crowded(self) -> set[Place]:
        """The partitions that should not be read on for now."""
        self._crowded = self.carried_bytes > (self._carried_max / 2 if self._crowded else self._carried_max)
        if not self._crowded:
            return set()
        return {(record.topic, record.partition) for waiting in self._carried.values() for record in waiting}

    def drop(self, owned: Callable[[Place], bool]) -> None:
        """Forget what came from partitions that others read now: they have it from the log."""
        for asset, waiting in list(self._carried.items()):
            kept = deque(record for record in waiting if owned((record.topic, record.partition)))
            self._carried[asset] = kept
            if not kept:
                del self._carried[asset]
        everything = [record for waiting in self._carried.values() for record in waiting]
        self.carried_records = len(everything)
        self.carried_bytes = sum(len(record.value or b"") for record in everything)

    def _carry(self, asset: bytes, record: Record, size: int) -> None:
        self._carried.setdefault(asset, deque()).append(record)
        self.carried_bytes += size
        self.carried_records += 1

    def _take(self, asset: bytes, room: dict[bytes, int]) -> list[Record]:
        waiting, left = self._carried[asset], self._share
        taken: list[Record] = []
        while waiting and (not taken or len(waiting[0].value or b"") <= left):
            record = waiting.popleft()
            taken.append(record)
            left -= len(record.value or b"")
            self.carried_bytes -= len(record.value or b"")
            self.carried_records -= 1
        room[asset] = left
        if not waiting:
            del self._carried[asset]
        return taken
