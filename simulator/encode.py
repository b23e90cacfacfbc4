"""Due devices to frames: a full snapshot now and then, else what moved beyond its deadband.

State is one matrix of what each device sent last. Devices that put several samples into a frame keep the fast
columns of the samples since their last frame.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from simulator.arrays import Flags, Floats, Integers, Rows
from simulator.columns import Table
from simulator.devices import Devices, Message
from wire import codec
from wire.topics import Channel

_SAMPLES_PER_FRAME: Final = 5


@dataclass(slots=True)
class Reporter:
    """What the devices of one kind sent; `last [n, columns]`, samples `[n of several, slots, fast columns]`."""

    table: Table
    devices: Devices
    last: Floats
    full_at_s: Floats
    sample_steps: int
    slot: Integers
    """Row of `samples` for devices with several samples in a frame, else -1."""
    samples: Floats
    sample_ms: Integers
    sampled: Integers


def create(table: Table, devices: Devices, interval_steps: int) -> Reporter:
    """Nothing sent yet."""
    count, several = len(devices), int(devices.several.sum())
    sample_steps = max(1, interval_steps // _SAMPLES_PER_FRAME)
    slots = interval_steps // sample_steps + 1
    slot = np.full(count, -1)
    slot[devices.several] = np.arange(several)
    return Reporter(
        table=table,
        devices=devices,
        last=np.full((count, len(table.columns)), np.nan),
        full_at_s=np.full(count, -np.inf),
        sample_steps=sample_steps,
        slot=slot,
        samples=np.zeros((several, slots, len(table.fast))),
        sample_ms=np.zeros((several, slots), dtype=np.int64),
        sampled=np.zeros(several, dtype=np.int64),
    )


def begin_session(reporter: Reporter, row: int) -> None:
    """The next frame is a full snapshot, and nothing sampled before counts."""
    reporter.full_at_s[row] = -np.inf
    if reporter.slot[row] >= 0:
        reporter.sampled[reporter.slot[row]] = 0


def sample(reporter: Reporter, rows: Rows, values: Floats, now_ms: int) -> None:
    """Keep the fast columns of `values [rows, columns]` until the next frame."""
    slots = reporter.slot[rows]
    at = reporter.sampled[slots]
    fits = at < reporter.samples.shape[1]
    slots, at = slots[fits], at[fits]
    reporter.samples[slots, at] = values[fits][:, reporter.table.fast]
    reporter.sample_ms[slots, at] = now_ms
    reporter.sampled[slots] = at + 1


def report(
    reporter: Reporter, rows: Rows, values: Floats, now_s: float, now_ms: int, full_every_s: float
) -> list[Message]:
    """One frame for each of `rows` from `values [rows, columns]`."""
    last, table = reporter.last[rows], reporter.table
    full = now_s >= reporter.full_at_s[rows]
    reporter.full_at_s[rows[full]] = now_s + full_every_s
    known = np.isfinite(values)
    moved = ~(np.abs(values - last) < table.deadband)  # also where nothing was sent yet
    send = known & (moved | table.always | full[:, None])
    reporter.last[rows] = np.where(send, values, last)
    starts = np.concatenate([[0], np.cumsum(send.sum(axis=1))]).tolist()
    columns = np.nonzero(send)[1].tolist()
    numbers = values[send].tolist()
    messages = []
    for place, row in enumerate(rows.tolist()):
        begin, end = starts[place], starts[place + 1]
        chosen, chosen_numbers = columns[begin:end], numbers[begin:end]
        messages.append(_frame(reporter, row, chosen, chosen_numbers, last[place], values[place], now_ms))
    return messages


def _frame(
    reporter: Reporter, row: int, columns: list[int], numbers: list[float], last: Floats, values: Floats, now_ms: int
) -> Message:
    devices, table = reporter.devices, reporter.table
    keys = table.numbers if devices.numbers[row] else table.paths
    signals: dict[Any, Any] = {
        keys[column]: table.value(column, number) for column, number in zip(columns, numbers, strict=True)
    }
    frame = {
        "v": 1,
        "ts": now_ms,
        "signals": signals,
        "session": devices.session(row),
        "seq": int(devices.signal_seq[row]),
    }
    slot = int(reporter.slot[row])
    if slot >= 0 and reporter.sampled[slot]:
        _spread(reporter, row, frame, last, values, keys)
    devices.signal_seq[row] += 1
    payload = codec.to_json(frame) if devices.json[row] else codec.to_msgpack(frame)
    return devices.message(row, Channel.SIGNALS, payload)


def _spread(
    reporter: Reporter, row: int, frame: dict[str, Any], last: Floats, values: Floats, keys: tuple[Any, ...]
) -> None:
    """Put the kept samples before the present one: lists with null where nothing moved."""
    slot, table = int(reporter.slot[row]), reporter.table
    count = int(reporter.sampled[slot])
    times = reporter.sample_ms[slot, :count].tolist()
    signals = {key: [None] * count + [value] for key, value in frame["signals"].items()}
    for place, column in enumerate(table.fast):
        kept = _moved(reporter.samples[slot, :count, place], float(last[column]), float(table.deadband[column]))
        if any(value is not None for value in kept):
            # What moved between frames may have moved back: the present value must end the list.
            present = float(values[column])
            reporter.last[row, column] = present
            signals[keys[column]] = [*kept, present]
    frame["dt"] = [time - times[0] for time in (*times, frame["ts"])]
    frame["ts"] = times[0]
    frame["signals"] = signals
    reporter.sampled[slot] = 0


def _moved(samples: Floats, last: float, deadband: float) -> list[float | None]:
    kept: list[float | None] = []
    for value in samples.tolist():
        moved = value == value and not abs(value - last) < deadband
        kept.append(value if moved else None)
        last = value if moved else last
    return kept


def due(devices: Devices, step: int, interval_steps: int) -> Flags:
    """Which devices report at this step of the clock."""
    return np.asarray((step - devices.phase) % interval_steps == 0)


def samples_due(reporter: Reporter, step: int, interval_steps: int) -> Flags:
    """Which devices take a sample for their next frame at this step."""
    place = (step - reporter.devices.phase) % interval_steps
    is_sample = (place != 0) & (place % reporter.sample_steps == 0)
    return np.asarray(is_sample & reporter.devices.several & reporter.devices.awake)
