"""What a detector is: a judge of many assets at once, and the latch that turns judgements into findings.

A detector says, for each asset and subject (a wheel, say), how bad it looks at this sample. The latch decides
when that is worth a person's attention: a level must hold for a while before a finding opens, and looking well
must hold for a while before it closes (hysteresis); in the band between, nothing changes. State lives in one
array per detector, `[asset, subject, column]`, and travels with the twin.
"""

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
_CANDIDATE: Final = 1
_SINCE: Final = 2


class Detector(Protocol):
    """One kind of trouble. `judge` gets `now_s [n]`, `values [n, inputs]` (NaN where absent) and the detector's
    own columns `memory [n, subjects, columns]`, which it may change; it returns levels `[n, subjects]`."""

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
    def judge(self, now_s: Floats, values: Floats, memory: Floats) -> Levels: ...
    def summary(self, subject: int, values: Floats) -> str:
        """One line for people about the inputs `values [inputs]` of one asset."""
        ...


class Change(NamedTuple):
    """Rows and subjects whose open severity changed, with the severity before and after (0: none)."""

    row: int
    subject: int
    before: int
    after: int


def latch(now_s: Floats, levels: Levels, state: Floats, raise_after_s: float, clear_after_s: float) -> list[Change]:
    """Apply levels `[n, subjects]` to latch state `[n, subjects, 3]` (open severity, candidate, since when).

    A candidate that differs from the open severity must hold: `raise_after_s` to open or escalate,
    `clear_after_s` to close. A milder alarm than the open one keeps the finding as it is: severity only rises.
    """
    opened, candidate, since = state[..., OPEN], state[..., _CANDIDATE], state[..., _SINCE]
    level = levels.astype(np.float64)
    target = np.where((levels == HOLD) | ((level > WELL) & (level <= opened)), opened, level)
    # Flickering between two alarm levels is one alarm: the clock runs on, at the milder of the two.
    goes_on = (target > opened) & (candidate > opened)
    begins = ~goes_on & (target != candidate)
    candidate[...] = np.where(goes_on, np.minimum(candidate, target), target)
    since[...] = np.where(begins, now_s[:, None], since)
    held_s = now_s[:, None] - since
    due = (candidate != opened) & (held_s >= np.where(candidate > opened, raise_after_s, clear_after_s))
    changes = [
        Change(int(row), int(subject), int(opened[row, subject]), int(candidate[row, subject]))
        for row, subject in zip(*np.nonzero(due), strict=True)
    ]
    opened[...] = np.where(due, candidate, opened)
    return changes
