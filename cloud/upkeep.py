"""Periodic work beside the loop: mark silent assets, relink where time moved a period, count for the gauges.

Each job touches only what no turn of the loop writes, or writes by a filter that is true only once.
"""

import time
from collections.abc import Callable
from typing import Any, Final

import structlog
from apscheduler.schedulers.background import BackgroundScheduler
from bson.datetime_ms import DatetimeMS
from pymongo.errors import PyMongoError

from cloud import search
from cloud.config import FoldSettings
from cloud.linker import Linker
from cloud.metrics import Metrics
from cloud.mongo import StoppedError
from cloud.store import Store
from cloud.upgrades import SCHEMA_VERSION

log: Final = structlog.get_logger()


class Upkeep:
    """The scheduled jobs of one twin service."""

    def __init__(self, settings: FoldSettings, store: Store, linker: Linker, metrics: Metrics) -> None:
        self._settings, self._store, self._linker, self._metrics = settings, store, linker, metrics
        self._scheduler = BackgroundScheduler(timezone="UTC", job_defaults={"coalesce": True, "max_instances": 1})
        for job, interval_s in (
            (self.mark_silent, settings.silence_check_interval_s),
            (self.relink, settings.relink_interval_s),
            (self.census, settings.census_interval_s),
        ):
            self._scheduler.add_job(_guarded(job), "interval", seconds=interval_s, id=job.__name__)

    def start(self) -> None:
        self._scheduler.start()

    def stop(self) -> None:
        self._scheduler.shutdown(wait=True)

    def mark_silent(self) -> None:
        """An asset not heard of for `silent_after_s` is shown as silent, until it is heard of again. Nobody else writes
        the mark: after an outage the fold may be hours behind, and what it reads then makes nobody less silent."""
        before = DatetimeMS(_now_ms() - self._settings.silent_after_s * 1000)
        ours: dict[str, Any] = {"schema_version": {"$lte": SCHEMA_VERSION}}  # a newer document is not ours to touch
        overdue: dict[str, Any] = {search.SEEN: {"$lt": before}, "connection.last_seen": {"$lt": before}}
        fell = self._mark(ours | overdue | {"connection.silent": {"$ne": True}}, True)
        heard: dict[str, Any] = {"connection.silent": True, "connection.last_seen": {"$gte": before}}
        spoke = self._mark(ours | heard, False)
        if fell or spoke:
            log.info("assets fell silent, or spoke again", fell_silent=fell, spoke_again=spoke)

    def _mark(self, which: dict[str, Any], silent: bool) -> int:
        changed = self._store.database["twins"].update_many(which, {"$set": {"connection.silent": silent}})
        return changed.modified_count

    def relink(self) -> None:
        """Owners change hands by the clock too: periods that began or ended since the last time."""
        self._linker.sweep()

    def census(self) -> None:
        """Bring the gauges up to date."""
        twins, anomalies = self._store.database["twins"], self._store.database["anomalies"]
        self._metrics.twins.set(twins.estimated_document_count())
        self._metrics.open_anomalies.set(anomalies.count_documents({"status": "open"}))
        self._metrics.owners_linked.set(twins.count_documents({"owner.customer_id": {"$gt": ""}}))
        self._metrics.silent_twins.set(twins.count_documents({"connection.silent": True}))
        self._metrics.oldest_twin_age_seconds.set(max(0, self._oldest_age_ms()) / 1000)

    def _oldest_age_ms(self) -> int:
        """The twin heard of the longest ago is among those whose copy is within a step of the oldest copy."""
        twins, never = self._store.database["twins"], DatetimeMS(0)
        oldest: dict[str, Any] = {search.SEEN: {"$gt": never}}
        first = twins.find_one(oldest, {search.SEEN: 1}, sort=[(search.SEEN, 1)])
        if first is None:
            return 0
        oldest[search.SEEN]["$lte"] = DatetimeMS(int(first["search"]["seen"]) + search.SEEN_STEP_MS)
        of_them = [{"$match": oldest}, {"$group": {"_id": None, "seen": {"$min": "$connection.last_seen"}}}]
        found = list(twins.aggregate(of_them))
        return _now_ms() - int(found[0]["seen"]) if found else 0


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _guarded(job: Callable[[], None]) -> Callable[[], None]:
    def run() -> None:
        try:
            job()
        except PyMongoError as error:  # the next turn of the job tries again
            log.warning("periodic job failed", job=job.__name__, error=str(error)[:200])
        except StoppedError:
            log.info("periodic job stopped", job=job.__name__)

    return run
