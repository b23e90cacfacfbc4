"""When to let the socket be for a moment: a read, sync and batch costs the same for one message as for many. Pure."""

from typing import Final

_PAUSE_S_MIN: Final = 0.005
"""Shorter ones gather less than a wake costs, and only what comes from memory is so fast."""


class Lull:
    """After messages nothing is read for `pause_s`, or for as long as it takes until `many` have come, if that is
    shorter.

    With `many` a part of the Receive Maximum, a pause cannot use that up: the broker never waits for one.
    """

    def __init__(self, pause_s: float, many: int) -> None:
        self._pause_s = pause_s
        self._many = many
        self._begin_s = 0.0
        self._count = self._count_before = 0
        """In this span of `pause_s`, and in the one before."""
        self._until_s = 0.0

    def received(self, count: int, now_s: float, may_be_more: bool = False) -> None:
        """So many messages were read. `may_be_more`: then the next read is due at once."""
        elapsed_s = now_s - self._begin_s
        if elapsed_s >= self._pause_s:
            self._count_before = self._count if elapsed_s < 2 * self._pause_s else 0
            self._begin_s, self._count = now_s, 0
        self._count += count
        if count:
            per_span = max(self._count, self._count_before)
            pause_s = self._pause_s * min(1.0, self._many / per_span)
            is_worth_it = pause_s >= min(_PAUSE_S_MIN, self._pause_s) and not may_be_more
            self._until_s = now_s + pause_s if is_worth_it else 0.0

    def left_s(self, now_s: float) -> float:
        """For so long nothing is to be read; 0: read."""
        return max(0.0, self._until_s - now_s)
