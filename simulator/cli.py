"""`fleetfold-sim`: a simulated fleet, recorded data, its people, and the oracle that verifies twins.

Answers go to stdout, notes and faults to stderr. Exit codes: see `runtime.exits`.
"""

import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer
from rich.console import Console

from runtime import exits, logs, stopping
from runtime.settings import ConfigError
from simulator import settings, show
from simulator.errors import UnreachableError, UnusableError
from simulator.settings import SimulatorSettings

app: Final = typer.Typer(help="A fleet with known truth, and the oracle that verifies twins.", no_args_is_help=True)

ConfigOption = Annotated[
    Path | None, typer.Option(help="TOML file; the environment overrides it.", envvar="FLEETFOLD_SIM_CONFIG")
]
TruthOption = Annotated[Path, typer.Option(help="New directory for the truth of this run.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")]
CheckOption = Annotated[bool, typer.Option("--check", help="Validate the configuration and exit.")]
VehiclesOption = Annotated[int | None, typer.Option(help="Vehicles [config: 200].")]
StationsOption = Annotated[int | None, typer.Option(help="Charging stations [config: 20].")]
SeedOption = Annotated[int | None, typer.Option(help="The same seed, the same fleet [config: 1].")]
SpeedupOption = Annotated[
    float | None,
    typer.Option(
        help="Simulated seconds in a second, up to 1000 [config: 60]. With fleet.step_s = 2 and fleet.groups = 1"
        " one core carries 1000 for 400 vehicles, or for 2,000 with --interval 60s; what is too much is said."
    ),
]
KafkaOption = Annotated[str | None, typer.Option(help="Kafka bootstrap servers.")]
TellServicesOption = Annotated[
    bool | None, typer.Option("--tell-services", help="Tell on Kafka which cars are serviced meanwhile [config: no].")
]
FaultsOption = Annotated[
    Path | None, typer.Option(help="TOML file: what breaks how often [config, see simulator/faults.toml].")
]
MqttOption = Annotated[str | None, typer.Option("--mqtt-url", help="MQTT broker, mqtt:// or mqtts://.")]


@app.callback()
def about() -> None:
    """A fleet with known truth, and the oracle that verifies twins."""


@app.command()
def run(
    truth: TruthOption,
    vehicles: VehiclesOption = None,
    stations: StationsOption = None,
    seed: SeedOption = None,
    speedup: SpeedupOption = None,
    interval: Annotated[
        str | None, typer.Option(help="Simulated time between the frames of a device: 10s, 2m, 1h [config: 10s].")
    ] = None,
    duration_s: Annotated[float | None, typer.Option(help="Seconds; 0: until stopped [config: 60].")] = None,
    connections: Annotated[
        int | None, typer.Option(help="MQTT connections; 0: one per device, with a last will [config: 4].")
    ] = None,
    misbehave: Annotated[
        float | None, typer.Option(help="Share of messages sent twice or too late [config: 0.01].")
    ] = None,
    faults: FaultsOption = None,
    quirks: Annotated[
        float | None,
        typer.Option(
            help="Share of devices with each quirk: wrong clock, noise, stuck sensor, … [config, section quirks]."
        ),
    ] = None,
    tell_services: TellServicesOption = None,
    start: Annotated[
        str | None, typer.Option(help="When simulated time begins, ISO 8601 [so that it ends now].")
    ] = None,
    mqtt_url: MqttOption = None,
    kafka: KafkaOption = None,
    config: ConfigOption = None,
    check: CheckOption = False,
    as_json: JsonOption = False,
) -> None:
    """Simulate a fleet: it drives, parks, charges, ages and breaks, and reports to the MQTT broker.

    The same seed and start give the same bytes. Exit code 1: not everything was acknowledged.
    """
    fleet = {
        "vehicles": vehicles,
        "stations": stations,
        "seed": seed,
        "speedup": speedup,
        "interval_s": _seconds(interval, "--interval") if interval else None,
        "duration_s": duration_s,
    }
    send = {"connections": connections, "misbehave": misbehave, "tell_services": tell_services}
    options: dict[str, dict[str, Any]] = {"fleet": fleet, "send": send, "mqtt": {"url": mqtt_url}}
    options["kafka"] = {"bootstrap_servers": kafka}
    options |= {"quirks": dict.fromkeys(settings.QuirkSection.model_fields, quirks)}
    loaded = _load(config, options, check, faults)
    start_ms = _time_ms(start, "--start") if start else None
    from simulator import commands  # numpy and paho are not needed to complain about options

    with _explained_failures():
        summary = commands.run(loaded, truth, start_ms, show.Progress(), stopping.stop_event())
    _say(summary, as_json)
    if summary["unacknowledged"] or summary["refused"]:
        raise typer.Exit(exits.FAILED)


