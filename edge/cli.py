"""`fleetfold-edge`: run the agent, look into its spool, examine its surroundings."""

import contextlib
import faulthandler
import json
import os
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer

from edge import rules_cli, spool_cli
from edge.config import EdgeSettings
from runtime import exits, settings, stopping
from runtime.absent import absent
from runtime.notify import Notifier

if TYPE_CHECKING:
    from edge.doctor.findings import Finding

app: Final = typer.Typer(
    help="The edge agent: MQTT to Kafka, with a spool on disk between them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(spool_cli.app, name="spool")
app.add_typer(rules_cli.app, name="rules")

ConfigOption = Annotated[
    Path | None, typer.Option(help="TOML file; the environment overrides it.", envvar="FLEETFOLD_EDGE_CONFIG")
]
CheckOption = Annotated[bool, typer.Option("--check", help="Validate the configuration and exit.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")]

_UNUSED: Final = ("rich", "dns")
"""By a running agent. structlog would take the one for tracebacks, paho the other for SRV records: 6 MB."""


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fleetfold-edge {metadata.version('fleetfold')}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """The edge agent: MQTT to Kafka, with a spool on disk between them."""


@app.command()
def run(config: ConfigOption = None, check: CheckOption = False) -> None:
    """Run the agent until SIGTERM or Ctrl-C. SIGHUP reads the configuration again."""
    loaded = _load(config)
    with absent(*_UNUSED):
        from edge import rulebook
        from runtime import logs
    faults = rulebook.check_file(loaded.rules)
    if faults:
        _fail("\n".join(faults), exits.USAGE)
    if check:
        typer.echo(f"configuration ok: gateway {loaded.gateway}, spool in {loaded.spool.directory}")
        return
    logs.configure(loaded.log)
    _serve(loaded, config)


def _load(config: Path | None) -> EdgeSettings:
    try:
        return settings.load(EdgeSettings, config)
    except settings.ConfigError as error:
        _fail("\n".join(error.faults), exits.USAGE)


def _serve(loaded: EdgeSettings, config: Path | None) -> None:
    from edge import heap

    heap.keep_small()
    with absent(*_UNUSED):
        from confluent_kafka import KafkaException  # not needed to check or to look at a spool

        from edge import service
        from edge.spool.disk import LockedError

    faulthandler.enable()  # a watchdog's SIGABRT shows what every thread was doing
    stop = stopping.stop_event()
    try:
        with service.Service(loaded, Notifier.of(os.environ)) as agent:
            stopping.on_hangup(lambda: agent.reload(lambda: settings.load(EdgeSettings, config)))
            agent.run(stop)
    except LockedError as error:
        _fail(str(error), exits.FAILED)
    except settings.ConfigError as error:  # a rules file that changed since it was checked
        _fail("\n".join(error.faults), exits.USAGE)
    except KafkaException as error:
        _fail(f"kafka: {error.args[0].str()}", exits.USAGE)
    except OSError as error:
        _fail(f"cannot run: {error}", exits.FAILED)


@app.command()
def doctor(
    config: ConfigOption = None,
    as_json: JsonOption = False,
    bytes_per_s: Annotated[
        float | None, typer.Option(help="How fast the spool grows when Kafka is away; default: ask a running agent.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count as failures.")] = False,
) -> None:
    """Check brokers, credentials, clock and disk from here. Changes nothing; works beside a running agent.

    Exit code 0: all well; 1: something has to be mended; 3: a broker cannot be reached.
    """
    loaded = _load(config)
    from edge.doctor import findings, run

    found = []
    with _progress(quiet=as_json) as say:
        for finding in run.check(loaded, bytes_per_s):
            found.append(finding)
            say(finding.check)
    if as_json:
        typer.echo(json.dumps({"gateway": loaded.gateway, "findings": [each._asdict() for each in found]}))
    else:
        _print_findings(found)
    raise typer.Exit(findings.exit_code(found, strict))


@contextlib.contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[str], None]]:
    """Says on a terminal what was checked last; some checks wait for seconds."""
    from rich.console import Console

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield lambda _: None
        return
    with console.status("checking") as status:
        yield lambda last: status.update(f"{last} done")


def _print_findings(found: "list[Finding]") -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    colors = {"ok": "green", "skipped": "dim", "warning": "yellow", "failed": "red", "unreachable": "red"}
    table = Table("check", "", "found", "what to do", box=None)
    for check, grade, detail, advice in found:
        table.add_row(check, f"[{colors[grade]}]{grade}[/]", escape(detail), escape(advice))
    Console().print(table)


def _fail(message: str, code: int) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(code)
