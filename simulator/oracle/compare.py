"""Twins against expectations, one difference a line that a person understands."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from simulator.oracle import events, health, times
from simulator.oracle.expected import At, Expected

Document = Mapping[str, Any]
Kind = Literal["lost", "doubled", "wrong"]


class Difference(NamedTuple):
    """`amount` of something that is not as it must be, of an asset or (`asset_id` is then theirs) a customer."""

    kind: Kind
    asset_id: str
    amount: int
    text: str


class Actual(NamedTuple):
    """What the database has about one asset; `twin` None: nothing."""

    twin: Document | None
    events: Mapping[str, Document]
    """By id."""
    anomalies: Sequence[Document]


def differences(asset: Expected, actual: Actual) -> Iterator[Difference]:
    """Everything about one asset that is not as its devices sent it."""
    if actual.twin is None:
        if asset.messages.sure:
            yield Difference("lost", asset.asset_id, asset.messages.sure, "has no twin")
        elif asset.roles or asset.steps:
            yield Difference("wrong", asset.asset_id, 1, "has owner or lifecycle, but no twin")
        return
    yield from _counts(asset, actual.twin)
    for text in (
        *_samples(asset, actual.twin),
        *_gaps(asset, actual.twin),
        *_signals(asset, actual.twin),
        *_location(asset, actual.twin),
        *_connection(asset, actual.twin),
        *events.differences(asset, int(actual.twin.get("counters", {}).get("events", 0)), actual.events),
        *health.differences(asset, actual.twin, actual.anomalies),
    ):
        yield Difference("wrong", asset.asset_id, 1, text)


def folded(twin: Document | None) -> int:
    """Frames and events that a twin has counted."""
    counters = (twin or {}).get("counters", {})
    return int(counters.get("frames", 0)) + int(counters.get("events", 0))


def _counts(asset: Expected, twin: Document) -> Iterator[Difference]:
    count = folded(twin)
    if count < asset.messages.sure:
        text = f"{asset.messages.sure} frames and events sent, {count} folded"
        yield Difference("lost", asset.asset_id, asset.messages.sure - count, text)
    if count > asset.messages.most:
        text = f"{asset.messages.most} frames and events sent, {count} folded"
        yield Difference("doubled", asset.asset_id, count - asset.messages.most, text)


def _samples(asset: Expected, twin: Document) -> Iterator[str]:
    counted = int(twin.get("counters", {}).get("samples", 0))
    if not asset.samples.sure <= counted <= asset.samples.most:
        yield f"{asset.samples.sure} samples sent, {counted} counted"


def _gaps(asset: Expected, twin: Document) -> Iterator[str]:
    """Devices number what they make without a gap; one remains only where a message was never acknowledged, could not
    be read, or was dropped by its device."""
    counted = int(twin.get("counters", {}).get("gaps", 0))
    most = asset.messages.open + asset.unreadable + asset.dropped
    if not 0 <= counted <= most:
        yield f"{counted} gaps counted, {most} messages may be missing"


def _signals(asset: Expected, twin: Document) -> Iterator[str]:
    found = leaves(twin.get("signals", {}))
    if _all_same(found, asset.signals):
        return
    for path in sorted(asset.signals.keys() | found.keys()):
        allowed = _allowed(asset, path)
        if not allowed:
            yield f"{path} is {found[path].value!r}, but was never sent"
        elif path not in found:
            if path in asset.signals:
                yield f"{path} is missing, expected {_said(allowed[0])}"
        elif not any(_same(found[path], at) for at in allowed):
            yield f"{path} is {_said(found[path])}, expected {_said(allowed[0])}"


def _all_same(found: Mapping[str, At], expected: Mapping[str, At]) -> bool:
    """What is so of nearly every twin, found out at once."""
    return found == expected and all(_same(at, expected[path]) for path, at in found.items() if at.value in (0, 1))


def _allowed(asset: Expected, path: str) -> list[At]:
    """The expected value, and what may have replaced it."""
    sure = asset.signals.get(path)
    later = [at for at in asset.maybe.get(path, []) if sure is None or at.ts_ms >= sure.ts_ms]
    return ([sure] if sure is not None else []) + later


def leaves(tree: Document) -> dict[str, At]:
    """Everything that has a value and a time, by path."""
    found: dict[str, At] = {}
    _gather("", tree, found)
    return found


def _gather(prefix: str, tree: Document, found: dict[str, At]) -> None:
    for name, node in tree.items():
        if not isinstance(node, dict):
            continue
        if node.keys() == {"value", "ts"}:
            found[prefix + name] = At(times.ms(node["ts"]), node["value"])
        else:
            _gather(f"{prefix}{name}.", node, found)


def _same(actual: At, expected: At) -> bool:
    one_is_flag = isinstance(actual.value, bool) != isinstance(expected.value, bool)
    return actual.ts_ms == expected.ts_ms and not one_is_flag and bool(actual.value == expected.value)


def _location(asset: Expected, twin: Document) -> Iterator[str]:
    latitudes = _allowed(asset, "Vehicle.CurrentLocation.Latitude")
    longitudes = _allowed(asset, "Vehicle.CurrentLocation.Longitude")
    if not latitudes or not longitudes:
        return
    coordinates = list((twin.get("location") or {}).get("coordinates", []))
    if not any(coordinates == [east.value, north.value] for east in longitudes for north in latitudes):
        yield f"location is {coordinates}, expected {[longitudes[0].value, latitudes[0].value]}"


def _connection(asset: Expected, twin: Document) -> Iterator[str]:
    if asset.connection is None or not asset.connection_is_sure:
        return
    _, is_offline, session = asset.connection
    connection = twin.get("connection") or {}
    if connection.get("session") != session:
        yield f"last session is {connection.get('session')!r}, expected {session!r}"
    elif connection.get("online") is is_offline:
        yield f"online is {connection.get('online')}, expected {not is_offline}"
    elif (connection.get("software") or "") != asset.software:
        yield f"software is {connection.get('software')!r}, expected {asset.software!r}{_updated(asset)}"


def _updated(asset: Expected) -> str:
    update = asset.updated
    if update is None or update["after"] != asset.software:
        return ""
    return f", since it was updated from {update['before']!r} at {times.said(update['at_ms'])}"


def _said(at: At) -> str:
    return f"{at.value!r} at {times.said(at.ts_ms)}"
