"""Runs the detectors over a batch: round by round, the n-th news of every asset at once, each in log order.

A round's arrays hold one row per asset, so a detector's cost is shared by all assets of the batch, and the result
does not depend on how the log was cut into batches: each sample is judged once, with the values known by then.
"""

from dataclasses import dataclass, field
from itertools import groupby
from typing import Final, NamedTuple

import numpy as np

from cloud import encoding
from cloud.detectors import base
from cloud.detectors.base import Change, Detector, Floats
from cloud.detectors.registry import DETECTORS
from cloud.twin import Twin
from wire import catalogue
from wire.catalogue import Value

_INPUTS: Final = sorted({catalogue.BY_PATH[path].number for detector in DETECTORS for path in detector.inputs})
_COLUMN_OF: Final = {number: column for column, number in enumerate(_INPUTS)}
_SIGNAL_OF: Final = [catalogue.BY_NUMBER[number] for number in _INPUTS]


class Transition(NamedTuple):
    """A finding opened, rose or closed on one asset: `values` are the detector's inputs at that moment."""

    detector: Detector
    subject: int
    before: int
    after: int
    ts_ms: int
    values: Floats


@dataclass(slots=True)
class Job:
    """An asset's share of a batch. `inputs` are its detector inputs before the batch, from `inputs_of`."""

    twin: Twin
    inputs: list[float]
    advances: list[tuple[int, dict[int, Value]]]
    transitions: list[Transition] = field(default_factory=list)


def inputs_of(twin: Twin) -> list[float]:
    """A twin's detector inputs as they are now; to be taken before the fold changes it."""
    held = twin.signals
    return [
        encoding.as_number(signal, held[signal.number][0]) if signal.number in held else np.nan for signal in _SIGNAL_OF
    ]


def detect(jobs: list[Job]) -> None:
    """Judge every advance of every job: appends transitions, and updates the twins' detector states."""
    by_kind = sorted(jobs, key=lambda job: job.twin.kind)
    for kind, same_kind in groupby(by_kind, key=lambda job: job.twin.kind):
        _detect_kind(list(same_kind), [detector for detector in DETECTORS if detector.kind is kind])


def _detect_kind(jobs: list[Job], detectors: list[Detector]) -> None:
    values = np.array([job.inputs for job in jobs])
    states = [_load_states(jobs, detector) for detector in detectors]
    columns = [
        np.array([_COLUMN_OF[catalogue.BY_PATH[path].number] for path in detector.inputs]) for detector in detectors
    ]
    touched = np.zeros((len(jobs), len(detectors)), dtype=bool)
    for turn in range(max((len(job.advances) for job in jobs), default=0)):
        fresh = _next_values(jobs, turn, values)
        for index, detector in enumerate(detectors):
            rows = np.nonzero(fresh[:, columns[index]].any(axis=1))[0]
            if rows.size:
                touched[rows, index] = True
                _judge(detector, jobs, rows, turn, values[np.ix_(rows, columns[index])], states[index])
    for index, detector in enumerate(detectors):
        for row in np.nonzero(touched[:, index])[0]:
            jobs[row].twin.detectors[detector.name] = states[index][row].ravel().tolist()


def _next_values(jobs: list[Job], turn: int, values: Floats) -> base.Flags:
    """Write the `turn`-th advance of each job into `values`; returns which cells are fresh."""
    fresh = np.zeros(values.shape, dtype=bool)
    for row, job in enumerate(jobs):
        if turn < len(job.advances):
            for number, value in job.advances[turn][1].items():
                column = _COLUMN_OF.get(number)
                if column is not None:
                    values[row, column] = encoding.as_number(_SIGNAL_OF[column], value)
                    fresh[row, column] = True
    return fresh


def _judge(
    detector: Detector, jobs: list[Job], rows: base.Indices, turn: int, inputs: Floats, states: Floats
) -> None:  # fmt: skip
    now_ms = [jobs[row].advances[turn][0] for row in rows]
    now_s = np.array(now_ms) / 1000.0
    state = states[rows]
    levels = detector.judge(now_s, inputs, state[..., base.LATCH_COLUMNS :])
    latches = state[..., : base.LATCH_COLUMNS]
    for change in base.latch(now_s, levels, latches, detector.raise_after_s, detector.clear_after_s):
        jobs[rows[change.row]].transitions.append(_transition(detector, change, now_ms, inputs))
    states[rows] = state


def _transition(detector: Detector, change: Change, now_ms: list[int], inputs: Floats) -> Transition:
    row = change.row
    return Transition(detector, change.subject, change.before, change.after, now_ms[row], inputs[row].copy())


def _load_states(jobs: list[Job], detector: Detector) -> Floats:
    """Detector states `[n, subjects, columns]`; what is open comes from the twin's findings, so the two agree."""
    shape = (len(detector.subjects), base.LATCH_COLUMNS + detector.memory_columns)
    size = shape[0] * shape[1]
    blank = [0.0] * size
    rows = [job.twin.detectors.get(detector.name, blank) for job in jobs]
    # A detector that changed its shape begins anew: an old state would be read as something else.
    states = np.array([row if len(row) == size else blank for row in rows]).reshape((-1, *shape))
    states[..., base.OPEN] = 0.0
    for row, job in enumerate(jobs):
        for (name, subject), finding in job.twin.findings.items():
            if name == detector.name and subject in detector.subjects:
                states[row, detector.subjects.index(subject), base.OPEN] = base.LEVELS[finding.severity]
    return states
