"""The simulator: what 100,000 vehicles cost that report every 10 s, and how fast its time can run.

    python -m benchmarks.simulator [--smoke] [--out DIRECTORY]

`fleetfold-sim run` against an installed mosquitto, as users start it. Memory is the most that the process ever had,
less that of a run of one vehicle. Lateness is that of messages against their schedule.
"""

import argparse
import json
import sysconfig
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import psutil

from benchmarks.report import Report
from local.processes import Processes
from local.servers import mqtt

_SIMULATOR: Final = str(Path(sysconfig.get_path("scripts")) / "fleetfold-sim")
_POLL_S: Final = 0.1
_CORE_SHARE_MAX: Final = 0.6
_BYTES_PER_VEHICLE_MAX: Final = 2_000.0
_LATE_S_MAX: Final = 0.1
_FAST: Final = "step_s = 2.0\ngroups = 1\n"
"""Of the configuration."""


class Plan(NamedTuple):
    """How long and how large."""

    vehicles: int
    duration_s: float
    fast_fleets: tuple[tuple[int, str], ...]
    """Vehicles, and how often each has a frame."""
    fast_s: float


_FULL: Final = Plan(
    vehicles=100_000,
    duration_s=20,
    fast_fleets=((100, "10s"), (200, "10s"), (400, "10s"), (1_000, "60s"), (2_000, "60s")),
    fast_s=4,
)
_SMOKE: Final = Plan(vehicles=1_000, duration_s=3, fast_fleets=((5, "10s"),), fast_s=0.5)


class Ran(NamedTuple):
    """A run: its summary, and the most memory that it had."""

    summary: Mapping[str, Any]
    most_bytes: int


def run(
    broker_url: str, vehicles: int, speedup: float, duration_s: float, interval: str = "10s", fleet: str = ""
) -> Ran:
    """One `fleetfold-sim run`; `fleet` is more of its configuration."""
    with tempfile.TemporaryDirectory(prefix="fleetfold-bench-") as directory:
        config = Path(directory) / "sim.toml"
        config.write_text(f"[fleet]\nstations = 20\n{fleet}", encoding="utf-8")
        words = [
            f"--vehicles={vehicles}",
            f"--interval={interval}",
            f"--speedup={speedup}",
            f"--duration-s={duration_s}",
        ]
        command = [_SIMULATOR, "run", f"--truth={directory}/truth", f"--mqtt-url={broker_url}", f"--config={config}"]
        with Processes() as owner:
            output = Path(directory) / "summary"
            child = owner.start("fleetfold-sim", [*command, *words, "--json"], output)
            most_bytes, process = 0, psutil.Process(child.pid)
            while child.exit_code is None:
                most_bytes = max(most_bytes, _memory_bytes(process))
                time.sleep(_POLL_S)
            *_, summary = [line for line in output.read_text(encoding="utf-8").splitlines() if line.startswith("{")]
            return Ran(json.loads(summary), most_bytes)


def _memory_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:  # it has just ended
        return 0


def measure(plan: Plan, broker_url: str) -> Report:
    """At the pace of the clock, then as fast as it can be."""
    report = Report("simulator")
    alone, fleet = run(broker_url, 1, 1.0, 2), run(broker_url, plan.vehicles, 1.0, plan.duration_s)
    named = f"{plan.vehicles:,} vehicles every 10 s"
    report.below(f"{named}: one core", fleet.summary["core_share"], "share", _CORE_SHARE_MAX)
    report.below(f"{named}: lateness p50", fleet.summary["lateness_s"]["p50"], "s", _LATE_S_MAX)
    report.below(f"{named}: lateness p99", fleet.summary["lateness_s"]["p99"], "s", _LATE_S_MAX)
    each = (fleet.most_bytes - alone.most_bytes) / plan.vehicles
    report.below(f"{named}: memory of a vehicle", each, "B", _BYTES_PER_VEHICLE_MAX)
    report.add(f"{named}: not acknowledged", fleet.summary["unacknowledged"], "messages")
    for vehicles, interval in plan.fast_fleets:
        fast = run(broker_url, vehicles, 1_000.0, plan.fast_s, interval, _FAST).summary
        of_fleet = f"1,000 times real time, {vehicles:,} vehicles every {interval}"
        report.at_least(of_fleet, fast["speedup_reached"], "times", fast["speedup"], 0.99)
        report.add(f"{of_fleet}: sent", fast["messages_per_s"], "1/s")
    report.notes.append("Accelerated runs take steps of 2 s, and all devices report at the same step of the interval.")
    report.notes.append("A run that cannot keep its schedule sends the same bytes, later, and says so.")
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="in seconds: it proves the bench, not the speed")
    parser.add_argument("--out", type=Path, help="directory of the results [benchmarks/results; none with --smoke]")
    options = parser.parse_args()
    with (
        Processes() as owner,
        tempfile.TemporaryDirectory(prefix="fleetfold-bench-") as directory,
        mqtt.broker(owner, Path(directory), "mosquitto") as broker,
    ):
        report = measure(_SMOKE if options.smoke else _FULL, broker.url)
    report.show()
    if options.out is not None:
        report.write(options.out)
    elif not options.smoke:
        report.write()


if __name__ == "__main__":
    main()
