"""Puts the keeper of history together and runs it: as a process of its own, or as one that the fold starts."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from typing import Final

import structlog
from apscheduler.schedulers.background import BackgroundScheduler
from pymongo.errors import PyMongoError

from cloud import children, mongo
from cloud.config import CloudSettings
from cloud.history import collect, schema
from cloud.history.keeper import Keeper
from cloud.history.merge import Merger
from cloud.history.metrics import Metrics
from cloud.kafka import Source
from cloud.mongo import Mongo, StoppedError
from runtime import garbage
from runtime.health import Health, HealthServer

log: Final = structlog.get_logger()

_NICENESS: Final = 5
"""Twins go before history when there is too little processor time for both."""


def run(settings: CloudSettings, stop: threading.Event) -> None:
    """Keep history until `stop` is set, then write what is left."""
    os.nice(_NICENESS)
    metrics = Metrics()

    def waiting() -> None:
        metrics.waits.inc()
        if stop.is_set():
            raise StoppedError

    own_group = settings.kafka.model_copy(update={"group_id": settings.kafka.history_group_id})
    source = Source(own_group, collect.TOPICS, waiting)
    client = mongo.connect(settings.mongo, mongo.SELECTION_MS_MAX)
    store = Mongo(client, settings.mongo, waiting)
    scheduler = BackgroundScheduler(timezone="UTC", job_defaults={"coalesce": True, "max_instances": 1})
    try:
        store.patiently(lambda: schema.ensure(store.database, settings.history))
        keeper = Keeper(source, store, settings.history, metrics)
        merger = Merger(store, settings.history, metrics, _now_ms)
        scheduler.add_job(
            lambda: _merge(merger, stop), "interval", seconds=settings.history.merge_interval_s, id="merge"
        )
        scheduler.start()
        with HealthServer(settings.history.http, metrics.registry, lambda: _health(source)) as server:
            log.info("history ready", health_port=server.port)
            garbage.search_rarely()
            keeper.run(stop.is_set)
    except StoppedError:
        log.info("stopped while waiting; what was not written will be read again")
    finally:
        if scheduler.running:
            scheduler.shutdown(wait=True)
        source.close()
        client.close()
    log.info("history stopped")


@contextmanager
def beside(settings: CloudSettings, stop: threading.Event) -> Iterator[None]:
    """A keeper as another process, if the configuration wants history. It is told to stop when this one is, and ends
    with it, however that ends."""
    if not settings.history.enabled:
        yield
        return
    process = children.start("history", run, settings)
    threading.Thread(target=_tell, args=(process, stop), name="stop-history", daemon=True).start()
    try:
        yield
    finally:
        process.terminate()
        process.join()


def _tell(process: BaseProcess, stop: threading.Event) -> None:
    stop.wait()
    process.terminate()


def _merge(merger: Merger, stop: threading.Event) -> None:
    try:
        merger.run(stop.is_set)
    except PyMongoError as error:  # the next run tries again
        log.warning("history not merged", error=str(error)[:200])
    except StoppedError:
        log.info("merging stopped")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _health(source: Source) -> Health:
    """Healthy: it holds partitions, and a broker was heard lately."""
    details = {"partitions": source.assigned, "kafka_errors": source.errors}
    return Health(source.healthy, {**details, "kafka_silent_ms": source.hearing.silent_ms})
