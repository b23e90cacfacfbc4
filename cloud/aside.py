"""Calls that wait for a server, on threads of their own: the loop's thread keeps its place in the group meanwhile."""

from collections.abc import Callable
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

T = TypeVar("T")

_KEEP_ALIVE_S: Final = 1.0
"""While the loop waits for a server, it tells Kafka this often that it lives."""


class Aside:
    """`keep_alive` is called on the waiting thread."""

    def __init__(self, name: str, threads: int, keep_alive: Callable[[], None]) -> None:
        self._threads, self._keep_alive = ThreadPoolExecutor(threads, thread_name_prefix=name), keep_alive

    def submit(self, call: Callable[[], T]) -> "Future[T]":
        """Begin, and do not wait."""
        return self._threads.submit(call)

    def wait(self, future: "Future[T]") -> T:
        """Until it is done; raises what it raised."""
        while not futures.wait([future], _KEEP_ALIVE_S).done:
            self._keep_alive()
        return future.result()

    def ask(self, call: Callable[[], T]) -> T:
        """Begin, and wait."""
        return self.wait(self.submit(call))

    def close(self) -> None:
        """Wait for what was begun; nothing more can be."""
        self._threads.shutdown(wait=True)
