"""When to let the socket be for a moment: at a low rate each read, sync and batch would be of one message. Pure."""


class Lull:
    """After messages nothing is read for `pause_s`, unless `many` of them came within that time, or the time before.

    With `many` a part of the Receive Maximum, a pause cannot use that up: the broker never waits for one.
    """

    def __init__(self, pause_s: float, many: int) -> None:
        self._pause_s = pause_s
        self._many = many
        self._begin_s = 0.0
        self._count = self._count_before = 0
        self._until_s = 0.0

    def received(self, count: int, now_s: float) -> None:
        """So many messages were read."""
        elapsed_s = now_s - self._begin_s
        if elapsed_s >= self._pause_s:
            self._count_before = self._count if elapsed_s < 2 * self._pause_s else 0
            self._begin_s, self._count = now_s, 0
        self._count += count
        if count and max(self._count, self._count_before) < self._many:
            self._until_s = now_s + self._pause_s

    def left_s(self, now_s: float) -> float:
        """For so long nothing is to be read; 0: read."""
        return max(0.0, self._until_s - now_s)