@app.command()
def replay(
    file: Annotated[Path, typer.Argument(help="CSV file, gzipped or not.")],
    mapping: Annotated[str, typer.Option(help="carobd, acn, or a mapping file.")],
    truth: TruthOption,
    speedup: Annotated[
        float | None, typer.Option(min=0.001, help="Recorded seconds in a second [as fast as --rate-max allows].")
    ] = None,
    rate_max: Annotated[float | None, typer.Option(help="Messages a second without --speedup [config: 600].")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Read at most so many rows.")] = None,
    duration_s: Annotated[
        float, typer.Option(min=0, help="End after so many seconds; without --speedup, spread over them. 0: no limit.")
    ] = 0.0,
    end: Annotated[
        str | None, typer.Option(help="When a recording without a clock of its own ends, ISO 8601 [now].")
    ] = None,
    connections: Annotated[int | None, typer.Option(help="MQTT connections [config: 4].")] = None,
    mqtt_url: MqttOption = None,
    config: ConfigOption = None,
    check: CheckOption = False,
    as_json: JsonOption = False,
) -> None:
    """Replay recorded data as devices. Exit code 1: not everything was acknowledged."""
    send = {"connections": connections, "rate_max": rate_max}
    loaded = _load(config, {"send": send, "mqtt": {"url": mqtt_url}}, check)
    end_ms = _time_ms(end, "--end") if end else None
    from simulator import commands  # as above

    options = commands.ReplayOptions(file, mapping, limit, speedup, duration_s, end_ms)
    with _explained_failures():
        summary = commands.replay(loaded, truth, options, show.Progress(), stopping.stop_event())
    _say(summary, as_json)
    if summary["unacknowledged"] or summary["refused"]:
        raise typer.Exit(exits.FAILED)


@app.command()
def people(
    vehicles: VehiclesOption = None,
    stations: StationsOption = None,
    seed: SeedOption = None,
    truth: Annotated[Path | None, typer.Option(help="New directory for the truth of this run.")] = None,
    recorded: Annotated[
        list[str] | None,
        typer.Option(help="Also the assets of a mapping: NAME, or NAME=FILE where the table names them [carobd]."),
    ] = None,
    now: Annotated[str | None, typer.Option(help="What transfers are in the future of, ISO 8601 [now].")] = None,
    faults: Annotated[
        Path | None, typer.Option(help="The same as of `run`: it says how many have missed their last service.")
    ] = None,
    kafka: KafkaOption = None,
    config: ConfigOption = None,
    check: CheckOption = False,
    as_json: JsonOption = False,
) -> None:
    """Tell who owns the assets of a seed, and their lives from order to delivery, on the Kafka topics."""
    fleet = {"vehicles": vehicles, "stations": stations, "seed": seed}
    loaded = _load(config, {"fleet": fleet, "kafka": {"bootstrap_servers": kafka}}, check, faults)
    now_ms = _time_ms(now, "--now") if now else int(time.time() * 1_000)
    named = [_name_and_file(text) for text in (["carobd"] if recorded is None else recorded) if text]
    from simulator import commands  # as above

    with _explained_failures():
        summary = commands.tell_people(loaded, commands.PeopleOptions(truth, named, now_ms))
    _say(summary, as_json)


@app.command()
def verify(
    truth: Annotated[list[Path], typer.Option(help="Directory of a run's truth. Repeat for several runs.")],
    mongodb_uri: Annotated[str | None, typer.Option(help="MongoDB instead of the configured one.")] = None,
    database: Annotated[str | None, typer.Option(help="Database instead of the configured one.")] = None,
    differences_max: Annotated[int, typer.Option(min=0, help="Print at most so many differences.")] = 20,
    wait_s: Annotated[float, typer.Option(min=0, help="Wait so long for the last message to be folded.")] = 0.0,
    still_s: Annotated[
        float | None, typer.Option(min=0, help="Wait no longer once nothing more was folded for so long [wait-s].")
    ] = None,
    history_assets: Annotated[
        int, typer.Option(min=0, help="Compare the history of about so many assets of each run, sample by sample.")
    ] = 0,
    config: ConfigOption = None,
    check: CheckOption = False,
    as_json: JsonOption = False,
) -> None:
    """Compare the twins, and history, with what was sent. Exit code 1: something is lost, doubled or wrong."""
    loaded = _load(config, {"mongo": {"uri": mongodb_uri, "database": database}}, check)
    from simulator import commands  # as above

    with _explained_failures():
        patience = commands.Patience(wait_s, wait_s if still_s is None else still_s)
        verdict = commands.verify(loaded, truth, patience, history_assets)
    if as_json:
        typer.echo(json.dumps(verdict.plain(differences_max)))
    else:
        typer.echo("\n".join(verdict.lines(differences_max)))
    if not verdict.good:
        raise typer.Exit(exits.FAILED)


def _name_and_file(text: str) -> tuple[str, Path | None]:
    name, _, file = text.partition("=")
    return name, Path(file) if file else None


@contextmanager
def _explained_failures() -> Iterator[None]:
    """What cannot be done ends the command with one line and its exit code."""
    try:
        yield
    except UnusableError as error:
        _fail(str(error), exits.USAGE)
    except UnreachableError as error:
        _fail(str(error), exits.UNREACHABLE)


def _load(
    config: Path | None, options: dict[str, dict[str, Any]], check: bool = False, faults: Path | None = None
) -> SimulatorSettings:
    try:
        broken = {"faults": settings.read_faults(faults)} if faults is not None else {}
        loaded = settings.load(config, options | broken)
    except ConfigError as error:
        _fail(str(error), exits.USAGE)
    if check:
        typer.echo("configuration is valid")
        raise typer.Exit(exits.OK)
    logs.configure(loaded.log)
    return loaded


def _seconds(text: str, option: str) -> int:
    match = re.fullmatch(r"(\d{1,9})(s|m|h)?", text)
    if match is None:
        _fail(f"{option}: {text!r} is not a time like 10s, 2m or 1h", exits.USAGE)
    return int(match[1]) * {"s": 1, "m": 60, "h": 3_600}[match[2] or "s"]


def _time_ms(text: str, option: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        _fail(f"{option}: {text!r} is not a time like 2026-05-01T08:00:00Z", exits.USAGE)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1_000)


def _say(summary: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(summary))
    else:
        Console().print(show.summary_table(summary))
    if complaint := show.complaint(summary):
        typer.echo(complaint, err=True)


def _fail(message: str, code: int) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(code)
