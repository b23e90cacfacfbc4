"""`fleetfold-cloud`: run the twin service, create its topics, ask it questions."""

import json
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from cloud import dlq_cli, history_cli, query_cli, rebuild_cli, status_cli, topics_admin
from cloud.config import CloudSettings
from runtime import exits, logs, settings, stopping

app: Final = typer.Typer(help="Digital twins of a fleet: fold Kafka's events, query the result.", no_args_is_help=True)
topics_app: Final = typer.Typer(help="Kafka topics of the contract.", no_args_is_help=True)
app.add_typer(topics_app, name="topics")
app.add_typer(query_cli.twins_app, name="twins")
app.add_typer(query_cli.anomalies_app, name="anomalies")
app.add_typer(query_cli.customers_app, name="customers")
app.add_typer(dlq_cli.dlq_app, name="dlq")
app.add_typer(history_cli.history_app, name="history")

ConfigOption = Annotated[
    Path | None, typer.Option(help="TOML file; the environment overrides it.", envvar="FLEETFOLD_CLOUD_CONFIG")
]
CheckOption = Annotated[bool, typer.Option("--check", help="Validate the configuration and exit.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")]


@app.command()
def fold(
    config: ConfigOption = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=64, help="Processes that share the partitions [from the config: 1]."),
    ] = None,
    check: CheckOption = False,
) -> None:
    """Run the twin service until SIGTERM or Ctrl-C. Worker n answers n ports above the first's health port."""
    loaded = _load(config, check)
    if workers is not None:
        loaded = loaded.model_copy(update={"fold": loaded.fold.model_copy(update={"workers": workers})})
    from cloud import children, service  # numpy and the scheduler are not needed to ask questions
    from cloud import workers as several
    from cloud.history import service as history_service

    stop = stopping.stop_event()
    children.end_within(stop, loaded.fold.stop_limit_s)
    with history_service.beside(loaded, stop):
        (service if loaded.fold.workers == 1 else several).run(loaded, stop)


@app.command()
def rebuild(
    start: rebuild_cli.FromOption,
    dry_run: rebuild_cli.DryRunOption = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Fold the log again beside the live fold, and put the result in its place: for new detectors and mended bugs."""
    rebuild_cli.run(_load(config, False), start, dry_run, as_json, stopping.stop_event())


@history_cli.history_app.command("run")
def history_run(config: ConfigOption = None, check: CheckOption = False) -> None:
    """Keep history until SIGTERM or Ctrl-C. Only needed where `history.enabled` is false: else `fold` does it too."""
    loaded = _load(config, check)
    from cloud import children
    from cloud.history import service

    stop = stopping.stop_event()
    children.end_within(stop, loaded.fold.stop_limit_s)
    service.run(loaded, stop)


@app.command()
def status(
    worker: Annotated[
        list[str] | None, typer.Option(help="http://host:port of a worker's /metrics. Repeatable [http of the config].")
    ] = None,
    lag_max_s: Annotated[float, typer.Option(min=0, help="More than so many seconds behind is not well.")] = 60.0,
    timeout_s: Annotated[float, typer.Option(min=0.1, max=60.0, help="Longest wait for each answer.")] = 5.0,
    every_partition: Annotated[bool, typer.Option("--all", help="Also the partitions that are not behind.")] = False,
    watch_s: Annotated[float | None, typer.Option("--watch", min=0.5, help="Ask again every so many seconds.")] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """How the service does: lag by partition in records and seconds, workers, twins, dead letters.

    Exit code 0: it is well; 1: it is not, and says why; 3: Kafka or MongoDB does not answer.
    """
    asking = status_cli.Asking(tuple(worker or ()), lag_max_s, timeout_s, every_partition, watch_s, as_json)
    status_cli.run(_load(config, False), asking)


@topics_app.command("create")
def topics_create(
    config: ConfigOption = None,
    partitions: Annotated[
        int | None, typer.Option(min=1, help="Partitions of each topic [from the config: 8].")
    ] = None,
    replication_factor: Annotated[int | None, typer.Option(min=1, help="Copies of each partition [config: 1].")] = None,
    check: CheckOption = False,
    as_json: JsonOption = False,
) -> None:
    """Create the topics that do not exist yet; leaves existing ones as they are."""
    loaded = _load(config, check)
    given = {"partitions": partitions, "replication_factor": replication_factor}
    wanted = loaded.topics.model_copy(update={name: value for name, value in given.items() if value is not None})
    try:
        results = topics_admin.create(loaded.kafka, wanted)
    except topics_admin.UnreachableError as error:
        _fail(f"no Kafka broker answers at {error}", exits.UNREACHABLE)
    if as_json:
        typer.echo(json.dumps([result._asdict() for result in results]))
    else:
        table = Table("topic", "partitions", "outcome", box=None)
        for result in results:
            table.add_row(result.name, str(result.partitions), result.outcome)
        Console().print(table)
    if any(result.failed for result in results):
        raise typer.Exit(exits.FAILED)


def _load(config: Path | None, check: bool) -> CloudSettings:
    try:
        loaded = settings.load(CloudSettings, config)
    except settings.ConfigError as error:
        _fail("\n".join(error.faults), exits.USAGE)
    if check:
        typer.echo("configuration ok")
        raise typer.Exit(exits.OK)
    logs.configure(loaded.log)
    return loaded


def _fail(message: str, code: int) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(code)
