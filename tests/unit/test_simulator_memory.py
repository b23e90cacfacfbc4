"""What a vehicle costs in memory, and that its state keeps the types that make it cheap."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from simulator.engine import Engine
from tests.simulator_world import START_MS, settings

VEHICLES = 100_000
BYTES_PER_VEHICLE_MAX = 2_000

# Of a process of its own: the most that it ever had, less what Python and the libraries take before there is a fleet.
_MEASURE = f"""
import json, re
from pathlib import Path
from simulator.engine import Engine
from simulator.settings import FleetSection, SimulatorSettings

def most_bytes():
    return 1_024 * int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

before = most_bytes()
engine = Engine(SimulatorSettings(fleet=FleetSection(vehicles={VEHICLES}, speedup=1.0)), {START_MS})
frames = sum(len(engine.step()) for _ in range(12))
print(json.dumps([frames, (most_bytes() - before) / {VEHICLES}]))
"""


def test_a_vehicle_takes_less_than_two_kilobytes_with_the_default_settings():
    """Every device has sent a full snapshot by then, the largest that it sends."""
    done = subprocess.run([sys.executable, "-c", _MEASURE], check=True, capture_output=True, text=True)
    frames, bytes_per_vehicle = json.loads(done.stdout)
    assert frames > VEHICLES
    assert bytes_per_vehicle < BYTES_PER_VEHICLE_MAX


def _arrays(name: str, value: Any) -> Iterator[tuple[str, np.ndarray]]:
    if isinstance(value, np.ndarray):
        yield name, value
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _arrays(f"{name}.{key}", part)
    else:
        for key in getattr(value, "__slots__", ()) or getattr(value, "_fields", ()):
            yield from _arrays(f"{name}.{key}", getattr(value, key))


def test_a_step_changes_no_type_of_the_state():
    """A calculation in double precision must not make the state of the fleet twice as large."""
    engine = Engine(settings(vehicles=60, stations=10), START_MS)
    parts = {"fleet": engine.fleet, "unit": engine.news._unit, "vehicles": engine.vehicles, "stations": engine.stations}
    before = {name: array.dtype for name, array in _arrays("", parts)}
    for _ in range(120):
        engine.step()
    assert {name: array.dtype for name, array in _arrays("", parts)} == before
    assert len(before) > 90
