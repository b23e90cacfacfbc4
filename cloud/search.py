"""What questions find twins by: coarse copies of what changes with every frame. The copies carry the indexes. Pure.

A copy stays as it is while the value is within one step of it, so that most frames touch no index and a value that
swings around some bound does not move its copy each time. A question reads the index one step wider than it asks, and
compares the value itself: answers are exact.

All copies of a twin's signals are in one array with one index, since each index costs a write 2 µs of MongoDB's time
even when it need not change (measured).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from bson.datetime_ms import DatetimeMS

from wire import catalogue
from wire.catalogue import Signal, Value

VALUES: Final = "search.values"
SEEN: Final = "search.seen"
PLACE: Final = "search.place"
SEEN_STEP_MS: Final = 900_000
PLACE_STEP_DEGREES: Final = 0.05
"""In latitude as in longitude: 5.6 km at most. A car on a motorway moves its copy every three minutes."""

PLACE_STEP_M_MAX: Final = 7_900.0
"""How far a copy may lie from the place itself: the diagonal, at the equator."""

STEPS: Final[Mapping[int, float]] = MappingProxyType(
    {signal.number: signal.search_step for signal in catalogue.SIGNALS if signal.search}
)
"""Catalogue number → how far the value may move before its copy does."""

TEXTS: Final = tuple(
    signal.number for signal in catalogue.SIGNALS if signal.search and signal.type in ("string", "string[]")
)

_STEP_OF: Final = dict(STEPS).get

LISTS: Final = frozenset([signal.number for signal in catalogue.SIGNALS if signal.search and signal.type == "string[]"])


class Search(NamedTuple):
    """`values` by catalogue number; `place`: longitude and latitude."""

    values: Mapping[int, Value]
    place: tuple[float, float] | None
    seen_ms: int


def copied(signal: Signal, comparison: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The condition that there is a copy of a signal's value, for which a comparison holds."""
    asked: dict[str, Any] = {"number": signal.number}
    return {VALUES: {"$elemMatch": asked if comparison is None else {**asked, "value": dict(comparison)}}}


def renewed(
    held: Search | None, values: Mapping[int, Value], place: tuple[float, float] | None, seen_ms: int
) -> Search:  # fmt: skip
    """The copies that are due: `held` itself when nothing moved far."""
    if held is None:
        return Search({number: value for number, value in values.items() if number in STEPS}, place, seen_ms)
    copies, moved = held.values, {}
    for number, value in values.items():  # plain, since it is done for every frame
        step = _STEP_OF(number)
        if step is None:
            continue
        copy = copies.get(number)
        if copy != value and (copy is None or not _near(value, copy, step)):
            moved[number] = value
    far = place is not None and (held.place is None or not _near_place(place, held.place))
    later = not 0 <= seen_ms - held.seen_ms <= SEEN_STEP_MS
    if not (moved or far or later):
        return held
    return Search({**copies, **moved}, place if far else held.place, seen_ms if later else held.seen_ms)


def _near(value: Any, copy: Any, step: float) -> bool:
    try:
        return bool(-step <= value - copy <= step)
    except TypeError:  # texts and lists, which have no step
        return False


def _near_place(place: tuple[float, float], copy: tuple[float, float]) -> bool:
    return abs(place[0] - copy[0]) <= PLACE_STEP_DEGREES and abs(place[1] - copy[1]) <= PLACE_STEP_DEGREES


def document(search: Search) -> dict[str, Any]:
    """As it is stored. A list has an entry for each of its items, an empty one has null."""
    stored: dict[str, Any] = {
        "values": [
            {"number": number, "value": item} for number, value in search.values.items() for item in _items(value)
        ],
        "seen": DatetimeMS(search.seen_ms),
    }
    if search.place is not None:
        stored["place"] = {"type": "Point", "coordinates": list(search.place)}
    return stored


def _items(value: Value) -> Sequence[Value | None]:
    return (value or [None]) if isinstance(value, list) else [value]


def from_document(stored: Mapping[str, Any] | None) -> Search | None:
    """As `document` made it; None where there is none yet."""
    if stored is None:
        return None
    place, seen = stored.get("place"), stored["seen"]
    values: dict[int, Any] = {}
    for entry in stored["values"]:
        number, item = entry["number"], entry["value"]
        if number in LISTS:
            values.setdefault(number, []).extend([] if item is None else [item])
        else:
            values[number] = item
    return Search(
        values,
        (place["coordinates"][0], place["coordinates"][1]) if place else None,
        int(DatetimeMS(seen) if isinstance(seen, datetime) else seen),
    )
