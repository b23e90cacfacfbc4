"""`fleetfold-edge spool`: look into a spool, copy records out of it, check it. Nothing is changed, none is locked."""

import contextlib
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Final, NoReturn

import typer

from runtime import exits

if TYPE_CHECKING:
    from edge.inspection import Damage, Segment, Survey

app: Final = typer.Typer(
    help="The spool on disk: all commands only read, also beside a running agent.", no_args_is_help=True
)

DirectoryArgument = Annotated[Path, typer.Argument(help="The spool's directory.", show_default=False)]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")]

_COLUMNS: Final = (
    "streams", "first_sequence", "last_sequence", "first_received", "records", "blocks", "damaged_blocks", "bytes",
    "unreadable_bytes",
)  # fmt: skip


class ClassChoice(StrEnum):
    """Of records."""

    SIGNALS = "signals"
    EVENTS = "events"


class Format(StrEnum):
    """Of an export."""

    JSONL = "jsonl"
    MSGPACK = "msgpack"


@app.command("inspect")
def inspect(directory: DirectoryArgument, as_json: JsonOption = False) -> None:
    """Show segments, sequences, sizes, and what is to deliver."""
    from edge import inspection
    from edge.spool.disk import Directory

    with _readable(directory):
        disk = Directory(directory, writable=False)
        found = inspection.inspect(disk)
        disk.close()
    if as_json:
        typer.echo(json.dumps(found))
    else:
        _print_inspected(found)


@app.command("verify")
def verify(directory: DirectoryArgument, as_json: JsonOption = False) -> None:
    """Read every byte and check every checksum. Exit code 1: something is not as it was written."""
    from edge import inspection
    from edge.inspection import Survey
    from edge.spool.disk import Directory

    with _readable(directory):
        disk = Directory(directory, writable=False)
        survey = Survey(disk)
        segments = list(_progress(survey))
        found = inspection.verify(survey, segments)
        disk.close()
    if as_json:
        typer.echo(json.dumps(_verdict(segments, found)))
    else:
        for damage in found:
            typer.echo(f"{damage.file}: {damage.what}")
        totals = _verdict(segments, found)
        typer.echo(f"{totals['records']} records in {totals['segments']} segments are whole, {len(found)} faults")
    raise typer.Exit(exits.FAILED if found else exits.OK)


def _verdict(segments: "list[Segment]", found: "list[Damage]") -> dict[str, Any]:
    return {
        "segments": len(segments),
        "records": sum(segment.records for segment in segments),
        "bytes": sum(segment.bytes for segment in segments),
        "damage": [damage._asdict() for damage in found],
    }


def _progress(survey: "Survey") -> "Iterator[Segment]":
    """Says on a terminal how far it is: a large spool takes minutes."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    segments = survey.segments()
    if not console.is_terminal:
        return segments
    return iter(track(segments, "checking", total=len(survey.names), console=console, transient=True))


@app.command("export")
def export(
    directory: DirectoryArgument,
    format_: Annotated[
        Format, typer.Option("--format", help="JSON lines, or a stream of msgpack maps.")
    ] = Format.JSONL,
    storage_class: Annotated[
        ClassChoice | None, typer.Option("--class", help="Only this class; default: both.")
    ] = None,
    asset: Annotated[list[str] | None, typer.Option(help="Only this asset; may be repeated.")] = None,
    since: Annotated[datetime | None, typer.Option(help="Received at or after this time, UTC.")] = None,
    until: Annotated[datetime | None, typer.Option(help="Received before this time, UTC.")] = None,
    undelivered: Annotated[bool, typer.Option("--undelivered", help="Only what Kafka has not confirmed.")] = False,
    output: Annotated[Path | None, typer.Option(help="A file to write; default: standard output.")] = None,
) -> None:
    """Copy records: frames and events as devices sent them, refused messages, gap records.

    Exit code 1: some of the spool could not be read; the rest was exported.
    """
    import msgpack

    from edge import export as exporting
    from edge.inspection import Survey
    from edge.spool.disk import Directory
    from edge.spool.records import StorageClass

    classes = frozenset(StorageClass) if storage_class is None else frozenset({StorageClass[storage_class.name]})
    wanted = exporting.Filter(classes, frozenset(asset or ()), _ms(since), _ms(until), undelivered)
    encode = exporting.to_json_line if format_ is Format.JSONL else msgpack.packb
    segments: list[Segment] = []
    with _readable(directory):
        disk = Directory(directory, writable=False)
        survey = Survey(disk)
    with _target(output) as target:
        for record in exporting.export(survey, wanted, segments):
            target.write(encode(record))
    disk.close()
    damaged = [each for each in segments if each.damaged_blocks or each.unreadable_bytes]
    if damaged:
        names = ", ".join(each.file for each in damaged)
        _fail(f"not everything could be read: {names}; see fleetfold-edge spool verify", exits.FAILED)


def _ms(time: datetime | None) -> int | None:
    return None if time is None else int(time.replace(tzinfo=time.tzinfo or UTC).timestamp() * 1000)


@contextlib.contextmanager
def _target(output: Path | None) -> Iterator[BinaryIO]:
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        with output.open("xb") as file:
            yield file
    except FileExistsError:
        _fail(f"{output} exists already", exits.USAGE)
    except OSError as error:
        _fail(f"{output}: {error.strerror or error}", exits.FAILED)


@contextlib.contextmanager
def _readable(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        _fail(f"{directory}: {error.strerror or error}", exits.FAILED)


def _print_inspected(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("segment", *(name.replace("_", " ") for name in _COLUMNS), box=None)
    for segment in found["segments"]:
        shown = segment | {"streams": ", ".join(map(str, segment["streams"])), "first_received": _time(segment)}
        table.add_row(segment["file"], *(str(shown[name]) for name in _COLUMNS))
    console = Console()
    console.print(f"epoch {found['epoch']}, {found['records']} records, {found['bytes']} bytes")
    console.print(table)
    for storage_class, spans in (found["checkpoint"] or {}).items():
        for span in spans:
            end = "" if span["limit_sequence"] is None else f", up to sequence {span['limit_sequence']}"
            console.print(f"to deliver {storage_class}: from sequence {span['sequence']}{end}")
    for lost in found["lost"]:
        sequences = f"{lost['first_sequence']}-{lost['last_sequence']}"
        console.print(f"lost {lost['storage_class']}: {sequences} {lost['reason']}")


def _time(segment: dict[str, Any]) -> str:
    received_ms = segment["first_received_ms"]
    return "" if received_ms is None else datetime.fromtimestamp(received_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _fail(message: str, code: int) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(code)
