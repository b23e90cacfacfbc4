"""From texts of a row to values of the catalogue. What cannot be one is left out and counted."""

import math
from typing import Any, Final

from simulator.replay.mapping import SignalPart, ValuePart
from wire import catalogue
from wire.malformed import Malformed

_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off"})


class Skipped:
    """How many values were left out, by what they should have been."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def note(self, name: str) -> None:
        self.counts[name] = self.counts.get(name, 0) + 1

    @property
    def total(self) -> int:
        return sum(self.counts.values())


def number(part: ValuePart, text: str) -> float | None:
    """Scaled, offset, rounded; None for an empty text or one that is no finite number."""
    try:
        value = float(text) * part.scale + part.offset
    except ValueError:
        return None
    if not math.isfinite(value):
        return None
    return round(value, part.decimals) if part.decimals is not None else value


def signal_value(part: SignalPart, text: str, skipped: Skipped) -> Any:
    """The value of a signal, or None. An empty text is no value; anything else that is none is counted."""
    if text == "":
        return None
    signal = catalogue.BY_PATH[part.path]
    value: Any = text
    if part.above is not None:
        measured = number(part, text)
        value = None if measured is None else measured > part.above
    elif signal.type == "boolean":
        value = True if text.lower() in _TRUE else False if text.lower() in _FALSE else None
    elif signal.is_numeric:
        value = number(part, text)
        if value is not None and signal.type not in ("float", "double"):
            value = round(value)
    return judged(part.path, value, skipped)


def judged(path: str, value: Any, skipped: Skipped) -> Any:
    """The value as the catalogue has it; None, and counted, when it cannot be one of this signal."""
    checked = None if value is None else catalogue.checked(catalogue.BY_PATH[path], value)
    if checked is None or isinstance(checked, Malformed):
        skipped.note(path)
        return None
    return checked


class Sums:
    """Running sums of accumulated columns, one for each asset and column."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, str], float] = {}

    def register(self, asset_id: str, part: ValuePart, text: str) -> float | None:
        """The sum before or after this row, as `part.accumulate` says; the row itself counts in `advance`."""
        held = self._sums.get((asset_id, part.column), 0.0)
        added = number(part, text)
        total = held if part.accumulate == "before" or added is None else held + added
        return round(total, part.decimals) if part.decimals is not None else total

    def advance(self, asset_id: str, parts: dict[str, ValuePart], row: dict[str, str]) -> None:
        """Add a row to the sums, once for each accumulated column."""
        for column, part in parts.items():
            added = number(part, row[column])
            if added is not None:
                key = (asset_id, column)
                self._sums[key] = self._sums.get(key, 0.0) + added
