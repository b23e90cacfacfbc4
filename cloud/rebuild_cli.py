"""`fleetfold-cloud rebuild`: fold the log again. Progress and faults go to stderr, the result to stdout."""

import json
import threading
import time
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import structlog
import typer
from confluent_kafka import KafkaException
from pymongo.errors import PyMongoError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from cloud.config import CloudSettings
from cloud.handover import LostError
from cloud.queries import formats, parsing
from cloud.queries.faults import Fault
from cloud.query_session import fail
from runtime import exits, garbage

log: Final = structlog.get_logger()

FromOption = Annotated[
    str,
    typer.Option(
        "--from",
        help="`beginning`, or a time: 2026-03-01, 2026-03-01T08:30Z, -24h. From a time on, twins keep what they"
        " counted before; signals and findings are renewed.",
    ),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Change nothing: say how the rebuilt twins differ from the live ones.")
]

_LINE_EVERY_S: Final = 5.0


def run(settings: CloudSettings, start: str, dry_run: bool, as_json: bool, stop: threading.Event) -> None:
    """Rebuild, and end the process with the right exit code."""
    from cloud import rebuild, rebuild_result, rebuild_start  # numpy is not needed for other commands

    garbage.search_rarely()
    view = _Bar() if Console(stderr=True).is_terminal else _Lines()
    try:
        with view:
            result = rebuild.Rebuild(settings, _since_ms(start), dry_run, view, stop.is_set).run()
    except rebuild_start.RefusedError as error:
        fail([f"not rebuilt: {error}"], exits.FAILED)
    except LostError as error:
        fail([f"not rebuilt: {error}; the twins are as they were"], exits.FAILED)
    except rebuild.StoppedError as error:
        fail([f"stopped; {error}"], exits.FAILED)
    except KafkaException as error:
        fail([f"not rebuilt: Kafka: {error}"], exits.UNREACHABLE)
    except PyMongoError as error:
        log.debug("rebuild", error=str(error))
        fail([f"not rebuilt: MongoDB: {type(error).__name__}"], exits.UNREACHABLE)
    found = rebuild_result.summary(result)
    if as_json:
        typer.echo(json.dumps(found, default=str, indent=2))
    else:
        _print(found, dry_run)
    if dry_run and found["differences"]["equal"] < found["differences"]["compared"]:
        raise typer.Exit(exits.FAILED)


def _since_ms(start: str) -> int | None:
    if start.strip().casefold() == "beginning":
        return None
    at = parsing.moment(start, datetime.now(UTC))
    if isinstance(at, Fault):
        fail([f"--from: {at.text}, nor `beginning`"], exits.USAGE)
    return int(at.timestamp() * 1000)


def _print(found: dict[str, Any], dry_run: bool) -> None:
    if found["finished"]:
        typer.echo("finished what an earlier rebuild had left; run again for another one")
        return
    if not dry_run:
        typer.echo(
            f"rebuilt {found['twins']} twins from {found['records']} records; workers waited"
            f" {found['pause_ms'] / 1000:.1f} s; {found['kept']} twins of which the log says nothing are as they were;"
            f" {found['anomalies']} anomalies found again, {found['withdrawn']} withdrawn"
        )
        return
    differences = found["differences"]
    typer.echo(
        f"{differences['compared']} twins compared: {differences['equal']} equal, {differences['only_rebuilt']} only"
        f" rebuilt; {differences['not_compared']} changed too fast to compare"
    )
    if differences["fields"]:
        table = Table("field", "twins", box=None)
        for name, count in differences["fields"].items():
            table.add_row(formats.printable(name), str(count))
        examples = Table("asset", "field", "live", "rebuilt", box=None)
        for one in differences["examples"]:
            cells = (one["asset_id"], one["field"], one["live"], one["rebuilt"])
            examples.add_row(*(formats.printable(formats.value(cell)) for cell in cells))
        console = Console(markup=False, highlight=False)
        console.print(table)
        console.print(examples)


class _Bar:
    """A bar with rate and time to go, on a terminal."""

    def __init__(self) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
        )
        self._progress = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True))
        self._task: TaskID | None = None
        self._began_s = time.monotonic()

    def __enter__(self) -> "_Bar":
        self._progress.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._progress.stop()

    def phase(self, text: str) -> None:
        if self._task is None:
            self._task = self._progress.add_task(text, total=None, rate="")
        self._progress.update(self._task, description=text)

    def progress(self, done: int, total: int) -> None:
        if self._task is not None:
            rate = done / max(0.001, time.monotonic() - self._began_s)
            self._progress.update(self._task, completed=done, total=total, rate=f"{rate:,.0f} records/s")


class _Lines:
    """A line now and then, for logs."""

    def __init__(self) -> None:
        self._began_s = self._said_s = time.monotonic()

    def __enter__(self) -> "_Lines":
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def phase(self, text: str) -> None:
        typer.echo(text, err=True)

    def progress(self, done: int, total: int) -> None:
        now_s = time.monotonic()
        if now_s - self._said_s >= _LINE_EVERY_S:
            self._said_s = now_s
            rate = done / (now_s - self._began_s)
            left_s = (total - done) / rate if rate else float("inf")
            typer.echo(f"{done} of {total} records, {rate:,.0f} a second, {left_s:,.0f} s to go", err=True)
