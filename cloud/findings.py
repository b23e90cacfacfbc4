"""From detectors' transitions to anomalies: raised once, extended while they last, closed, reopened if soon back.

An anomaly's id is made of asset, detector, subject and opening time, so a replay raises the same one again and
not another. Within `COOL_DOWN_MS` of its closing a returning finding is the same anomaly (ISA-18.2 calls the
contrary chattering); rising severity is shown at once.
"""

from collections.abc import Iterable
from typing import Any, Final

import numpy as np

from cloud import encoding
from cloud.detect import Transition
from cloud.detectors.base import SEVERITIES
from cloud.twin import Closed, Finding, Twin
from wire import catalogue

COOL_DOWN_MS: Final = 24 * 3_600_000
EXTEND_EVERY_MS: Final = 5 * 60_000
"""How finely `last` is kept: a multiple of this, so that it does not depend on how the log was cut."""


def apply(twin: Twin, transitions: list[Transition], newest_ms: int) -> list[dict[str, Any]]:
    """Change the twin's findings; returns what changed of which anomaly, in order, times in ms.

    A raised or closed anomaly comes with all its fields (evidence when raised), one that lasts only with `last_ms`.
    """
    changed = [
        _close(twin, transition) if transition.after == 0 else _raise(twin, transition) for transition in transitions
    ]
    for finding in twin.findings.values():
        last_ms = newest_ms - newest_ms % EXTEND_EVERY_MS
        if last_ms > finding.last_ms:
            finding.last_ms = last_ms
            changed.append({"_id": finding.anomaly_id, "last_ms": last_ms})
    twin.closed = {key: closed for key, closed in twin.closed.items() if newest_ms - closed.resolved_ms < COOL_DOWN_MS}
    return changed


def _raise(twin: Twin, transition: Transition) -> dict[str, Any]:
    detector = transition.detector
    key = (detector.name, detector.subjects[transition.subject])
    finding = twin.findings.get(key)
    closed = twin.closed.pop(key, None)
    if finding is not None:
        anomaly_id, since_ms = finding.anomaly_id, finding.since_ms
    elif closed is not None and transition.ts_ms - closed.resolved_ms < COOL_DOWN_MS:
        anomaly_id, since_ms = closed.anomaly_id, closed.since_ms
    else:
        anomaly_id, since_ms = ":".join((twin.asset_id, *key, str(transition.ts_ms))), transition.ts_ms
    summary = detector.summary(transition.subject, transition.values)
    finding = Finding(anomaly_id, *key, SEVERITIES[transition.after], since_ms, summary, transition.ts_ms)
    twin.findings[key] = finding
    return _anomaly(twin, transition, finding, "open") | {"evidence": dict(_evidence(transition))}


def _close(twin: Twin, transition: Transition) -> dict[str, Any]:
    key = (transition.detector.name, transition.detector.subjects[transition.subject])
    finding = twin.findings.pop(key)
    twin.closed[key] = Closed(finding.anomaly_id, finding.since_ms, transition.ts_ms)
    return _anomaly(twin, transition, finding, "resolved")


def _anomaly(twin: Twin, transition: Transition, finding: Finding, status: str) -> dict[str, Any]:
    return {
        "_id": finding.anomaly_id,
        "asset_id": twin.asset_id,
        "kind": str(twin.kind),
        "detector": finding.detector,
        "subject": finding.subject,
        "severity": finding.severity,
        "status": status,
        "opened_ms": finding.since_ms,
        "last_ms": transition.ts_ms,
        "resolved_ms": transition.ts_ms if status == "resolved" else None,
        "summary": finding.summary,
        "advice": transition.detector.advice,
    }


def _evidence(transition: Transition) -> Iterable[tuple[str, catalogue.Value]]:
    for path, number in zip(transition.detector.inputs, transition.values.tolist(), strict=True):
        if not np.isnan(number):
            yield path, encoding.as_value(catalogue.BY_PATH[path], number)
