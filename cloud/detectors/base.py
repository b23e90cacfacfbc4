"""What a detector is: a judge of many assets at once, and the latch that turns judgements into findings.

A detector says, for each asset and subject (a wheel, say), how bad it looks at this sample. The latch decides
when that is worth a person's attention: a level must hold for a while before a finding opens, and looking well
must hold for a while before it closes (hysteresis); in the band between, nothing changes. The state,
`[subject, column]` per detector, travels with the twin; the latch's columns are open severity, candidate severity
and since when it is one, in s.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from wire.topics import Kind

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Levels = NDArray[np.int8]
Indices = NDArray[np.intp]

HOLD: Final = -1
"""No opinion: a value is absent, or it lies in the band between alarm and well."""
WELL: Final = 0
WATCH: Final = 1
SERVICE: Final = 2
CRITICAL: Final = 3
SEVERITIES: Final = {WATCH: "watch", SERVICE: "service", CRITICAL: "critical"}
LEVELS: Final = {severity: level for level, severity in SEVERITIES.items()}

LATCH_COLUMNS: Final = 3
OPEN: Final = 0
"""The latch's column with the open severity."""


class Detector(Protocol):
    """One kind of trouble.

    `judge` gets moments, rows of one asset lying together in log order from `starts [assets]` on: `now_s [rows]`,
    `values [rows, inputs]` (NaN where absent), and the detector's own columns `memory [assets, subjects, columns]`,
    which it brings up to date. It returns levels `[rows, subjects]`.
    """

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> Kind: ...
    @property
    def inputs(self) -> tuple[str, ...]:
        """Catalogue paths, the columns of `values`."""

    @property
    def subjects(self) -> tuple[str, ...]: ...
    @property
    def memory_columns(self) -> int: ...
    @property
    def raise_after_s(self) -> float: ...
    @property
    def clear_after_s(self) -> float: ...
    @property
    def advice(self) -> str: ...
    def judge(self, now_s: Floats, values: Floats, starts: Indices, memory: Floats) -> Levels: ...
    def summary(self, subject: int, values: Floats) -> str:
        """One line for people about the inputs `values [inputs]` of one asset."""
        ...


class Change(NamedTuple):
    """A subject's open severity changed, from and to (0: none)."""

    subject: int
    before: int
    after: int


def latch(now_s: Floats, levels: Levels, state: Floats, detector: Detector) -> Iterator[tuple[int, Change]]:
    """Walk one asset's levels `[rows, subjects]`; changes `state [subjects, columns]`, yields (row, change).

    A target that differs from the open severity must hold: `raise_after_s` to open or escalate, `clear_after_s` to
    close. A milder alarm than the open one keeps the finding as it is: severity only rises while it is open.
    """
    for subject in range(levels.shape[1]):
        opened, candidate, since_s = state[subject, :LATCH_COLUMNS].tolist()
        for row, (moment_s, level) in enumerate(zip(now_s.tolist(), levels[:, subject].tolist(), strict=True)):
            target = opened if level == HOLD or WELL < level <= opened else level
            # Flickering between two alarm levels is one alarm: the clock runs on, at the milder of the two.
            if target > opened and candidate > opened:
                candidate = min(candidate, target)
            elif target != candidate:
                candidate, since_s = target, moment_s
            hold_s = detector.raise_after_s if candidate > opened else detector.clear_after_s
            if candidate != opened and moment_s - since_s >= hold_s:
                yield row, Change(subject, int(opened), int(candidate))
                opened = candidate
        state[subject, :LATCH_COLUMNS] = opened, candidate, since_s
