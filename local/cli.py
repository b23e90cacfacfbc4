"""`fleetfold-local`: the whole system on one machine, without Docker and without root."""

import os
import shutil
import signal
import tempfile
import threading
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from local import apart, claims, programs, services, system, waiting
from local import demo as demos
from local.processes import Processes
from local.servers import mqtt, named, stack
from local.servers.base import ServerError
from runtime import exits, stopping

app: Final = typer.Typer(help="fleetfold on one machine: brokers, database, services.", no_args_is_help=True)
_CHECK_INTERVAL_S: Final = 1.0

KafkaOption = Annotated[
    stack.KafkaKind,
    typer.Option(help="tansu: in memory, up at once. apache: Apache Kafka on the JVM (needs java and mvn)."),
]
MqttOption = Annotated[
    mqtt.Choice, typer.Option("--mqtt", help="auto: mosquitto when it is installed, else rumqttd, which is in memory.")
]


@app.command()
def up(
    data: Annotated[Path | None, typer.Option(help="Keep data and logs here [a temporary directory].")] = None,
    kafka: KafkaOption = "tansu",
    broker: MqttOption = "auto",
    servers_only: Annotated[bool, typer.Option("--servers-only", help="No topics, no agent, no twin service.")] = False,
) -> None:
    """Start MQTT, Kafka, MongoDB, the edge agent and the twin service, print how to reach them, run until Ctrl-C.

    Servers that MQTT_URL, KAFKA_BOOTSTRAP_SERVERS or MONGODB_URI name are used as they are.
    """
    directory = data or Path(tempfile.mkdtemp(prefix="fleetfold-"))
    stop, owner = _stop_event(), Processes()
    try:
        endpoints = system.start_servers(owner, directory, stack.Brokers(kafka, broker), stop)
        running = None if servers_only else system.start_services(owner, directory, endpoints, apart.SHARED, stop)
        for name, value in endpoints.environment.items():
            typer.echo(f"export {name}='{value}'")
        while not stop.wait(_CHECK_INTERVAL_S):
            if running is not None:
                running.programs.check()
    except waiting.InterruptedByUserError:
        raise typer.Exit(demos.INTERRUPTED) from None
    except (ServerError, programs.FailedError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(_exit_code(error)) from error
    finally:
        owner.stop_all()
        if data is None:
            shutil.rmtree(directory, ignore_errors=True)


@app.command()
def demo(
    duration: Annotated[int, typer.Option(min=0, help="Seconds of load; 0: until Ctrl-C, without verification.")] = 60,
    vehicles: Annotated[int, typer.Option(min=1, max=100_000)] = 200,
    stations: Annotated[int, typer.Option(min=0, max=10_000)] = 20,
    seed: Annotated[int, typer.Option(help="The same seed, the same fleet.")] = 1,
    speedup: Annotated[float, typer.Option(min=0.1, max=1_000, help="Simulated seconds in a second.")] = 60,
    real: Annotated[str, typer.Option(help="Folder of recorded data; `auto`: where it usually is; `none`.")] = "auto",
    kafka: KafkaOption = "tansu",
    broker: MqttOption = "auto",
    plain: Annotated[bool, typer.Option("--plain", help="One line every few seconds instead of a picture.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep data, logs and truth.")] = False,
    drain_limit: Annotated[int, typer.Option(min=1, help="Seconds to wait for the last message.")] = 60,
) -> None:
    """Run a simulated fleet through the whole system and verify every twin against what the devices sent.

    Exit code 0: nothing lost, doubled or wrong. 1: something was, or a part failed. 3: a server that the
    environment names does not answer, or another demo of this machine uses it. 130: Ctrl-C; with `--duration 0`
    Ctrl-C is the end, and the code 0.
    """
    fleet = services.Fleet(vehicles, stations, seed, speedup)
    recordings = services.recordings(_recorded_data(real))
    plan = demos.Plan(fleet, duration, recordings, stack.Brokers(kafka, broker), plain, float(drain_limit))
    directory = Path(tempfile.mkdtemp(prefix="fleetfold-demo-"))
    try:
        code = demos.run(plan, Processes(), directory, Console(), _stop_event())
    except (ServerError, programs.FailedError) as error:
        typer.echo(str(error), err=True)
        code = _exit_code(error)
    if keep or code == exits.FAILED:
        typer.echo(f"data, logs and truth are in {directory}", err=True)
    else:
        shutil.rmtree(directory, ignore_errors=True)
    raise typer.Exit(code)


def _recorded_data(real: str) -> Path | None:
    """`auto`: what FLEETFOLD_DATA names, else `shared/data` beside the working directory."""
    if real == "none":
        return None
    if real != "auto":
        return Path(real)
    return Path(os.environ.get("FLEETFOLD_DATA") or Path.cwd().parent / "shared" / "data")


def _stop_event() -> threading.Event:
    stop = stopping.stop_event()
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # the terminal is closed; nohup ignores that
        signal.signal(signal.SIGHUP, signal.getsignal(signal.SIGTERM))
    return stop


def _exit_code(error: Exception) -> int:
    return exits.UNREACHABLE if isinstance(error, named.UnreachableError | claims.TakenError) else exits.FAILED
