"""`fleetfold-cloud history`: a signal over time, and which signals there are.

Answers go to stdout, notes and faults to stderr. Exit codes: see `runtime.exits`.
"""

import csv
import sys
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer

from cloud.queries import formats, signals, spans, twins
from cloud.queries.faults import Fault
from cloud.queries.reading import Reader
from cloud.queries.spans import Span
from cloud.query_cli import ConfigOption, DatabaseOption, JsonOption, MaxTimeOption, UriOption, not_found, print_content
from cloud.query_session import Session, fail
from runtime import exits
from wire import catalogue
from wire.catalogue import Signal

history_app: Final = typer.Typer(help="What signals were over time.", no_args_is_help=True)

_STEPS_MAX: Final = 100_000

AssetArgument = Annotated[str, typer.Argument(metavar="ASSET|VIN|PLATE")]
FromOption = Annotated[str, typer.Option("--from", help="2026-03-01, 2026-03-01T08:30Z, or before now: -24h, -7d.")]
ToOption = Annotated[str, typer.Option("--to", help="The same; this moment itself is not part of it.")]
CsvOption = Annotated[bool, typer.Option("--csv", help="Comma-separated values instead of a table.")]


@history_app.command("show")
def history_show(
    asset: AssetArgument,
    signal: Annotated[str, typer.Argument(help="Path, or the end of one: LowVoltageBattery.CurrentVoltage.")],
    start: FromOption = "-24h",
    end: ToOption = "now",
    every: Annotated[str | None, typer.Option(help="Length of a step: 10s, 5min, 1h [about 48 steps].")] = None,
    raw: Annotated[bool, typer.Option("--raw", help="Each sample instead of steps.")] = False,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
    config: ConfigOption = None,
    mongodb_uri: UriOption = None,
    database: DatabaseOption = None,
    max_time: MaxTimeOption = "5s",
) -> None:
    """Show one signal: minimum, mean, maximum, last value and number of samples per step of time."""
    named, span = _asked(signal, start, end, every)
    from cloud.queries import history  # numpy is not needed to ask anything else

    with Session(config, mongodb_uri, database, max_time).reader("history show") as reader:
        asset_id = _asset(reader, asset)
        from_ms, until_ms = history.span_ms(span.start, span.end)
        if raw:
            held, more = history.samples(reader, asset_id, named, from_ms, until_ms)
            times, values = held.times_ms.tolist(), held.values.tolist()
            rows = [{"ts": ts, "value": _value(named, value)} for ts, value in zip(times, values, strict=True)]
        else:
            rows = _steps(history.steps(reader, asset_id, named, from_ms, until_ms, span.every_ms), named)
            more = False
    if more:
        typer.echo(f"note: only the first {len(rows)} samples; the rest begins at {rows[-1]['ts']} ms", err=True)
    if not rows:
        typer.echo(f"note: no samples; `history signals {asset_id}` says what there is", err=True)
    if as_csv:
        _csv(rows)
    elif as_json:
        head = {"asset_id": asset_id, "signal": named.path, "unit": named.unit, "from": span.start, "to": span.end}
        name = "samples" if raw else "steps"
        shape = {} if raw else {"every_ms": span.every_ms}
        typer.echo(formats.as_json(head | shape | {name: [_dated(row) for row in rows]}))
    elif rows:
        from cloud.queries import render_history

        print_content(render_history.table(asset_id, named, rows))


@history_app.command("signals")
def history_signals(
    asset: AssetArgument,
    start: FromOption = "2000-01-01",
    end: ToOption = "now",
    as_json: JsonOption = False,
    config: ConfigOption = None,
    mongodb_uri: UriOption = None,
    database: DatabaseOption = None,
    max_time: MaxTimeOption = "30s",
) -> None:
    """List the signals that history has of an asset: how many samples, from when to when (by whole hours)."""
    now = datetime.now(UTC)
    span = spans.span(start, end, "3650d", _STEPS_MAX, now)
    if isinstance(span, list):
        fail([fault.text for fault in span], exits.USAGE)
    from cloud.queries import history, render_history  # numpy is not needed to ask anything else

    with Session(config, mongodb_uri, database, max_time).reader("history signals") as reader:
        asset_id = _asset(reader, asset)
        kept = history.signals(reader, asset_id, *history.span_ms(span.start, span.end))
    rows = [
        {
            "signal": catalogue.BY_NUMBER[one.number].path if one.number in catalogue.BY_NUMBER else f"#{one.number}",
            "samples": one.samples,
            "from": spans.time_of(one.from_ms),
            "to": spans.time_of(one.to_ms),
        }
        for one in kept
    ]
    if as_json:
        typer.echo(formats.as_json({"asset_id": asset_id, "signals": rows}))
    elif rows:
        print_content(render_history.listing(rows))
    else:
        typer.echo(f"history has nothing of {asset_id}")


def _asked(signal: str, start: str, end: str, every: str | None) -> tuple[Signal, Span]:
    named = signals.resolve(signal)
    span = spans.span(start, end, every, _STEPS_MAX, datetime.now(UTC))
    faults = ([named] if isinstance(named, Fault) else []) + (span if isinstance(span, list) else [])
    if isinstance(named, Fault) or isinstance(span, list):
        fail([fault.text for fault in faults], exits.USAGE)
    return named, span


def _asset(reader: Reader, key: str) -> str:
    found = twins.asset_id_of(reader, key)
    if isinstance(found, list):
        not_found("twin", key, found)
    return found


def _steps(steps: Any, signal: Signal) -> list[dict[str, Any]]:
    columns = {"ts": steps.from_ms, "min": steps.minimum, "mean": steps.mean, "max": steps.maximum, "last": steps.last}
    listed = {name: column.tolist() for name, column in columns.items() if column is not None}
    rows = [dict(zip(listed, cells, strict=True)) for cells in zip(*listed.values(), strict=True)]
    for row, count in zip(rows, steps.samples.tolist(), strict=True):
        row |= {"last": _value(signal, row["last"]), "samples": count}
    return rows


def _value(signal: Signal, held: Any) -> Any:
    return bool(held) if signal.type == "boolean" else held


def _dated(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "ts": spans.time_of(row["ts"])}


def _csv(rows: list[dict[str, Any]]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    for place, row in enumerate(rows):
        if not place:
            writer.writerow(row)
        time = spans.time_of(row["ts"]).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        writer.writerow([time, *(value for name, value in row.items() if name != "ts")])
