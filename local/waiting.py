"""Waiting that ends at once when the person says stop."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")
_POLL_S = 0.05


class InterruptedByUserError(Exception):
    """Ctrl-C or SIGTERM came while waiting."""


def pause(stop: threading.Event, seconds: float) -> None:
    """Sleep. Raises InterruptedByUserError as soon as `stop` is set."""
    if stop.wait(seconds):
        raise InterruptedByUserError


def until(condition: Callable[[], bool], limit_s: float, stop: threading.Event, poll_s: float = _POLL_S) -> bool:
    """Wait for `condition`; whether it came true within `limit_s`. Raises InterruptedByUserError."""
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() >= deadline:
            return False
        pause(stop, poll_s)
    return True


def in_background(work: Callable[[], Result], stop: threading.Event, on_stop: Callable[[], None]) -> Result:
    """The result of `work`, done in a thread. When `stop` is set, `on_stop` must make `work` end soon.

    Raises what `work` raises, or InterruptedByUserError.
    """
    with ThreadPoolExecutor(1, "work") as pool:
        future: Future[Result] = pool.submit(work)
        try:
            while not future.done():
                pause(stop, _POLL_S)
        except InterruptedByUserError:
            on_stop()
            raise
        return future.result()
