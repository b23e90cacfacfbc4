"""The headline run: a whole fleet through the whole system on this machine, verified against what its devices sent.

Broker, edge agent, Kafka, twin service, MongoDB and simulator are the real programs, started by their console scripts
with documented settings (benchmarks/headline_plan.py). The age of twins is measured from outside: every half second
300 twins are read, and when one shows a newer frame, its age is the time since that frame's source time; so ages are
up to half a second too high, never too low. Lost and doubled are the oracle's counts over all twins.
"""

import shutil
import tempfile
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from benchmarks import figures, headline_plan, headline_report, headline_run
from benchmarks.headline_plan import Plan
from local import programs, waiting
from local.servers import mqtt, named, stack
from local.servers.base import ServerError
from runtime import exits, stopping

_INTERRUPTED: Final = 130


def main(
    vehicles: Annotated[int, typer.Option(min=100, max=1_000_000)] = 100_000,
    duration: Annotated[int, typer.Option(min=5, help="Seconds of measuring, after everybody is on.")] = 600,
    interval: Annotated[int, typer.Option(min=1, help="Seconds between the frames of a vehicle.")] = 10,
    signals: Annotated[int, typer.Option(min=1, max=60, help="In each frame.")] = 20,
    on_per_s: Annotated[
        int, typer.Option(min=1, help="So many vehicles switch on in a second.")
    ] = headline_plan.DEVICES_ON_PER_S,
    seed: Annotated[int, typer.Option()] = 1,
    kafka: Annotated[
        stack.KafkaKind, typer.Option(help="tansu keeps its log in memory; apache needs java and mvn.")
    ] = "tansu",
    broker: Annotated[mqtt.Choice, typer.Option("--mqtt")] = "auto",
    history: Annotated[bool, typer.Option("--history", help="Keep what signals were over time, too.")] = False,
    workers: Annotated[int, typer.Option(min=1, max=2, help="Of the twin service.")] = headline_plan.WORKERS,
    out: Annotated[Path, typer.Option(help="Result as JSON; the plot stands beside it.")] = figures.DIRECTORY
    / "headline.json",
    keep: Annotated[bool, typer.Option("--keep", help="Keep data, logs and truth.")] = False,
    smoke: Annotated[bool, typer.Option("--smoke", help="What must hold on any machine.")] = False,
) -> None:
    """Run, report, exit: 0 all targets are met (with --smoke: nothing is lost, doubled or wrong), 1 not."""
    plan = Plan(
        vehicles, duration, interval, signals, seed, 4, on_per_s, stack.Brokers(kafka, broker), history, workers
    )
    console = Console()
    directory = Path(tempfile.mkdtemp(prefix="fleetfold-headline-"))
    try:
        outcome = headline_run.run(
            plan, directory, stopping.stop_event(), lambda text: console.print(text, style="dim")
        )
    except waiting.InterruptedByUserError:
        raise typer.Exit(_INTERRUPTED) from None
    except (ServerError, programs.FailedError) as error:
        console.print(str(error), markup=False)
        raise typer.Exit(exits.UNREACHABLE if isinstance(error, named.UnreachableError) else exits.FAILED) from error
    finally:
        if keep:
            console.print(f"data, logs and truth are in {directory}")
        else:
            shutil.rmtree(directory, ignore_errors=True)
    rows = headline_report.rows(outcome)
    notes = headline_report.notes(outcome)
    figures.show(f"{plan.vehicles:,} vehicles on this machine", rows, notes)
    for difference in outcome.verdict["differences"]:
        console.print(f"{difference['kind']}: {difference['asset_id']}: {difference['text']}", markup=False)
    figures.write(out, rows, notes)
    headline_report.plot(outcome, out.with_suffix(".png"))
    console.print(f"written: {out} and {out.with_suffix('.png')}")
    verdict = outcome.verdict
    clean = not (verdict["lost"] or verdict["doubled"] or verdict["wrong"]) and outcome.drained_s is not None
    good = clean if smoke else clean and all(row.met is not False for row in rows)
    raise typer.Exit(exits.OK if good else exits.FAILED)


if __name__ == "__main__":
    typer.run(main)
