"""The signal catalogue: every path the contract knows, its number, type, unit and plausible range.

Vehicle paths are COVESA VSS 6.0 names; `Vehicle.Diagnostics.IsMILOn` and `LowVoltageBattery.StateOfHealth`
are our overlay. Station paths are OCPP 2.0.1 `Component.Variable` under `Station.`. Numbers never change
meaning: a frame may carry them instead of paths. Ranges are ours: outside them is a broken sensor.
"""

import csv
import math
import sys
from collections.abc import Callable, Mapping
from importlib import resources
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from wire import limits
from wire.malformed import Malformed, Reason
from wire.topics import Kind

VERSION: Final = "1"

_FLOATS: Final = frozenset({"float", "double"})
_FLOAT_TYPES: Final = frozenset({float, int})

Value = bool | int | float | str | list[str]

_INTEGER_RANGES: Final = {
    "uint8": (0, 2**8 - 1),
    "uint16": (0, 2**16 - 1),
    "uint32": (0, 2**32 - 1),
    "int32": (-(2**31), 2**31 - 1),
}


class Signal(NamedTuple):
    """One row of the catalogue. `search`: staff filter on it, so the twin store keeps a copy with an index;
    `search_step`: how far the value may move before the copy does.

    `is_numeric`: its values are numbers (booleans are not). `judge(value)`: see `checked`.
    """

    number: int
    path: str
    kind: Kind
    type: str
    unit: str
    min: float
    max: float
    allowed: frozenset[str]
    data_class: str
    search: bool
    search_step: float
    is_numeric: bool
    judge: Callable[[Any], Value | Malformed]


def _signal(row: Mapping[str, str]) -> Signal:
    low, high = _INTEGER_RANGES.get(row["type"], (-math.inf, math.inf))
    signal = Signal(
        number=int(row["number"]),
        path=row["path"],
        kind=Kind.VEHICLE if row["path"].startswith("Vehicle.") else Kind.STATION,
        type=row["type"],
        unit=row["unit"],
        min=float(row["min"]) if row["min"] else low,
        max=float(row["max"]) if row["max"] else high,
        allowed=frozenset(row["allowed"].split()),
        data_class=row["data_class"],
        search=row["search"] != "",
        search_step=float(row["search"]) if row["search"] not in ("", "yes") else 0.0,
        is_numeric=row["type"] in _INTEGER_RANGES or row["type"] in _FLOATS,
        judge=_never,
    )
    return signal._replace(judge=_judge_of(signal))


def _load() -> tuple[Signal, ...]:
    with resources.files("wire").joinpath("catalogue.csv").open(encoding="utf-8") as table:
        return tuple(_signal(row) for row in csv.DictReader(table))


def checked(signal: Signal, value: Any) -> Value | Malformed:
    """`value` as the catalogue wants it (integers widened where floats are due), or why not."""
    return signal.judge(value)


def _never(value: Any) -> Value | Malformed:
    raise AssertionError(value)


def _judge_of(signal: Signal) -> Callable[[Any], Value | Malformed]:
    """A judge per signal, made once: each value of each frame passes through one."""
    if signal.type in _FLOATS:
        return _float_judge(signal)
    if signal.is_numeric:
        return _integer_judge(signal)
    if signal.type == "boolean":
        return lambda value: value if type(value) is bool else _wrong_type(signal, value)
    if signal.type == "string":
        return lambda value: _text(signal, value)
    return lambda value: _texts(signal, value)


def _float_judge(signal: Signal) -> Callable[[Any], Value | Malformed]:
    low, high = max(signal.min, -sys.float_info.max), min(signal.max, sys.float_info.max)

    def judge(value: Any) -> Value | Malformed:
        # NaN fails the comparison, infinities lie outside; bool is not among the types
        if type(value) in _FLOAT_TYPES and low <= value <= high:
            return float(value)
        return _out_of_range(signal, value) if type(value) in _FLOAT_TYPES else _wrong_type(signal, value)

    return judge


def _integer_judge(signal: Signal) -> Callable[[Any], Value | Malformed]:
    low, high = signal.min, signal.max

    def judge(value: Any) -> Value | Malformed:
        if type(value) is not int and not (type(value) is float and value.is_integer()):
            return _wrong_type(signal, value)
        return int(value) if low <= value <= high else _out_of_range(signal, value)

    return judge


def _text(signal: Signal, value: Any) -> Value | Malformed:
    if type(value) is not str:
        return _wrong_type(signal, value)
    if signal.allowed and value not in signal.allowed:
        return Malformed(Reason.OUT_OF_RANGE, f"{signal.path}: {value[:40]!r} is none of {sorted(signal.allowed)}")
    if len(value) > limits.TEXT_CHARS_MAX:
        return Malformed(Reason.OUT_OF_RANGE, f"{signal.path}: {len(value)} characters")
    return value


def _texts(signal: Signal, value: Any) -> Value | Malformed:
    if type(value) is not list or not all(type(item) is str for item in value):
        return _wrong_type(signal, value)
    if len(value) > limits.LIST_ITEMS_MAX or any(len(item) > limits.TEXT_CHARS_MAX for item in value):
        return Malformed(Reason.OUT_OF_RANGE, f"{signal.path}: list or text too long")
    return value


def _out_of_range(signal: Signal, value: Any) -> Malformed:
    return Malformed(Reason.OUT_OF_RANGE, f"{signal.path}: {value!r:.40} not in {signal.min:g}..{signal.max:g}")


def _wrong_type(signal: Signal, value: Any) -> Malformed:
    return Malformed(Reason.WRONG_TYPE, f"{signal.path}: {type(value).__name__} where {signal.type} is due")


SIGNALS: Final = _load()
BY_PATH: Final[Mapping[str, Signal]] = MappingProxyType({signal.path: signal for signal in SIGNALS})
BY_NUMBER: Final[Mapping[int, Signal]] = MappingProxyType({signal.number: signal for signal in SIGNALS})
_BY_KEY: Final[Mapping[str | int, Signal]] = MappingProxyType(
    {key: signal for signal in SIGNALS for key in (signal.path, signal.number, str(signal.number))}
)


def find(key: str | int) -> Signal | None:
    """The signal of a path or number; JSON can only carry the number as text."""
    return None if type(key) is bool else _BY_KEY.get(key)
