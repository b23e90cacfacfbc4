"""Puts the twin service together and runs it until it is told to stop."""

import threading
import time
from typing import Final

import structlog

from cloud import mongo
from cloud.cache import Cache
from cloud.config import CloudSettings
from cloud.gate import Gate
from cloud.kafka import Source
from cloud.linker import Linker
from cloud.metrics import Metrics
from cloud.mongo import StoppedError
from cloud.outlet import Outlet
from cloud.picking import Picker
from cloud.processor import Processor
from cloud.schema import ensure
from cloud.sharing import Sharing
from cloud.store import Store
from cloud.upkeep import Upkeep
from runtime import garbage
from runtime.health import Health, HealthServer

log: Final = structlog.get_logger()


def run(settings: CloudSettings, stop: threading.Event) -> None:
    """Fold until `stop` is set."""
    metrics = Metrics()

    def waiting() -> None:
        # On any thread: only the loop's touches the consumer, and tells Kafka that it lives while it waits.
        metrics.waits.inc()
        if stop.is_set():
            raise StoppedError

    source = Source(settings.kafka, while_waiting=waiting)
    metrics.partitions.set_function(lambda: source.assigned)
    client = mongo.connect(settings.mongo, mongo.SELECTION_MS_MAX)
    store = Store(client, settings.mongo, waiting, settings.fold.twin_bytes_max)
    try:
        store.patiently(lambda: ensure(store.database))
        upgraded = store.upgrade_twins()
        if upgraded:
            log.info("twins of older versions upgraded", count=upgraded)
        outlet = Outlet(settings.kafka, waiting)
        sharing = Sharing(settings.fold.asset_bytes_per_turn_max, settings.fold.carried_bytes_max)
        linker, cache = Linker(store, _now_ms), Cache(settings.fold.cached_twins_max, settings.fold.cached_bytes_max)
        picker = Picker(cache.at_hand, settings.fold.plain_frames_min)
        processor = Processor(source, outlet, store, linker, cache, metrics, settings.fold.detect, sharing, picker)
        metrics.cached_twins.set_function(lambda: len(cache))
        metrics.cached_bytes.set_function(lambda: cache.size_bytes)
        upkeep = Upkeep(settings.fold, store, Linker(store, _now_ms), metrics)
        if settings.fold.upkeep:
            upkeep.start()
        with HealthServer(settings.http, metrics.registry, lambda: _health(processor, source, metrics)) as server:
            log.info("twin service ready", health_port=server.port)
            garbage.search_rarely()
            processor.run(stop.is_set, Gate(store.database))
        if settings.fold.upkeep:
            upkeep.stop()
    except StoppedError:
        log.info("stopped while waiting; what was not written will be read again")
    finally:
        source.close()
        client.close()
    log.info("twin service stopped")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _health(processor: Processor, source: Source, metrics: Metrics) -> Health:
    """Healthy: it holds partitions, and a broker was heard lately. The numbers are for people and the local runner."""
    details = {
        "partitions": source.assigned,
        "idle_ms": int((time.monotonic() - processor.busy_until_s) * 1000),
        "kafka_errors": source.errors,
        "kafka_silent_ms": source.hearing.silent_ms,
        "oldest_twin_age_ms": int(1000 * _value(metrics, "oldest_twin_age_seconds")),
        "folded": int(_value(metrics, "messages_folded_total")),
    }
    for name in ("lag_records", "twins", "open_anomalies", "owners_linked"):
        details[name] = int(_value(metrics, name))
    return Health(source.healthy, details)


def _value(metrics: Metrics, name: str) -> float:
    return metrics.registry.get_sample_value(f"fleetfold_cloud_{name}") or 0.0
