"""When to let the socket be for a moment: a read, sync and batch costs the same for one message as for many. Pure."""

from typing import Final

_PAUSE_S_MIN: Final = 0.005
"""Shorter ones gather less than a wake costs, and only what comes from memory is so fast."""
_ALIKE: Final = 3
"""So many reads in a row with the same count may be what a broker sends without an acknowledgement."""
_ALIKE_COUNT_MIN: Final = 8
"""With fewer in each the pauses do no harm, or there is no telling."""
_PROBE_PART: Final = 4
"""For this part of a pause there is none, to see: devices send a quarter then, who was held up sends all."""
_TRUST_S: Final = 30.0
"""For so long after a probe there is no other."""


class Lull:
    """After messages nothing is read for `pause_s`, or for as long as it takes until `many` have come, if that is
    shorter.

    With `many` a part of what the broker sends without an acknowledgement, it never waits for a pause. That may be less
    than the Receive Maximum (mosquitto's `max_inflight_messages` is 20): then each read brings just so many, and more
    follow at once when these are acknowledged. Who sees that waits for half as many from then on.
    """

    def __init__(self, pause_s: float, many: int) -> None:
        self._pause_s = pause_s
        self._many = many
        self._begin_s = 0.0
        self._count = self._count_before = 0
        """In this span of `pause_s`, and in the one before."""
        self._until_s = 0.0
        self._last_pause_s = pause_s
        self._last_count = self._alike = 0
        """Of the last read after a pause, and how many before it were the same."""
        self._probed = 0
        self._probe_end_s = 0.0
        """While a probe lasts."""
        self._probe_not_before_s = 0.0

    def received(self, count: int, now_s: float, may_be_more: bool = False) -> None:
        """So many messages were read. `may_be_more`: then the next read is due at once."""
        elapsed_s = now_s - self._begin_s
        if elapsed_s >= self._pause_s:
            self._count_before = self._count if elapsed_s < 2 * self._pause_s else 0
            self._begin_s, self._count = now_s, 0
        self._count += count
        if not count:
            return
        if may_be_more or self._is_probing(count, now_s):
            self._until_s = 0.0
            return
        pause_s = self._pause_s * min(1.0, self._many / max(self._count, self._count_before))
        self._last_pause_s = pause_s if pause_s >= min(_PAUSE_S_MIN, self._pause_s) else 0.0
        self._until_s = now_s + self._last_pause_s if self._last_pause_s else 0.0

    def _is_probing(self, count: int, now_s: float) -> bool:
        if self._probe_end_s:
            if now_s <= self._probe_end_s:
                self._probed += count
                return True
            if self._probed >= self._last_count:
                self._many = min(self._many, self._last_count // 2)
            self._probe_end_s, self._alike = 0.0, 0
            self._probe_not_before_s = now_s + _TRUST_S
        was_paused = self._until_s > 0
        self._alike = self._alike + 1 if was_paused and count == self._last_count else 0
        self._last_count = count
        if self._alike < _ALIKE or count < _ALIKE_COUNT_MIN or now_s < self._probe_not_before_s:
            return False
        self._probed, self._probe_end_s = 0, now_s + self._last_pause_s / _PROBE_PART
        return True

    def left_s(self, now_s: float) -> float:
        """For so long nothing is to be read; 0: read."""
        return max(0.0, self._until_s - now_s)
