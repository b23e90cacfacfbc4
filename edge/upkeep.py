"""Periodic work on a thread beside the loop. Its jobs only look, ask, or tell: the loop alone touches the spool."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, Self

from apscheduler.schedulers.background import BackgroundScheduler

_REPORT: Final = "report"
_LINK: Final = "link"


class Job(NamedTuple):
    """`id` is for those whose interval can change. `at_once`: the first time at the start, not an interval later."""

    action: Callable[[], Any]
    interval_s: float
    id: str | None = None
    at_once: bool = False


def reporting(action: Callable[[], Any], interval_s: float) -> Job:
    """The job whose interval can change."""
    return Job(action, interval_s, _REPORT)


def looking_at_the_link(action: Callable[[], Any], interval_s: float) -> Job:
    """The other one."""
    return Job(action, interval_s, _LINK, at_once=True)


class Upkeep:
    """Runs jobs until `close`; one that was late runs once, not several times."""

    def __init__(self, jobs: list[Job]) -> None:
        self._scheduler = BackgroundScheduler(
            timezone=UTC, job_defaults={"coalesce": True, "misfire_grace_time": None, "max_instances": 1}
        )
        for job in jobs:
            begin = {"next_run_time": datetime.now(UTC)} if job.at_once else {}
            self._scheduler.add_job(job.action, "interval", seconds=job.interval_s, id=job.id, **begin)
        self._scheduler.start()

    def report_every(self, interval_s: float) -> None:
        """Change the interval of the report."""
        self._scheduler.reschedule_job(_REPORT, trigger="interval", seconds=interval_s)

    def look_at_the_link_every(self, interval_s: float) -> None:
        """The same for what the link costs; looks at once."""
        self._scheduler.reschedule_job(_LINK, trigger="interval", seconds=interval_s)
        self._scheduler.modify_job(_LINK, next_run_time=datetime.now(UTC))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._scheduler.remove_all_jobs()  # or the next one that is due would find its executor closed
        self._scheduler.shutdown(wait=False)
