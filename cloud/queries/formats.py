"""Single values as people read them, and documents as JSON. Pure."""

import json
import math
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from cloud.queries.conditions import EARTH_RADIUS_M
from cloud.queries.parsing import Point
from wire import catalogue

Document = Mapping[str, Any]

_UNITS: Final = {"percent": "%", "Celsius": "°C", "degrees": "°"}
_STEPS: Final = ((2 * 86_400, 86_400, "d"), (3_600, 3_600, "h"), (60, 60, "min"), (0, 1, "s"))


def printable(text: object) -> str:
    """Text from outside without what would steer a terminal."""
    return "".join(character if character.isprintable() else "�" for character in str(text))


def words(name: str) -> str:
    """A detector's name with spaces, where a narrow column may break it."""
    return printable(name.replace("_", " "))


def age(since: datetime | None, now: datetime) -> str:
    """How long ago, in the largest unit that says enough; a source clock may run ahead."""
    if since is None or since.timestamp() <= 0:
        return "never"
    seconds = (now - since).total_seconds()
    unit_s, unit = next((unit_s, unit) for least_s, unit_s, unit in _STEPS if abs(seconds) >= least_s)
    amount = f"{int(abs(seconds) // unit_s)} {unit}"
    return f"{amount} ahead" if seconds <= -60 else amount


def day(time: datetime | None) -> str:
    """A date, UTC."""
    return time.strftime("%Y-%m-%d") if time is not None else ""


def value(given: object, unit: str = "") -> str:
    """A signal's value with its unit."""
    if isinstance(given, bool):
        return "yes" if given else "no"
    if isinstance(given, list):
        return printable(", ".join(map(str, given))) or "none"
    if isinstance(given, Mapping):
        return ", ".join(f"{printable(name)} {value(held)}" for name, held in given.items())
    text = f"{given:.7g}" if isinstance(given, float) else printable(given)
    return f"{text} {_UNITS.get(unit, unit)}".rstrip()


def leaf(held: Document, path: str, now: datetime, stale_after: timedelta) -> str:
    """The value of one signal of a twin; its age too where it is older than `stale_after`."""
    node: Any = held.get("signals", {})
    for part in path.split("."):
        node = node.get(part, {}) if isinstance(node, Mapping) else {}
    if "value" not in node:
        return "–"
    text = value(node["value"], unit_of(path))
    return text if now - node["ts"] <= stale_after else f"{text} ({age(node['ts'], now)} old)"


def leaves(node: Document, path: str = "") -> Iterator[tuple[str, Document]]:
    """Every signal of a tree: path and `{value, ts}`."""
    for name in sorted(node):
        child, below = node[name], f"{path}.{name}" if path else name
        if isinstance(child, Mapping):
            if "value" in child and "ts" in child:
                yield below, child
            else:
                yield from leaves(child, below)


def unit_of(path: str) -> str:
    """The catalogue's unit; none for a signal that this version does not know."""
    signal = catalogue.BY_PATH.get(path)
    return signal.unit if signal else ""


def distance_m(point: Point, twin: Document) -> float | None:
    """From a point to a twin along the surface (haversine), on the sphere that MongoDB uses."""
    if "location" not in twin:
        return None
    longitude, latitude = map(math.radians, twin["location"]["coordinates"])
    from_latitude, from_longitude = math.radians(point.latitude), math.radians(point.longitude)
    chord = (
        math.sin((latitude - from_latitude) / 2) ** 2
        + math.cos(latitude) * math.cos(from_latitude) * math.sin((longitude - from_longitude) / 2) ** 2
    )
    return 2 * EARTH_RADIUS_M * math.asin(min(1.0, math.sqrt(chord)))


def contact(profile: Document | None) -> str:
    """Whether the customer may be contacted, by the consents of the profile."""
    if profile is None:
        return "unknown: no profile"
    consents: Mapping[str, bool] = profile.get("consents", {})
    allowed = [name for name, given in sorted(consents.items()) if given]
    refused = [name for name, given in sorted(consents.items()) if not given]
    parts = [f"{answer}: {', '.join(names)}" for answer, names in (("yes", allowed), ("no", refused)) if names]
    return printable("; ".join(parts)) or "no: no consent given"


def as_json(document: object) -> str:
    """One JSON document; times as ISO 8601, UTC, milliseconds."""
    return json.dumps(document, default=_plain, ensure_ascii=False, indent=2)


def _plain(given: object) -> str:
    if isinstance(given, datetime):
        return given.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    raise TypeError(f"{type(given).__name__} in a document")
