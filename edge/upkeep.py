"""Periodic work on a thread beside the loop. Its jobs only look, ask, or tell: the loop alone touches the spool."""

from collections.abc import Callable
from datetime import UTC
from typing import Any, Final, NamedTuple, Self

from apscheduler.schedulers.background import BackgroundScheduler

_REPORT: Final = "report"


class Job(NamedTuple):
    """`id` is for those whose interval can change."""

    action: Callable[[], Any]
    interval_s: float
    id: str | None = None


def reporting(action: Callable[[], Any], interval_s: float) -> Job:
    """The job whose interval can change."""
    return Job(action, interval_s, _REPORT)


class Upkeep:
    """Runs jobs until `close`; one that was late runs once, not several times."""

    def __init__(self, jobs: list[Job]) -> None:
        self._scheduler = BackgroundScheduler(
            timezone=UTC, job_defaults={"coalesce": True, "misfire_grace_time": None, "max_instances": 1}
        )
        for job in jobs:
            self._scheduler.add_job(job.action, "interval", seconds=job.interval_s, id=job.id)
        self._scheduler.start()

    def report_every(self, interval_s: float) -> None:
        """Change the interval of the report."""
        self._scheduler.reschedule_job(_REPORT, trigger="interval", seconds=interval_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._scheduler.remove_all_jobs()  # or the next one that is due would find its executor closed
        self._scheduler.shutdown(wait=False)
