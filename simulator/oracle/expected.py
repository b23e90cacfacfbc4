"""What must be true of one twin."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from wire.messages import LifecycleStep, Role

Value = Any


class At(NamedTuple):
    """A value and when it was so."""

    ts_ms: int
    value: Value


@dataclass(slots=True)
class Count:
    """How often: `sure` acknowledged, and `open` ones that may or may not have arrived."""

    sure: int = 0
    open: int = 0

    def add(self, amount: int, acknowledged: bool) -> None:
        if acknowledged:
            self.sure += amount
        else:
            self.open += amount

    def copy(self) -> "Count":
        return Count(self.sure, self.open)

    @property
    def most(self) -> int:
        return self.sure + self.open


@dataclass(slots=True)
class Distinct:
    """Which sequences of one session were sent: all below `next`, and the `later` ones."""

    next: int = 0
    later: set[int] = field(default_factory=set)

    def add(self, seq: int) -> bool:
        """False when it was there already."""
        if seq < self.next or seq in self.later:
            return False
        self.later.add(seq)
        while self.next in self.later:
            self.later.remove(self.next)
            self.next += 1
        return True


@dataclass(slots=True)
class Expected:
    """One asset. `signals` from what was acknowledged; `maybe` are values that would be as right."""

    asset_id: str
    signals: dict[str, At] = field(default_factory=dict)
    maybe: dict[str, list[At]] = field(default_factory=dict)
    messages: Count = field(default_factory=Count)
    samples: Count = field(default_factory=Count)
    unreadable: int = 0
    """Messages that nobody can read: if they were numbered, their numbers are missing."""
    dropped: int = 0
    """Messages that the device never sent: their numbers are missing, too."""
    events: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What was told, by the id that the database gives it."""
    maybe_events: dict[str, dict[str, Any]] = field(default_factory=dict)
    connection: tuple[int, bool, str] | None = None
    """(when it was born, offline, session) of the session born last by the device's clock, as it said last."""
    connection_is_sure: bool = True
    software: str = ""
    """What the session born last said that it runs."""
    updated: dict[str, Any] | None = None
    """The last new firmware that it was given."""
    roles: dict[str, Role] = field(default_factory=dict)
    steps: dict[tuple[int, str], LifecycleStep] = field(default_factory=dict)
    faults: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """By detector."""
    is_followed: bool = False
    """Whether all that it sent is kept in `series`, as for an asset with a fault."""
    series: dict[str, list[At]] = field(default_factory=dict)
    """All acknowledged samples of an asset with a fault, or of one that is followed, by path."""
    sessions: dict[tuple[str, str], Distinct] = field(default_factory=dict)
