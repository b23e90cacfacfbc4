"""Tells others, while a rebuild works, that it is alive: one that says nothing for a while is taken for dead."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import structlog
from pymongo.errors import PyMongoError

from cloud.handover import Handover, LostError

log: Final = structlog.get_logger()

_RENEW_S: Final = 5.0


@contextmanager
def renewed(hand: Handover) -> Iterator[None]:
    """Renew the lease on a thread of its own."""
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(_RENEW_S):
            try:
                hand.renew()
            except LostError:
                return  # the next step of the handover says so
            except PyMongoError as error:
                log.warning("rebuild: database away", error=str(error)[:200])

    thread = threading.Thread(target=renew, name="rebuild-alive", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
