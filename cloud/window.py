"""Which sequences of a session have been seen: the first of the two keys to effectively once.

A window holds `next` (one above the highest sequence seen) and the intervals below it that are still missing,
so it is exact however long a session runs, as long as losses come in fewer than `INTERVALS_MAX` pieces. When a
device loses more, the oldest interval is forgotten: `floor` rises above it, and what then arrives below `floor`
is uncertain: it may be new or seen. It is counted as such, never dropped in silence.
"""

from bisect import bisect_right
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

INTERVALS_MAX: Final = 64
RISING_INTERVALS_MAX: Final = 32
"""Of sessions that the agent numbers: there, every batch leaves an interval behind it."""


class Seen(Enum):
    """The verdict on one sequence."""

    NEW = "new"
    DUPLICATE = "duplicate"
    UNCERTAIN = "uncertain"


@dataclass(slots=True)
class Window:
    """One session of one channel.

    `gapless` sessions count every message, so a jump is a gap. The agent's own numbers (see ARCHITECTURE,
    identity of a message) jump over the other assets of its gateway: a jump means nothing. What comes from below it
    all the same is no re-send, unless it was seen: a topic that grows moves an asset to another partition, and what
    is still in the old one comes after what is in the new.
    """

    gapless: bool = True
    next: int = 0
    newest_ms: int = 0
    floor: int = 0
    missing: list[tuple[int, int]] = field(default_factory=list)

    def accept(self, seq: int, ts_ms: int) -> tuple[Seen, int]:
        """Judge a sequence and remember it; also returns by how much the known gaps grew (or shrank)."""
        if seq == self.next:  # by far the most
            self.next = seq + 1
            if ts_ms > self.newest_ms:
                self.newest_ms = ts_ms
            return Seen.NEW, 0
        seen, gaps = self._judge(seq)
        # A re-send repeats its time. A "re-send" from after the newest message is a device that began
        # counting anew without a new session: its data is used, but cannot be counted safely.
        if seen is Seen.DUPLICATE and self.gapless and ts_ms > self.newest_ms:
            seen = Seen.UNCERTAIN
        self.newest_ms = max(self.newest_ms, ts_ms)
        return seen, gaps

    def accept_run(self, count: int, newest_ms: int) -> None:
        """Remember `count` sequences from `next` on, all new, with rising times up to `newest_ms`."""
        self.next += count
        self.newest_ms = max(self.newest_ms, newest_ms)

    def _judge(self, seq: int) -> tuple[Seen, int]:
        if seq >= self.next:
            gap = seq - self.next
            if gap:
                self.missing.append((self.next, seq))
                self._forget_oldest()
            self.next = seq + 1
            return Seen.NEW, gap if self.gapless else 0
        if seq < self.floor:
            return Seen.UNCERTAIN, 0
        return self._fill(seq)

    def _forget_oldest(self) -> None:
        if len(self.missing) > (INTERVALS_MAX if self.gapless else RISING_INTERVALS_MAX):
            _, self.floor = self.missing.pop(0)

    def _fill(self, seq: int) -> tuple[Seen, int]:
        index = bisect_right(self.missing, seq, key=lambda interval: interval[0]) - 1
        if index < 0 or seq >= self.missing[index][1]:
            return Seen.DUPLICATE, 0
        first, end = self.missing[index]
        rest = [part for part in ((first, seq), (seq + 1, end)) if part[0] < part[1]]
        self.missing[index : index + 1] = rest
        self._forget_oldest()
        return Seen.NEW, -1 if self.gapless else 0

    def to_list(self) -> list[Any]:
        """`[gapless, next, newest_ms, floor, first, end, first, end, …]` for the document."""
        flat = [bound for interval in self.missing for bound in interval]
        return [self.gapless, self.next, self.newest_ms, self.floor, *flat]

    @classmethod
    def from_list(cls, values: list[Any]) -> "Window":
        """The inverse of `to_list`."""
        gapless, following, newest_ms, floor, *flat = values
        return cls(gapless, following, newest_ms, floor, list(zip(flat[::2], flat[1::2], strict=True)))
