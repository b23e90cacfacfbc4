"""Whether the truths of several runs are of one world: what `people` told of the cars must be what `run` began with."""

from collections.abc import Sequence
from typing import Any

from simulator.errors import UnusableError
from simulator.truth import Truth


def check(truths: Sequence[Truth]) -> None:
    """Raises `UnusableError` where the lives and the telemetry of a seed disagree about who missed a service."""
    people, runs = _of(truths, "people"), _of(truths, "run")
    for told in people:
        for driven in runs:
            if told["seed"] == driven["seed"] and _missed(told) != _missed(driven):
                raise UnusableError(
                    f"of seed {told['seed']}, people of {_said(told)} but a run of {_said(driven)}: "
                    "who missed a service in their lives and who is overdue are not the same cars; give both the same"
                )


def _of(truths: Sequence[Truth], command: str) -> list[dict[str, Any]]:
    return [run for run in (truth.run() for truth in truths) if run.get("command") == command]


def _missed(run: dict[str, Any]) -> tuple[int, float] | None:
    """What decides which cars of a seed have missed their last service; None: no car has."""
    share = run["faults"]["service_missed"]
    return (run["vehicles"], share) if share else None


def _said(run: dict[str, Any]) -> str:
    return f"{run['vehicles']} vehicles and faults.service_missed {run['faults']['service_missed']:g}"
