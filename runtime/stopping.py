"""Signals, away from the code that they interrupt: SIGTERM and SIGINT as an event, SIGHUP as a call on a thread."""

import queue
import signal
import threading
from collections.abc import Callable


def stop_event() -> threading.Event:
    """An event that is set after the first SIGTERM or SIGINT; a further SIGINT ends the process at once.

    To be called on the main thread, as signal handlers must be.
    """
    stop = threading.Event()
    arrived: queue.SimpleQueue[int] = queue.SimpleQueue()
    signals = 0

    def on_signal(number: int, _frame: object) -> None:
        nonlocal signals
        signals += 1
        if signals > 1 and number == signal.SIGINT:
            raise KeyboardInterrupt
        # Setting the event here would deadlock when the signal comes while this thread is inside stop.wait()
        # and holds the event's lock; SimpleQueue.put may be called anywhere.
        arrived.put(number)

    def relay() -> None:
        arrived.get()
        stop.set()

    threading.Thread(target=relay, name="stop-signal", daemon=True).start()
    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    return stop


def on_hangup(action: Callable[[], None]) -> None:
    """Call `action` once for every SIGHUP, one after another, on a thread of its own. It must not raise.

    To be called on the main thread, as signal handlers must be.
    """
    arrived: queue.SimpleQueue[int] = queue.SimpleQueue()

    def relay() -> None:
        while True:
            arrived.get()
            action()

    threading.Thread(target=relay, name="hangup-signal", daemon=True).start()
    signal.signal(signal.SIGHUP, lambda number, _frame: arrived.put(number))
