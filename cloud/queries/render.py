"""Documents → tables for a terminal of 100 columns. Pure.

Every text from outside is printed as it is: no markup, no control characters.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cloud.queries import formats
from cloud.queries.formats import Document, printable
from cloud.queries.parsing import Point
from wire.catalogue import Signal

WIDTH: Final = 100
_STYLES: Final = {"critical": "bold red", "service": "yellow", "watch": "cyan", "ok": "green"}


def found(
    twins: Sequence[Document], signals: Iterable[Signal], point: Point | None, now: datetime, stale_after: timedelta
) -> RenderableType:
    """Twins, one a line, with the signals that were asked about."""
    asked = list(signals)
    table = columns("asset", "model", "plate", "owner", "health", *_short([signal.path for signal in asked]), "seen")
    if point is not None:
        table.add_column("km", justify="right")
    for twin in twins:
        attributes, seen = twin.get("attributes", {}), twin.get("connection", {}).get("last_seen")
        cells: list[str | Text] = [
            twin["_id"],
            _model(attributes),
            attributes.get("plate", ""),
            _owner(twin),
            health(twin),
        ]
        cells += [formats.leaf(twin, signal.path, now, stale_after) for signal in asked]
        cells.append(formats.age(seen, now))
        if point is not None:
            metres = formats.distance_m(point, twin)
            cells.append("" if metres is None else f"{metres / 1_000:.1f}")
        row(table, cells)
    return table


def health(twin: Document) -> Text:
    """Status and open findings; a silent asset is never just fine."""
    held = twin.get("health", {})
    status = held.get("status", "unknown")
    text = Text(printable(status), style=_STYLES.get(status, ""))
    if twin.get("connection", {}).get("silent"):
        text = Text("silent, last known ", style="magenta") + text
    names = dict.fromkeys(finding["detector"] for finding in held.get("open", []))
    return text + Text(f": {', '.join(map(formats.words, names))}") if names else text


def twin(shown: Document, profile: Document | None, events: Sequence[Document], now: datetime) -> RenderableType:
    """One twin with all that staff need."""
    parts: list[RenderableType] = [_identity(shown, profile, now)]
    parts += _section("open findings", _findings(shown.get("health", {}).get("open", []), now))
    parts += _section("signals", _signals(shown, now))
    parts += _section("lifecycle", _lifecycle(shown.get("lifecycle", {})))
    parts += _section("recent events", _events(events, now))
    return Group(*parts)


def _identity(shown: Document, profile: Document | None, now: datetime) -> Table:
    attributes, owner = shown.get("attributes", {}), shown.get("owner")
    lines: dict[str, object] = {"asset": f"{shown['_id']} ({shown['kind']})"}
    lines |= {name: attributes[name] for name in sorted(attributes)}
    if owner is None:
        lines["owner"] = "nobody known"
    else:
        since = formats.day(owner.get("since"))
        lines["owner"] = f"{_owner(shown)} ({owner['customer_id']}), {owner.get('role', '')} since {since}"
        if owner.get("overlaps"):
            lines["owner"] = f"{lines['owner']}; {owner['overlaps']} others claim the same role"
        lines["contact allowed"] = formats.contact(profile)
    lines["connection"] = _connection(shown.get("connection"), now)
    lines["health"] = health(shown)
    lines["state"] = shown.get("lifecycle", {}).get("state", "unknown")
    lines["counters"] = ", ".join(f"{name} {count}" for name, count in shown.get("counters", {}).items() if count)
    return _pairs(lines)


def _connection(held: Document | None, now: datetime) -> str:
    if held is None:
        return "never heard of"
    state = "online" if held.get("online") else "offline"
    silent = ", SILENT" if held.get("silent") else ""
    gateway = f", by gateway {held['gateway']}" if held.get("gateway") else ""
    gateway += f", software {held['software']}" if held.get("software") else ""
    return f"{state}, last seen {formats.age(held.get('last_seen'), now)} ago{silent}{gateway}".replace(
        "never ago", "never"
    )


def _findings(findings: Sequence[Document], now: datetime) -> Table | None:
    table = columns("severity", "since", "detector", "subject", "summary")
    for finding in findings:
        cells = [formats.words(finding["detector"]), finding["subject"], finding["summary"]]
        row(table, [_severity(finding), formats.age(finding["since"], now), *cells])
    return table if findings else None


def _signals(shown: Document, now: datetime) -> Table | None:
    table = columns("signal", "value", "age")
    for path, held in formats.leaves(shown.get("signals", {})):
        row(table, [path, formats.value(held["value"], formats.unit_of(path)), formats.age(held["ts"], now)])
    return table if table.row_count else None


def _lifecycle(held: Document) -> Table | None:
    table = columns("step", "day", "place", "odometer", "reference")
    for step in held.get("steps", []):
        odometer = f"{step['odometer_m'] / 1_000:.0f} km" if "odometer_m" in step else ""
        cells = [formats.words(step["step"]), formats.day(step["ts"]), step.get("place", ""), odometer]
        row(table, [*cells, step.get("reference", "")])
    return table if table.row_count else None


def _events(events: Sequence[Document], now: datetime) -> Table | None:
    table = columns("event", "age", "data")
    for event in events:
        data = ", ".join(f"{name}: {formats.value(given)}" for name, given in event.get("data", {}).items())
        row(table, [event["type"], formats.age(event["ts"], now), data])
    return table if events else None


def anomalies(listed: Sequence[Document], now: datetime) -> RenderableType:
    """Anomalies, one a line."""
    table = columns("severity", "status", "opened", "asset", "detector", "subject", "summary")
    for anomaly in listed:
        cells = [anomaly["asset_id"], formats.words(anomaly["detector"]), anomaly["subject"], anomaly["summary"]]
        row(table, [_severity(anomaly), anomaly["status"], formats.age(anomaly["opened"], now), *cells])
    return table


def profile_lines(customer_id: str, profile: Document | None) -> Table:
    """Who a customer is and how to reach them."""
    lines: dict[str, object] = {"customer": customer_id}
    if profile is None:
        return _pairs(lines | {"profile": "none: not received, or erased"})
    for name in ("display_name", "email", "phone"):
        lines[name.replace("_", " ")] = profile.get(name) or ""
    town = " ".join(filter(None, (profile.get("postal_code"), profile.get("city"))))
    lines["address"] = ", ".join(filter(None, (profile.get("street"), town, profile.get("country"))))
    lines["language"] = profile.get("language") or ""
    lines["contact allowed"] = formats.contact(profile)
    lines["updated"] = formats.day(profile.get("updated"))
    return _pairs(lines)


def customer(
    head: Table, held: Sequence[tuple[Document, Document | None]], before: Sequence[tuple[Document, Document | None]],
    activities: Sequence[Document], now: datetime,
) -> RenderableType:  # fmt: skip
    """A customer with assets, `(role, twin)` each, and what they did lately."""
    parts: list[RenderableType] = [head]
    parts += _section("assets", _periods(held))
    parts += _section("assets before", _periods(before))
    open_findings = [
        {**finding, "subject": f"{known['_id']} {finding['subject']}"}
        for _, known in held
        if known is not None
        for finding in known.get("health", {}).get("open", [])
    ]
    parts += _section("open findings", _findings(open_findings, now))
    parts += _section("latest activities", _activities(activities))
    return Group(*parts)


def _activities(activities: Sequence[Document]) -> Table | None:
    table = columns("day", "activity", "via", "about", "asset", "reference", "amount")
    for activity in activities:
        amount = f"{activity['amount']:.2f} {activity.get('currency', '')}" if "amount" in activity else ""
        cells = [formats.words(activity["type"]), activity["via"], activity.get("subject", "")]
        cells += [activity.get("asset_id", ""), activity.get("reference", ""), amount]
        row(table, [formats.day(activity["ts"]), *cells])
    return table if activities else None


def _periods(periods: Sequence[tuple[Document, Document | None]]) -> Table | None:
    table = columns("asset", "role", "from", "to", "model", "plate", "health")
    for role, known in periods:
        attributes: Mapping[str, Any] = known.get("attributes", {}) if known else {}
        cells: list[str | Text] = [
            role["asset_id"],
            role["role"],
            formats.day(role["from"]),
            formats.day(role.get("to")),
        ]
        cells += [_model(attributes), attributes.get("plate", ""), health(known) if known else "no twin yet"]
        row(table, cells)
    return table if periods else None


def _model(attributes: Mapping[str, Any]) -> str:
    return " ".join(str(attributes[name]) for name in ("brand", "model", "year") if name in attributes)


def _owner(shown: Document) -> str:
    owner = shown.get("owner") or {}
    return str(owner.get("display_name") or owner.get("customer_id", ""))


def _severity(held: Document) -> Text:
    return Text(printable(held["severity"]), style=_STYLES.get(held["severity"], ""))


def _short(paths: Sequence[str]) -> list[str]:
    """The ends of paths, as long as it takes to tell these apart."""
    for length in range(1, max((path.count(".") for path in paths), default=0) + 1):
        ends = [".".join(path.split(".")[-length:]) for path in paths]
        if len(set(ends)) == len(ends):
            return ends
    return list(paths)


def columns(*names: str) -> Table:
    """An empty table with these columns."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1))
    for name in names:
        table.add_column(name, overflow="fold")
    return table


def row(table: Table, cells: Iterable[object]) -> None:
    """Add a row; text from outside cannot steer the terminal."""
    table.add_row(*(cell if isinstance(cell, Text) else Text(printable(cell)) for cell in cells))


def _pairs(lines: Mapping[str, object]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 1))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, given in lines.items():
        if given not in ("", None):
            row(table, [name, given])
    return table


def _section(title: str, content: Table | None) -> list[RenderableType]:
    return [] if content is None else [Text(f"\n{title}", style="bold underline"), Padding(content, (0, 0, 0, 2))]
