"""What the devices of one kind have sent: one matrix in units of the columns' resolutions."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from simulator.arrays import Flags, Floats, Integers, Rows
from simulator.columns import FIRST, NO_UNITS, Table
from simulator.devices import Devices
from simulator.packing import Packer

_SAMPLES_PER_FRAME: Final = 5


@dataclass(slots=True)
class Reporter:
    """What the devices of one kind sent, in units: `last [n, columns]`, `samples [n of several, slots, fast ones]`."""

    table: Table
    devices: Devices
    by_path: Packer
    by_number: Packer
    last: Integers
    full_at_s: Floats
    sample_steps: int
    slot: Integers
    """Row of `samples` for devices with several samples in a frame, else -1."""
    samples: Integers
    sample_ms: Integers
    sampled: Integers
    order: Rows
    """Columns, those first that frames of a given number of signals have first."""


def create(table: Table, devices: Devices, interval_steps: int) -> Reporter:
    """Nothing sent yet."""
    count, several = len(devices), int(devices.several.sum())
    sample_steps = max(1, interval_steps // _SAMPLES_PER_FRAME)
    slots = interval_steps // sample_steps + 1
    slot = np.full(count, -1, dtype=np.int32)
    slot[devices.several] = np.arange(several)
    first = [table.index_of[path] for path in FIRST if path in table.index_of]
    others = [column for column in range(len(table.columns)) if column not in first]
    by_path = Packer(table, table.paths)
    return Reporter(
        table=table,
        devices=devices,
        by_path=by_path,
        by_number=Packer(table, table.numbers, by_path.texts),
        last=np.full((count, len(table.columns)), NO_UNITS, dtype=np.int32),
        full_at_s=np.full(count, -np.inf),
        sample_steps=sample_steps,
        slot=slot,
        samples=np.zeros((several, slots, len(table.fast)), dtype=np.int32),
        sample_ms=np.zeros((several, slots), dtype=np.int64),
        sampled=np.zeros(several, dtype=np.int64),
        order=np.array([*first, *others], dtype=np.intp),
    )


def begin_session(reporter: Reporter, row: int) -> None:
    """The next frame is a full snapshot, and nothing sampled before counts."""
    reporter.full_at_s[row] = -np.inf
    if reporter.slot[row] >= 0:
        reporter.sampled[reporter.slot[row]] = 0


def due(devices: Devices, step: int, interval_steps: int) -> Flags:
    """Which devices report at this step of the clock."""
    return np.asarray((step - devices.phase) % interval_steps == 0)
