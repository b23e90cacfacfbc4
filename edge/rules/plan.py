"""A rule set made ready for use: patterns resolved against the catalogue, conditions compiled, faults found."""

import difflib
import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec

from edge.rules import conditions, faults
from edge.rules.conditions import Condition
from edge.rules.syntax import ConditionError
from wire import catalogue
from wire.catalogue import Signal
from wire.collection import (
    AnyRule,
    Capture,
    Collecting,
    Fault,
    KeepChanges,
    KeepInterval,
    KeepNone,
    RuleSet,
    SetVersion,
)
from wire.topics import Kind

UNNAMED: Final = "unnamed"
"""Stands for a rule in metrics: signals that no rule names."""


class Scope(NamedTuple):
    """Which assets (none named: all of a kind), which signals by catalogue number, from when to when (ms)."""

    kind: Kind
    ids: frozenset[str]
    prefixes: tuple[str, ...]
    numbers: frozenset[int]
    starts_ms: float
    expires_ms: float

    def takes(self, kind: Kind, asset_id: str) -> bool:
        """Whether an asset is meant."""
        if kind is not self.kind:
            return False
        named = self.ids or self.prefixes
        return not named or asset_id in self.ids or asset_id.startswith(self.prefixes)

    def is_active(self, now_ms: float) -> bool:
        """By the gateway's clock, whatever it does. (To one that was never set all frames are from the future.)"""
        return self.starts_ms <= now_ms < self.expires_ms


_ALWAYS: Final = Scope(Kind.VEHICLE, frozenset(), (), frozenset(), -math.inf, math.inf)


@dataclass(slots=True, eq=False)
class Collector:
    """How samples are judged, by their age and distance from the last one sent of the same signal.

    Sent when at least `snapshot_ms` older; else withheld when less than `interval_ms` older; else sent when it
    differs by more than the deadband. A negative deadband: any sample differs. `is_silent`: none is ever sent.
    """

    name: str
    scope: Scope
    deadband: float = -1.0
    fraction: float = 0.0
    snapshot_ms: float = math.inf
    interval_ms: float = 0.0
    is_silent: bool = False
    kept: int = 0
    withheld: int = 0

    @property
    def keeps_all(self) -> bool:
        """Whether it never withholds anything."""
        return self.deadband < 0 and self.interval_ms == 0 and not self.is_silent


@dataclass(slots=True, eq=False)
class Trap:
    """A capture. Times in ms."""

    name: str
    scope: Scope
    condition: Condition
    while_true: bool
    before_ms: int
    after_ms: int
    gap_ms: int
    urgent: bool
    captures: int = 0
    samples: int = 0
    suppressed: int = 0


@dataclass(slots=True, eq=False)
class Plan:
    """A set in use. `times_ms`: when rules start or expire, by the gateway's clock."""

    rules: RuleSet
    digest: str
    collectors: list[Collector]
    traps: list[Trap]
    unnamed: Collector
    times_ms: list[float]

    @property
    def version(self) -> SetVersion:
        """What the set calls itself."""
        return self.rules.version

    def active(self, now_ms: float) -> set[str]:
        """The names of the rules that count at a moment."""
        scopes = {each.name: each.scope for each in self.collectors} | {each.name: each.scope for each in self.traps}
        return {name for name, scope in scopes.items() if scope.is_active(now_ms)}


def make(value: Any) -> Plan | list[Fault]:
    """The plan of a set given as plain values, or everything that is wrong with it."""
    rules = faults.read(value)
    if isinstance(rules, list):
        return rules
    maker = _Maker()
    for index, rule in enumerate(rules.rules):
        maker.add(rule, f"rules[{index}]")
    if maker.faults:
        return maker.faults[: faults.FAULTS_MAX]
    scopes = [each.scope for each in maker.collectors] + [each.scope for each in maker.traps]
    times = {time for scope in scopes for time in (scope.starts_ms, scope.expires_ms) if math.isfinite(time)}
    unnamed = Collector(UNNAMED, _ALWAYS, is_silent=rules.unnamed == "drop")
    return Plan(rules, digest_of(rules), maker.collectors, maker.traps, unnamed, sorted(times))


def digest_of(rules: RuleSet) -> str:
    """See `RulesStatus`: over all fields, so that spelling out a default changes nothing."""
    named = [{"mode": rule.__struct_config__.tag, **msgspec.structs.asdict(rule)} for rule in rules.rules]
    plain = {"version": rules.version, "unnamed": rules.unnamed, "rules": named}
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def matching(pattern: str, kind: Kind) -> frozenset[int]:
    """Catalogue numbers of the signals of a kind that a pattern names."""
    wanted = pattern.split(".")
    below = wanted[-1] == "*"
    return frozenset(
        signal.number
        for signal in catalogue.SIGNALS
        if signal.kind is kind and _matches(wanted[:-1] if below else wanted, below, signal.path.split("."))
    )


