"""Findings: those that had to be made, no others, and the health that a twin shows."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from simulator.oracle import findings
from simulator.oracle.expected import Expected

Document = Mapping[str, Any]

_WORSE_AND_WORSE: Final = ("ok", "watch", "service", "critical")


def differences(asset: Expected, twin: Document, anomalies: Sequence[Document]) -> Iterator[str]:
    """What is wrong about one asset's findings, and about what its twin shows of them."""
    yield from _findings(asset, anomalies)
    yield from _shown(twin.get("health") or {}, [one for one in anomalies if one.get("status") != "resolved"])


def _findings(asset: Expected, anomalies: Sequence[Document]) -> Iterator[str]:
    raised = Counter(str(anomaly["detector"]) for anomaly in anomalies)
    for detector, shown_ms in findings.required(asset).items():
        if not raised[detector]:
            names = ", ".join(fault["fault"] for fault in asset.faults[detector])
            yield f"{names} was visible for {shown_ms / 60_000:.0f} min, but there is no finding {detector}"
    for detector in sorted(raised.keys() - asset.faults.keys()):
        yield f"false alarm: {detector} found, nothing of the kind was broken"
    still = Counter((a["detector"], a.get("subject")) for a in anomalies if a.get("status") == "open")
    for (detector, subject), count in still.items():
        if count > 1:
            yield f"{detector} {subject or ''} is open {count} times"


def _shown(health: Document, unresolved: Sequence[Document]) -> Iterator[str]:
    """A twin shows what is not resolved; its status is the worst of it."""
    shown, due = {one["anomaly_id"] for one in health.get("open", [])}, {one["_id"] for one in unresolved}
    for hidden in sorted(due - shown):
        yield f"finding {hidden} is open, but its twin does not show it"
    for surplus in sorted(shown - due):
        yield f"the twin shows finding {surplus}, which is not open"
    worst = max((one["severity"] for one in unresolved), key=_WORSE_AND_WORSE.index, default="ok")
    if health.get("status", "ok") != worst:
        yield f"health is {health.get('status')!r}, expected {worst!r}"
