"""`SIGNAL OPERATOR VALUE` as a person writes it → a typed comparison → a MongoDB condition. Pure.

What was typed is only ever compared as a value of the signal's type: it cannot become an operator.
"""

import re
from typing import Any, Final, NamedTuple

from cloud import search
from cloud.indexes import value_field
from cloud.queries.faults import Fault, closest
from wire import catalogue, limits
from wire.catalogue import Signal, Value
from wire.topics import Kind

_EXPRESSION: Final = re.compile(r"\s*([A-Za-z0-9_.]+)\s*(<=|>=|!=|==|=|<|>)\s*(.*?)\s*", re.DOTALL)
_NUMBER: Final = re.compile(r"([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)\s*(.*)", re.DOTALL)
_DTC: Final = re.compile(r"[PCBU][0-3][0-9A-F]{3}(-[0-9A-F]{2})?")
_DTC_LIST: Final = "Vehicle.Diagnostics.DTCList"
_ROOTS: Final = tuple(f"{kind.capitalize()}." for kind in Kind)
_OPERATORS: Final = {"<": "$lt", "<=": "$lte", ">": "$gt", ">=": "$gte", "=": "$eq", "!=": "$ne"}
_BOOLEANS: Final = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_UNIT_ALIASES: Final = {"%": "percent", "°c": "celsius", "c": "celsius", "°": "degrees"}


class Comparison(NamedTuple):
    """`signal operator value`; the operator is one of `< <= > >= = !=`. On lists `=` means contains."""

    signal: Signal
    operator: str
    value: Value

    def condition(self) -> dict[str, Any]:
        """The MongoDB condition: the index of the coarse copy finds what may match, the value itself decides. `!=`
        wants a value that differs: a signal never heard of is not one."""
        comparison: dict[str, Any] = {_OPERATORS[self.operator]: self.value}
        if self.operator == "!=":
            comparison["$exists"] = True
        exactly = {value_field(self.signal): comparison}
        return {**search.copied(self.signal, self._coarsely()), **exactly} if self.signal.search else exactly

    def _coarsely(self) -> dict[str, Any] | None:
        """What holds of every copy that is within a step of a value that matches."""
        if self.operator == "!=":
            return None
        if not self.signal.search_step or not isinstance(self.value, (int, float)):
            return {_OPERATORS[self.operator]: self.value}
        within = 1.001 * self.signal.search_step  # a little more, since fractions are rounded when they are compared
        low, high = {"$gte": self.value - within}, {"$lte": self.value + within}
        return {"<": high, "<=": high, ">": low, ">=": low}.get(self.operator, {**low, **high})

    @property
    def direction(self) -> int | None:
        """The telling order of several matches: the most extreme first; none where all are equal."""
        if self.operator == "=" or self.signal.type == "string[]":
            return None
        return -1 if self.operator in (">", ">=") else 1


def known(signal: Signal) -> dict[str, Any]:
    """The condition that there is a value."""
    exactly = {value_field(signal): {"$exists": True}}
    return {**search.copied(signal), **exactly} if signal.search else exactly


def parse(expression: str) -> Comparison | Fault:
    """Read an expression such as `LowVoltageBattery.CurrentVoltage<12.2`."""
    match = _EXPRESSION.fullmatch(expression)
    if match is None:
        return Fault(f"{expression!r:.80} is not SIGNAL OPERATOR VALUE; operators are < <= > >= = !=")
    name, operator, text = match.groups()
    signal = resolve(name)
    if isinstance(signal, Fault):
        return signal
    operator = "=" if operator == "==" else operator
    if operator not in ("=", "!=") and not signal.is_numeric:
        return Fault(f"{signal.path} is {_described(signal)}: only = and != compare it")
    value = _typed(signal, operator, text)
    return value if isinstance(value, Fault) else Comparison(signal, operator, value)


def resolve(name: str) -> Signal | Fault:
    """The signal of a path, of a path without `Vehicle.` or `Station.`, or of a path's end that only one has."""
    folded = name.casefold()
    paths = {signal.path.casefold(): signal for signal in catalogue.SIGNALS}
    for path in (folded, *(root.casefold() + folded for root in _ROOTS)):
        if path in paths:
            return paths[path]
    ending = [signal for path, signal in paths.items() if path.endswith(f".{folded}")]
    if len(ending) == 1:
        return ending[0]
    if ending:
        return Fault(f"{name!r} may be any of: " + ", ".join(signal.path for signal in ending))
    ends = {end: signal.path for signal in catalogue.SIGNALS for end in _ends(signal.path)}
    near = closest(name, ends)
    listed = "closest: " + ", ".join(near) if near else "paths are those of VSS and OCPP, such as Vehicle.Speed"
    return Fault(f"no signal {name!r:.80}; {listed}")


def _ends(path: str) -> list[str]:
    parts = path.split(".")
    return [".".join(parts[start:]) for start in range(len(parts))]


def _typed(signal: Signal, operator: str, text: str) -> Value | Fault:
    if signal.is_numeric:
        return _number(signal, operator, text)
    if signal.type == "boolean":
        truth = _BOOLEANS.get(text.casefold())
        return Fault(f"{signal.path} is true or false, not {text!r:.40}") if truth is None else truth
    if signal.allowed:
        folded = {allowed.casefold(): allowed for allowed in signal.allowed}
        allowed = folded.get(text.casefold())
        return allowed or Fault(f"{signal.path} is one of {', '.join(sorted(signal.allowed))}, not {text!r:.40}")
    if signal.path == _DTC_LIST:
        code = text.upper()
        return code if _DTC.fullmatch(code) else Fault(f"{text!r:.40} is no trouble code such as P0301 or P0301-1A")
    if not text or len(text) > limits.TEXT_CHARS_MAX:
        return Fault(f"{signal.path}: a text of 1 to {limits.TEXT_CHARS_MAX} characters is due")
    return text


def _number(signal: Signal, operator: str, text: str) -> Value | Fault:
    match = _NUMBER.fullmatch(text)
    if match is None:
        return Fault(f"{signal.path} is {_described(signal)}, not {text!r:.40}")
    unit = match[2].casefold()
    if unit and _UNIT_ALIASES.get(unit, unit) != signal.unit.casefold():
        return Fault(f"{signal.path} is in {signal.unit or 'no unit'}, not in {match[2]!r:.40}")
    number = float(match[1])
    if not signal.min <= number <= signal.max:
        return Fault(f"{signal.path} is always within {signal.min:g}..{signal.max:g} {signal.unit}".rstrip())
    if signal.type in ("float", "double"):
        return number
    if number.is_integer():
        return int(number)
    return Fault(f"{signal.path} has whole numbers: none is {match[1]}") if operator in ("=", "!=") else number


def _described(signal: Signal) -> str:
    if signal.is_numeric:
        return f"a number in {signal.unit}" if signal.unit else "a number"
    return {"boolean": "true or false", "string[]": "a list"}.get(signal.type, "a text")
