"""The work behind each command: settings in, summary out. Here parts and adapters are put together."""

import threading
import time
from pathlib import Path
from typing import Any

from simulator import mqtt, schedule
from simulator.engine import Engine
from simulator.errors import UnusableError
from simulator.running import Outbox, Run
from simulator.settings import SimulatorSettings
from simulator.show import Progress
from simulator.truth import TruthWriter


def run(
    settings: SimulatorSettings, truth: Path, start_ms: int | None, progress: Progress, stop: threading.Event
) -> dict[str, Any]:
    """`fleetfold-sim run`."""
    fleet, now_ms = settings.fleet, int(time.time() * 1_000)
    begins_ms = schedule.start_ms(start_ms, now_ms, fleet.speedup, fleet.duration_s)
    if begins_ms > now_ms:
        raise UnusableError(f"simulated time would begin {(begins_ms - now_ms) / 1_000:.0f} s in the future")
    _check_connections(settings, fleet.vehicles + fleet.stations)
    rates = {"faults": settings.faults.model_dump(), "misbehave": settings.send.misbehave}
    description = {"command": "run", "start_ms": begins_ms, **fleet.model_dump(), **rates}
    with (
        progress.shown(),
        TruthWriter(truth, description) as writer,
        mqtt.Publisher(settings.mqtt, settings.send) as broker,
    ):
        outbox = Outbox(writer, broker, progress.show)
        work = Run(Engine(settings, begins_ms), writer, outbox, stop)
        return work.go(fleet.duration_s, settings.send.drain_timeout_s).plain()


def _check_connections(settings: SimulatorSettings, devices: int) -> None:
    limit = settings.send.devices_with_own_connection_max
    if settings.send.connections == 0 and devices > limit:
        raise UnusableError(f"send.connections = 0 is for at most {limit} devices, these are {devices}")
