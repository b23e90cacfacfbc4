"""Catalogue values as numbers, so that detectors work on arrays."""

import math
from typing import Final

from wire import catalogue
from wire.catalogue import Signal, Value

_CODES: Final = {
    signal.number: {text: float(code) for code, text in enumerate(sorted(signal.allowed))}
    for signal in catalogue.SIGNALS
}


def as_number(signal: Signal, value: Value) -> float:
    """Numbers as they are, booleans as 0 and 1, enumerations as `code_of`, lists as their length, other text NaN."""
    if isinstance(value, str):
        return _CODES[signal.number].get(value, math.nan)
    return float(len(value)) if isinstance(value, list) else float(value)


def code_of(path: str, text: str) -> float:
    """The number that stands for one of a signal's allowed texts."""
    return _CODES[catalogue.BY_PATH[path].number][text]


def as_value(signal: Signal, number: float) -> Value:
    """The value that a number stands for, as far as `as_number` kept it; a list's length stays a number."""
    if signal.type == "boolean":
        return bool(number)
    if signal.allowed:
        return sorted(signal.allowed)[int(number)]
    return number if signal.type in ("float", "double") else int(number)
