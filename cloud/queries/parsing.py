"""Small texts as people write them: durations, points, years, severities. Pure."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from cloud.queries.faults import Fault, unknown
from wire import limits

_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|min|h|d)")
_SECONDS: Final = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400}
_DURATION_S_MAX: Final = 3_650 * 86_400
_YEAR: Final = re.compile(r"(<=|>=|<|>|=)?\s*([0-9]{4})")
_YEARS: Final = re.compile(r"([0-9]{4})?\.\.([0-9]{4})?")
_COMPARISONS: Final = {"<": "$lt", "<=": "$lte", ">": "$gt", ">=": "$gte", "=": "$eq"}
_POINT: Final = re.compile(r"\s*(-?[0-9]{1,3}(?:\.[0-9]+)?)\s*,\s*(-?[0-9]{1,3}(?:\.[0-9]+)?)\s*")


class Point(NamedTuple):
    """A place on Earth, WGS 84 degrees."""

    latitude: float
    longitude: float


def duration(text: str) -> timedelta | Fault:
    """`90s`, `15m`, `2h`, `1.5d`; more than none, at most ten years."""
    match = _DURATION.fullmatch(text.strip())
    seconds = float(match[1]) * _SECONDS[match[2]] if match else 0.0
    if not 0 < seconds <= _DURATION_S_MAX:
        return Fault(f"{text!r:.40} is no duration such as 90s, 15m, 2h or 7d (at most 3650d)")
    return timedelta(seconds=seconds)


def moment(text: str, now: datetime) -> datetime | Fault:
    """`2026-03-01`, `2026-03-01T08:30`, with `Z` or an offset (without: UTC), `now`, or before now: `-24h`."""
    given = text.strip()
    if given == "now":
        return now
    if given.startswith("-"):
        ago = duration(given[1:])
        return Fault(f"{text!r:.40}: {ago.text}") if isinstance(ago, Fault) else now - ago
    try:
        at = datetime.fromisoformat(given)
    except ValueError:
        return Fault(f"{text!r:.40} is no time such as 2026-03-01, 2026-03-01T08:30Z, now or -24h")
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    if not limits.TIME_MS_MIN <= at.timestamp() * 1000 <= limits.TIME_MS_MAX:
        return Fault(f"{text!r:.40}: the years are 2000 to 2099")
    return at


def year(text: str) -> dict[str, Any] | Fault:
    """`2021`, `2019..2023`, `2019..`, `..2023`, `>=2020`: the MongoDB comparison."""
    single, several = _YEAR.fullmatch(text.strip()), _YEARS.fullmatch(text.strip())
    if single is not None:
        return {_COMPARISONS[single[1] or "="]: int(single[2])}
    if several is None or several[1] is several[2] is None:
        return Fault(f"{text!r:.40} is no year such as 2021, 2019..2023 or >=2020")
    bounds = {
        comparison: int(bound) for comparison, bound in zip(("$gte", "$lte"), several.groups(), strict=True) if bound
    }
    if several[1] and several[2] and several[1] > several[2]:
        return Fault(f"{text!r}: the first year is after the last")
    return bounds


def point(text: str) -> Point | Fault:
    """`LATITUDE,LONGITUDE` in degrees."""
    match = _POINT.fullmatch(text)
    if match is None or abs(float(match[1])) > 90 or abs(float(match[2])) > 180:
        return Fault(f"{text!r:.40} is no LATITUDE,LONGITUDE in degrees, such as 48.137,11.575")
    return Point(float(match[1]), float(match[2]))


def levels(option: str, given: Sequence[str], known: Sequence[str]) -> list[str] | Fault:
    """Some of `known`, which rises; `service+` means that and worse. Spelling ignores case."""
    wanted: set[str] = set()
    for text in given:
        level = text.strip().casefold().removesuffix("+")
        if level not in known:
            return unknown(option, text, known)
        wanted |= set(known[known.index(level) :]) if text.strip().endswith("+") else {level}
    return [level for level in known if level in wanted]
