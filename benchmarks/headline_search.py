"""The largest fleet that this machine sustains, by bisection with short runs.

Sustained means: the p99 of the ages stays below five seconds, frames are folded as fast as they are sent, everything
drains, nothing is lost or doubled. The bounds are those given; a fleet of the lower one must be sustained. A run is
given up as soon as twins are typically twice as old as may be; so each takes about two minutes at most.
"""

import shutil
import tempfile
import threading
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks import figures, headline_report, headline_run
from benchmarks.figures import Row
from benchmarks.headline_plan import Plan
from benchmarks.headline_run import Outcome
from local import programs, waiting
from local.servers import mqtt, stack
from local.servers.base import ServerError
from runtime import exits, stopping

_INTERRUPTED = 130


def main(
    lower: Annotated[int, typer.Option(min=100, help="Vehicles that are certainly sustained.")] = 10_000,
    upper: Annotated[int, typer.Option(min=200, help="Vehicles that hardly are.")] = 160_000,
    precision: Annotated[float, typer.Option(min=0.01, max=0.5, help="End when the bounds are this close.")] = 0.15,
    duration: Annotated[int, typer.Option(min=10, help="Seconds of measuring, each run.")] = 30,
    seed: Annotated[int, typer.Option()] = 1,
    kafka: Annotated[stack.KafkaKind, typer.Option()] = "tansu",
    broker: Annotated[mqtt.Choice, typer.Option("--mqtt")] = "auto",
    history: Annotated[bool, typer.Option("--history", help="Keep what signals were over time, too.")] = False,
    out: Annotated[Path, typer.Option()] = figures.DIRECTORY / "headline_search.json",
) -> None:
    """Halve the distance between what is sustained and what is not. Exit code 1: not even the lower bound is."""
    console, stop = Console(), stopping.stop_event()
    brokers = stack.Brokers(kafka, broker)
    rows: list[Row] = []
    sustained, refused, vehicles = 0, upper, lower
    try:
        while True:
            console.print(f"{vehicles:,} vehicles …")
            rows_of, holds = _tried(Plan(vehicles, duration, seed=seed, brokers=brokers, history=history), stop)
            rows += rows_of
            if holds:
                sustained = vehicles
            else:
                refused = vehicles
            console.print(f"{vehicles:,} vehicles: {'sustained' if holds else 'not sustained'}")
            if sustained == 0 or refused <= sustained * (1.0 + precision):
                break
            vehicles = _rounded((sustained * refused) ** 0.5)
    except waiting.InterruptedByUserError:
        raise typer.Exit(_INTERRUPTED) from None
    except (ServerError, programs.FailedError) as error:
        console.print(str(error), markup=False)
        raise typer.Exit(exits.FAILED) from error
    rows.append(Row("largest fleet sustained", sustained, "vehicles", None, ">= 100000", sustained >= 100_000))
    figures.show("The largest fleet that this machine sustains", rows)
    figures.write(out, rows)
    raise typer.Exit(exits.OK if sustained else exits.FAILED)


def _tried(plan: Plan, stop: threading.Event) -> tuple[list[Row], bool]:
    """What was measured, and whether the fleet is sustained."""
    directory = Path(tempfile.mkdtemp(prefix="fleetfold-headline-"))
    try:
        outcome = headline_run.run(plan, directory, stop, lambda _text: None, 2 * headline_report.AGE_S_MAX)
    except headline_run.FellBehindError as error:
        return [Row(f"{plan.vehicles:,} vehicles: {error}", error.age_s, "s")], False
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return _rows(outcome), headline_report.sustained(outcome)


def _rows(outcome: Outcome) -> list[Row]:
    vehicles = f"{outcome.plan.vehicles:,} vehicles"
    p99_s = headline_report.percentile([age.age_s for age in outcome.ages], 99)
    return [
        Row(f"{vehicles}: frames folded", headline_report.rate(outcome, "folded"), "1/s", outcome.plan.frames_per_s),
        Row(f"{vehicles}: age when visible p99", p99_s, "s"),
        Row(f"{vehicles}: lost and doubled", outcome.verdict["lost"] + outcome.verdict["doubled"], ""),
    ]


def _rounded(vehicles: float) -> int:
    return round(vehicles / 500) * 500


if __name__ == "__main__":
    typer.run(main)
