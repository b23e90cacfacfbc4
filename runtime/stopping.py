"""SIGTERM and SIGINT as an event the loop looks at: nothing is interrupted in the middle."""

import signal
import threading


def stop_event() -> threading.Event:
    """An event that is set at the first SIGTERM or SIGINT; a second SIGINT ends the process at once."""
    stop = threading.Event()

    def on_signal(number: int, _frame: object) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    return stop