def _matches(wanted: list[str], below: bool, path: list[str]) -> bool:
    if len(path) <= len(wanted) if below else len(path) != len(wanted):
        return False
    return all(due in ("*", given) for due, given in zip(wanted, path, strict=False))


class _Maker:
    """Collects rules and faults."""

    def __init__(self) -> None:
        self.collectors: list[Collector] = []
        self.traps: list[Trap] = []
        self.faults: list[Fault] = []
        self._names: set[str] = {UNNAMED}

    def add(self, rule: AnyRule, path: str) -> None:
        if rule.name in self._names:
            self._fault(f"{path}.name", f"{rule.name!r} is taken", "give each rule a name of its own")
        self._names.add(rule.name)
        starts_ms = self._moment(rule.starts, f"{path}.starts")
        expires_ms = self._moment(rule.expires, f"{path}.expires")
        if starts_ms is not None and expires_ms is not None and expires_ms <= starts_ms:
            self._fault(f"{path}.expires", "not after starts", "give a later time, or leave one of them out")
        scope = self._scope(rule, path)._replace(
            starts_ms=-math.inf if starts_ms is None else starts_ms,
            expires_ms=math.inf if expires_ms is None else expires_ms,
        )
        if isinstance(rule, Capture):
            self._add_trap(rule, scope, path)
        else:
            self.collectors.append(_collector(rule, scope))
            self._check_deadband(rule, scope, path)

    def _scope(self, rule: AnyRule, path: str) -> Scope:
        numbers: set[int] = set()
        for index, pattern in enumerate(rule.signals):
            found = matching(pattern, rule.kind)
            numbers |= found
            if not found:
                problem = f"{pattern!r} names no signal of a {rule.kind}"
                self._fault(f"{path}.signals[{index}]", problem, _closest(pattern, rule.kind))
        return Scope(
            kind=rule.kind,
            ids=frozenset(asset for asset in rule.assets if not asset.endswith("*")),
            prefixes=tuple(asset[:-1] for asset in rule.assets if asset.endswith("*")),
            numbers=frozenset(numbers),
            starts_ms=-math.inf,
            expires_ms=math.inf,
        )

    def _moment(self, text: str | None, path: str) -> float | None:
        """In ms since the Unix epoch."""
        if text is None:
            return None
        try:
            return datetime.fromisoformat(text).timestamp() * 1000
        except (ValueError, OverflowError) as error:
            self._fault(path, str(error), "give a time as 2026-05-01T08:00:00Z")
            return None

    def _check_deadband(self, rule: Collecting, scope: Scope, path: str) -> None:
        is_set = isinstance(rule, KeepChanges) and (rule.deadband > 0 or rule.deadband_percent > 0)
        if is_set and scope.numbers and not any(catalogue.BY_NUMBER[each].is_numeric for each in scope.numbers):
            self._fault(f"{path}.deadband", "none of the signals is a number", "leave it out: every change is sent")

    def _add_trap(self, rule: Capture, scope: Scope, path: str) -> None:
        try:
            condition = conditions.compile_condition(rule.condition, rule.kind)
        except ConditionError as error:
            self._fault(f"{path}.condition", str(error), "see docs/collection-rules.md for what conditions may say")
            return
        self.traps.append(
            Trap(
                rule.name,
                scope,
                condition,
                rule.trigger == "while_true",
                round(rule.before_s * 1000),
                round(rule.after_s * 1000),
                round(rule.gap_s * 1000),
                rule.priority == "urgent",
            )
        )

    def _fault(self, path: str, problem: str, advice: str) -> None:
        self.faults.append(Fault(path, problem, advice))


def _collector(rule: Collecting, scope: Scope) -> Collector:
    if isinstance(rule, KeepChanges):
        interval_ms = (rule.interval_s or 0) * 1000
        fraction = rule.deadband_percent / 100
        return Collector(rule.name, scope, rule.deadband, fraction, rule.snapshot_s * 1000, interval_ms)
    if isinstance(rule, KeepInterval):
        return Collector(rule.name, scope, interval_ms=rule.interval_s * 1000)
    return Collector(rule.name, scope, is_silent=isinstance(rule, KeepNone))


def _closest(pattern: str, kind: Kind) -> str:
    paths: Iterable[Signal] = (signal for signal in catalogue.SIGNALS if signal.kind is kind)
    close = difflib.get_close_matches(pattern, [signal.path for signal in paths], 1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else "give a path of the catalogue; * stands for what lies below"
