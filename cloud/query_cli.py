"""`fleetfold-cloud twins | anomalies | customers`: questions of aftersales staff, and their answers.

Answers go to stdout, notes and faults to stderr. Exit codes: see `runtime.exits`.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer
from rich.console import Console, RenderableType

from cloud.queries import anomalies, asking, conditions, customers, filters, formats, parsing, render, twins
from cloud.queries.faults import Fault
from cloud.queries.reading import Document
from cloud.query_session import Session, fail
from runtime import exits

twins_app: Final = typer.Typer(help="Digital twins: find some, show one.", no_args_is_help=True)
anomalies_app: Final = typer.Typer(help="What the detectors found.", no_args_is_help=True)
customers_app: Final = typer.Typer(help="Customers and their assets.", no_args_is_help=True)

_LIMIT_MAX: Final = 10_000

ConfigOption = Annotated[
    Path | None,
    typer.Option(help="TOML file of the service; the environment overrides it.", envvar="FLEETFOLD_CLOUD_CONFIG"),
]
UriOption = Annotated[str | None, typer.Option("--mongodb-uri", help="MongoDB instead of the configured one.")]
DatabaseOption = Annotated[str | None, typer.Option(help="Database instead of the configured one.")]
MaxTimeOption = Annotated[str, typer.Option(help="Longest time for one query: 500ms, 5s, 1m.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")]
LimitOption = Annotated[int, typer.Option(min=1, max=_LIMIT_MAX, help="At most so many.")]
StaleOption = Annotated[str, typer.Option(help="Values older than this show their age.")]
HealthOption = Annotated[
    list[str] | None,
    typer.Option(help="ok, watch, service or critical; service+ means and worse. Repeat for any of them."),
]
FindingOption = Annotated[list[str] | None, typer.Option(help="Open finding of this detector. Repeat for any of them.")]
WhereOption = Annotated[
    list[str] | None,
    typer.Option(
        help="Signal compared with a value: 'LowVoltageBattery.CurrentVoltage<12.2', 'DTCList=P0301'. Repeat for all."
    ),
]
SortOption = Annotated[
    str | None,
    typer.Option(help="id, model, year, health, last_seen, odometer, distance or any signal; -year reverses."),
]


@twins_app.command("find")
def twins_find(
    kind: Annotated[str | None, typer.Option(help="vehicle or station.")] = None,
    model: Annotated[str | None, typer.Option(help="Model, whatever its case.")] = None,
    brand: Annotated[str | None, typer.Option(help="Brand, whatever its case.")] = None,
    year: Annotated[str | None, typer.Option(help="2021, 2019..2023 or >=2020.")] = None,
    owner: Annotated[str | None, typer.Option(help="Customer id, or the beginning of a name.")] = None,
    vin: Annotated[str | None, typer.Option(help="VIN, or its beginning (3 or more).")] = None,
    plate: Annotated[str | None, typer.Option(help="Plate; case, spaces and dashes do not matter.")] = None,
    health: HealthOption = None,
    finding: FindingOption = None,
    where: WhereOption = None,
    near: Annotated[str | None, typer.Option(metavar="LAT,LON", help="Near this point, the nearest first.")] = None,
    within_km: Annotated[
        float | None, typer.Option(help=f"Radius of --near (without: {conditions.WITHIN_KM_DEFAULT:g}).")
    ] = None,
    silent_for: Annotated[str | None, typer.Option(help="Not heard of for longer than 90s, 15m, 2h, 7d.")] = None,
    state: Annotated[str | None, typer.Option(help="State of life: delivered, installed …")] = None,
    sort: SortOption = None,
    limit: LimitOption = 20,
    stale_after: StaleOption = "15m",
    as_json: JsonOption = False,
    config: ConfigOption = None,
    mongodb_uri: UriOption = None,
    database: DatabaseOption = None,
    max_time: MaxTimeOption = "5s",
) -> None:
    """Find twins; all filters must match."""
    options = asking.Options(
        kind, model, brand, year, owner, vin, plate, tuple(health or ()), tuple(finding or ()), tuple(where or ()),
        near, within_km, silent_for, state, sort,
    )  # fmt: skip
    stale = _duration("--stale-after", stale_after)
    now = datetime.now(UTC)
    with Session(config, mongodb_uri, database, max_time).reader("twins find") as reader:
        known = twins.known(reader, options, _detectors() if finding else ())
        query = filters.build(options, known, now)
        if isinstance(query, list):
            fail([fault.text for fault in query], exits.USAGE)
        for note in query.notes:
            typer.echo(f"note: {note}", err=True)
        found = twins.find(reader, query, limit)
    if as_json:
        rows = [_with_distance(twin, query) for twin in found.twins]
        typer.echo(formats.as_json(_counted("twins", rows, found.matched, limit)))
        return
    table = render.found(found.twins, query.signals, query.point, now, stale)
    _print_counted(table, "twin", len(found.twins), found.matched)


@twins_app.command("show")
def twins_show(
    key: Annotated[str, typer.Argument(metavar="ASSET|VIN|PLATE")],
    as_json: JsonOption = False,
    config: ConfigOption = None,
    mongodb_uri: UriOption = None,
    database: DatabaseOption = None,
    max_time: MaxTimeOption = "5s",
) -> None:
    """Show one twin: identity, owner, health, signals with their age, life, recent events."""
    with Session(config, mongodb_uri, database, max_time).reader("twins show") as reader:
        shown = twins.show(reader, key)
    if isinstance(shown, list):
        not_found("twin", key, shown)
    if as_json:
        consents = (shown.profile or {}).get("consents")
        typer.echo(formats.as_json({"twin": shown.twin, "consents": consents, "events": shown.events}))
        return
    print_content(render.twin(shown.twin, shown.profile, shown.events, datetime.now(UTC)))


@anomalies_app.command("list")
def anomalies_list(
    status: Annotated[str, typer.Option(help="open, acknowledged, resolved or all.")] = "open",
    severity: Annotated[
        list[str] | None,
        typer.Option(help="watch, service or critical; service+ means and worse. Repeat for any of them."),
    ] = None,
    detector: Annotated[str | None, typer.Option(help="Only of this detector.")] = None,
    asset: Annotated[str | None, typer.Option(help="Only of this asset.")] = None,
    since: Annotated[str | None, typer.Option(help="Opened within the last 2h, 7d …")] = None,
    limit: LimitOption = 20,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    mongodb_uri: UriOption = None,
    database: DatabaseOption = None,
    max_time: MaxTimeOption = "5s",
) -> None:
    """List anomalies, the last opened first."""
    options = anomalies.Options(status, tuple(severity or ()), detector, asset, since)
    now = datetime.now(UTC)
    with Session(config, mongodb_uri, database, max_time).reader("anomalies list") as reader:
        names = twins.known_detectors(reader, _detectors()) if detector is not None else ()
        condition = anomalies.build(options, names, now)
        if isinstance(condition, list):
            fail([fault.text for fault in condition], exits.USAGE)
        found = anomalies.find(reader, condition, limit)
    if as_json:
        typer.echo(formats.as_json(_counted("anomalies", found.anomalies, found.matched, limit)))
        return
    _print_counted(render.anomalies(found.anomalies, now), "anomaly", len(found.anomalies), found.matched)


@customers_app.command("show")
def customers_show(
    key: Annotated[str, typer.Argument(metavar="CUSTOMER_ID|NAME")],
    as_json: JsonOption = False,
    config: ConfigOption = None,
    mongodb_uri: UriOption = None,
    database: DatabaseOption = None,
    max_time: MaxTimeOption = "5s",
) -> None:
    """Show a customer: profile, consents, assets now and before, open findings on them, latest activities."""
    now = datetime.now(UTC)
    with Session(config, mongodb_uri, database, max_time).reader("customers show") as reader:
        shown = customers.show(reader, key, now)
    if isinstance(shown, list):
        not_found("customer", key, shown)
    if shown.cut:
        typer.echo(f"note: only the latest {customers.ROLES_MAX} periods are shown", err=True)
    if as_json:
        held, before = ([period._asdict() for period in periods] for periods in (shown.held, shown.before))
        document = {"customer_id": shown.customer_id, "profile": shown.profile, "held": held, "before": before}
        typer.echo(formats.as_json(document | {"activities": shown.activities, "cut": shown.cut}))
        return
    head = render.profile_lines(shown.customer_id, shown.profile)
    print_content(render.customer(head, shown.held, shown.before, shown.activities, now))


def _detectors() -> tuple[str, ...]:
    from cloud.detectors import registry  # numpy is not needed to ask anything else

    return registry.NAMES


def _duration(option: str, text: str) -> timedelta:
    parsed = parsing.duration(text)
    if isinstance(parsed, Fault):
        fail([f"{option}: {parsed.text}"], exits.USAGE)
    return parsed


def _with_distance(twin: Document, query: filters.Query) -> Document:
    metres = formats.distance_m(query.point, twin) if query.point else None
    return twin if metres is None else {**twin, "distance_m": round(metres, 1)}


def _counted(name: str, rows: list[Document], matched: int | None, limit: int) -> Document:
    """`matched` null: counting took too long, there are more than shown."""
    return {"matched": matched, "shown": len(rows), "limit": limit, name: rows}


def _print_counted(table: RenderableType, noun: str, shown: int, matched: int | None) -> None:
    several = {"anomaly": "anomalies"}.get(noun, f"{noun}s")
    if not shown:
        typer.echo(f"no {several} match")
        return
    print_content(table)
    if matched is None:
        typer.echo(f"\n{shown} {several} shown of more; they took too long to count")
    elif matched > shown:
        typer.echo(f"\n{shown} of {matched} {several} shown; --limit shows more")
    else:
        typer.echo(f"\n1 {noun} matches" if matched == 1 else f"\n{matched} {several} match")


def print_content(content: RenderableType) -> None:
    """To the terminal, or as wide as it wants to be into a file."""
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = render.WIDTH  # a file has no width; rich would assume 80
    console.print(content)


def not_found(noun: str, key: str, near: list[str]) -> NoReturn:
    """Say that nothing has this name, and what has a similar one."""
    hint = [f"  {formats.printable(line)}" for line in dict.fromkeys(near)]
    fail([f"no {noun} is exactly {key!r:.80}" + ("; perhaps one of:" if hint else ""), *hint], exits.FAILED)
