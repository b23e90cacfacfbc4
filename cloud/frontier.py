"""Up to where the records of a partition are done, when they are not done in the order of the log. Pure."""

from collections import deque


class Frontier:
    """`position`: the offset to commit, that of the first record which was read but is not done."""

    def __init__(self) -> None:
        self._outstanding: deque[int] = deque()
        self._done: set[int] = set()
        self._next = 0

    @property
    def position(self) -> int:
        return self._outstanding[0] if self._outstanding else self._next

    def read(self, offset: int) -> bool:
        """A record was read. False: it lies below what was read before, so the log, or its reading, began anew."""
        forward = offset >= self._next
        while self._outstanding and self._outstanding[-1] >= offset:
            self._done.discard(self._outstanding.pop())  # it will be read again; what lies below is still on its way
        self._outstanding.append(offset)
        self._next = offset + 1
        return forward

    def done(self, offset: int) -> None:
        """A record is durable elsewhere. One that was not read here, or is done already, changes nothing."""
        if self._outstanding and offset == self._outstanding[0] and not self._done:
            self._outstanding.popleft()  # by far the most: in the order of the log
            return
        if not self._outstanding or not self._outstanding[0] <= offset < self._next:
            return
        self._done.add(offset)
        while self._outstanding and self._outstanding[0] in self._done:
            self._done.remove(self._outstanding.popleft())
