"""Work in a process of its own that ends with this one, however that ends."""

import multiprocessing
import threading
from collections.abc import Callable
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from typing import Final

import structlog

from cloud.config import CloudSettings
from runtime import logs, stopping

log: Final = structlog.get_logger()

Work = Callable[[CloudSettings, threading.Event], None]


def start(name: str, work: Work, settings: CloudSettings) -> BaseProcess:
    """Start `work(settings, stop)`, a function of a module; `stop` is set by SIGTERM, SIGINT or the parent's end."""
    context = multiprocessing.get_context("spawn")  # a fork would share the threads' locks
    process = context.Process(target=_child, args=(work, settings, name), name=name, daemon=True)
    process.start()
    return process


def stop(process: BaseProcess, limit_s: float) -> None:
    """SIGTERM, and SIGKILL after `limit_s`."""
    process.terminate()
    process.join(limit_s)
    if process.is_alive():
        log.warning("does not stop, killed; it will read again what it had not written", process=process.name)
        process.kill()
        process.join()


def _child(work: Work, settings: CloudSettings, name: str) -> None:
    logs.configure(settings.log)
    structlog.contextvars.bind_contextvars(process=name)
    stop = stopping.stop_event()
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent.sentinel, stop), name="parent", daemon=True).start()
    work(settings, stop)


def _end_with(sentinel: int, stop: threading.Event) -> None:
    connection.wait([sentinel])
    stop.set()
