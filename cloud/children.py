"""Work in a process of its own that ends with this one, however that ends."""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from typing import Final

import structlog

from cloud.config import CloudSettings
from runtime import exits, logs, stopping

log: Final = structlog.get_logger()

_LAST_STEPS_S: Final = 0.5
"""For a parent whose children were killed."""

Work = Callable[[CloudSettings, threading.Event], None]


def start(name: str, work: Work, settings: CloudSettings) -> BaseProcess:
    """Start `work(settings, stop)`, a function of a module; `stop` is set by SIGTERM, SIGINT or the parent's end."""
    context = multiprocessing.get_context("spawn")  # a fork would share the threads' locks
    process = context.Process(target=_child, args=(work, settings, name), name=name, daemon=True)
    process.start()
    return process


def end_within(stop: threading.Event, limit_s: float) -> None:
    """From the moment that `stop` is set this process and its children have `limit_s` to end by themselves; a server
    that hangs could hold them up for longer. A kill loses nothing: what was not written is read again."""
    threading.Thread(target=_end_all, args=(stop, limit_s), name="stop-limit", daemon=True).start()


def _end_all(stop: threading.Event, limit_s: float) -> None:
    stop.wait()
    time.sleep(limit_s)
    for process in multiprocessing.active_children():
        log.warning("does not stop, killed; it will read again what it had not written", process=process.name)
        process.kill()
    time.sleep(_LAST_STEPS_S)
    log.warning("does not stop, ended; what was not written will be read again")
    os._exit(exits.OK)


def _child(work: Work, settings: CloudSettings, name: str) -> None:
    logs.configure(settings.log)
    structlog.contextvars.bind_contextvars(process=name)
    stop = stopping.stop_event()
    parent = multiprocessing.parent_process()
    assert parent is not None
    orphaned = threading.Event()
    end_within(orphaned, settings.fold.stop_limit_s)  # a parent that lives sees to it itself
    threading.Thread(target=_end_with, args=(parent.sentinel, orphaned, stop), name="parent", daemon=True).start()
    work(settings, stop)


def _end_with(sentinel: int, *events: threading.Event) -> None:
    connection.wait([sentinel])
    for event in events:
        event.set()
