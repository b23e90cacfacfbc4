"""Anomalies: which, since when. Reads only."""

from datetime import datetime
from typing import Final, NamedTuple

from pymongo.errors import ExecutionTimeout

from cloud.queries import conditions, parsing
from cloud.queries.conditions import Condition
from cloud.queries.faults import Fault, unknown
from cloud.queries.reading import Document, Reader
from cloud.validators import ANOMALY_STATUSES, SEVERITIES

ALL: Final = "all"


class Options(NamedTuple):
    """The options of `anomalies list`, as they were typed."""

    status: str = "open"
    severity: tuple[str, ...] = ()
    detector: str | None = None
    asset: str | None = None
    since: str | None = None


class Found(NamedTuple):
    """The answer. `matched` is None when counting took too long: then there are more than shown."""

    anomalies: list[Document]
    matched: int | None


def build(options: Options, detectors: tuple[str, ...], now: datetime) -> Condition | list[Fault]:
    """The condition, or all that is wrong with the options. Pure.

    Status and severity are always named, if need be all of them, so that the index that begins with them serves.
    """
    statuses = ANOMALY_STATUSES if options.status == ALL else (options.status,)
    faults = [] if set(statuses) <= set(ANOMALY_STATUSES) else [_unknown_status(options.status)]
    severities = parsing.levels("--severity", options.severity, SEVERITIES)
    since = None if options.since is None else parsing.duration(options.since)
    if isinstance(severities, Fault):
        faults.append(severities)
    if isinstance(since, Fault):
        faults.append(Fault(f"--since: {since.text}"))
    detector = None if options.detector is None else conditions.detector(options.detector)
    if detector is not None and detector not in detectors:
        faults.append(unknown("--detector", detector, detectors))
    if faults or isinstance(severities, Fault) or isinstance(since, Fault):
        return faults
    condition: Condition = {"status": {"$in": list(statuses)}, "severity": {"$in": severities or list(SEVERITIES)}}
    if detector is not None:
        condition["detector"] = {"$eq": detector}
    if options.asset is not None:
        condition["asset_id"] = {"$eq": options.asset}
    if since is not None:
        condition["opened"] = {"$gte": now - since}
    return condition


def find(reader: Reader, condition: Condition, limit: int) -> Found:
    """The last opened first."""
    anomalies = reader.find("anomalies", condition, [("opened", -1)], limit + 1)
    if len(anomalies) <= limit:
        return Found(anomalies, len(anomalies))
    try:
        return Found(anomalies[:limit], reader.count("anomalies", condition))
    except ExecutionTimeout:
        return Found(anomalies[:limit], None)


def _unknown_status(status: str) -> Fault:
    return unknown("--status", status, (*ANOMALY_STATUSES, ALL))
