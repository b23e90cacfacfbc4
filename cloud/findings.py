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
    """Change the twin's findings; returns the anomalies (times in ms) that changed, each once, as they end up."""
    changed: dict[str, dict[str, Any]] = {}
    for transition in transitions:
        anomaly = _close(twin, transition) if transition.after == 0 else _raise(twin, transition)
        changed[anomaly["_id"]] = changed.get(anomaly["_id"], {}) | anomaly
    for finding in twin.findings.values():
        last_ms = newest_ms - newest_ms % EXTEND_EVERY_MS
        if last_ms > finding.last_ms:
            finding.last_ms = last_ms
            changed.setdefault(finding.anomaly_id, {"_id": finding.anomaly_id})["last_ms"] = last_ms
    twin.closed = {key: closed for key, closed in twin.closed.items() if newest_ms - closed.resolved_ms < COOL_DOWN_MS}
    return list(changed.values())


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
    severity = SEVERITIES[transition.after]
    summary = detector.summary(transition.subject, transition.values)
    twin.findings[key] = Finding(anomaly_id, *key, severity, since_ms, summary, transition.ts_ms)
    return {
        "_id": anomaly_id,
        "asset_id": twin.asset_id,
        "kind": str(twin.kind),
        "detector": key[0],
        "subject": key[1],
        "severity": severity,
        "status": "open",
        "opened_ms": since_ms,
        "last_ms": transition.ts_ms,
        "resolved_ms": None,
        "summary": summary,
        "advice": detector.advice,
        "evidence": dict(_evidence(transition)),
    }


def _close(twin: Twin, transition: Transition) -> dict[str, Any]:
    detector = transition.detector
    key = (detector.name, detector.subjects[transition.subject])
    finding = twin.findings.pop(key)
    twin.closed[key] = Closed(finding.anomaly_id, finding.since_ms, transition.ts_ms)
    return {
        "_id": finding.anomaly_id,
        "status": "resolved",
        "last_ms": transition.ts_ms,
        "resolved_ms": transition.ts_ms,
    }


def _evidence(transition: Transition) -> Iterable[tuple[str, catalogue.Value]]:
    for path, number in zip(transition.detector.inputs, transition.values.tolist(), strict=True):
        if not np.isnan(number):
            yield path, encoding.as_value(catalogue.BY_PATH[path], number)
