"""Due devices to frames: a full snapshot now and then, else what moved beyond its deadband.

State is one matrix of what each device sent last, in units of the columns' resolutions. Devices that put several
samples into a frame keep the fast columns of the samples since their last frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from simulator.arrays import Flags, Floats, Integers, Rows
from simulator.cells import Cells
from simulator.columns import FIRST, NO_UNITS, Table
from simulator.devices import Devices, Message
from simulator.packing import Packer
from wire import codec

_SAMPLES_PER_FRAME: Final = 5

Encoded = tuple[list[Message], Cells]


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


def sample(reporter: Reporter, rows: Rows, values: Floats, now_ms: int) -> None:
    """Keep the fast columns of `values [rows, columns]` until the next frame."""
    slots = reporter.slot[rows]
    at = reporter.sampled[slots]
    fits = at < reporter.samples.shape[1]
    slots, at = slots[fits], at[fits]
    reporter.samples[slots, at] = reporter.table.units(values[fits])[:, reporter.table.fast]
    reporter.sample_ms[slots, at] = now_ms
    reporter.sampled[slots] = at + 1


def changed(reporter: Reporter, rows: Rows, units: Integers, now_s: float, full_every_s: float) -> Flags:
    """Which cells of `units [rows, columns]` go into the frames: what moved, or all of them where it is time."""
    table = reporter.table
    full = now_s >= reporter.full_at_s[rows]
    reporter.full_at_s[rows[full]] = now_s + full_every_s
    last = reporter.last[rows]
    moved = (np.abs(units - last) >= table.deadband_units) | (last == NO_UNITS)
    wanted: Flags = moved | table.always | full[:, None]
    known: Flags = units != NO_UNITS
    return wanted & known


def first_known(reporter: Reporter, units: Integers, count: int) -> Flags:
    """The cells of the first `count` signals that each device has."""
    known: Flags = (units != NO_UNITS).T[reporter.order]  # column by column: numpy adds whole rows many times faster
    send = np.empty_like(known)
    send[reporter.order] = known & (np.cumsum(known, axis=0, dtype=np.uint8) <= count)
    return send.T


def report(reporter: Reporter, rows: Rows, units: Integers, send: Flags, now_ms: int, first: int) -> Encoded:
    """One frame for each of `rows` with the cells `send` of `units [rows, columns]`.

    Frames of several samples are more than cells of one time, and those of odd devices are not what is sent in the end;
    the others are numbered from `first`.
    """
    devices, last = reporter.devices, reporter.last[rows]
    reporter.last[rows] = np.where(send, units, last)
    values = reporter.table.of_units(units)
    spread = _is_spread(reporter, rows)
    own = spread | devices.odd[rows]
    plain = np.flatnonzero(~own)
    cells = _cells(reporter, rows[plain], units[plain], send[plain], now_ms, first)
    payloads: list[bytes] = [b""] * len(rows)
    for packer, chosen in _ways(reporter, rows, plain):
        of = rows[chosen]
        packed = packer.frames(send[chosen], values[chosen], now_ms, devices.sessions[of], devices.signal_seq[of])
        for place, payload in zip(chosen.tolist(), packed, strict=True):
            payloads[place] = payload
    for place in np.flatnonzero(own | devices.json[rows]).tolist():
        row = int(rows[place])
        frame = _frame(reporter, row, send[place], values[place], now_ms)
        if spread[place]:
            _spread(reporter, row, frame, last[place], units[place])
        payloads[place] = codec.to_json(frame) if devices.json[row] else codec.to_msgpack(frame)
    devices.signal_seq[rows] += 1
    numbers = _numbers(plain, len(rows), first)
    return devices.frames(rows.tolist(), payloads, numbers), cells


def _numbers(plain: Rows, count: int, first: int) -> Sequence[int | None]:
    """Of `count` frames, those at the places `plain` are numbered from `first`."""
    if len(plain) == count:
        return range(first, first + count)
    numbers: list[int | None] = [None] * count
    for number, place in enumerate(plain.tolist(), first):
        numbers[place] = number
    return numbers


def _cells(reporter: Reporter, rows: Rows, units: Integers, send: Flags, now_ms: int, first: int) -> Cells:
    return Cells(
        kind=reporter.devices.kind,
        ts_ms=now_ms,
        first=first,
        rows=rows,
        sequences=reporter.devices.signal_seq[rows],
        send=send,
        units=units[send],
    )


def _is_spread(reporter: Reporter, rows: Rows) -> Flags:
    """Which of `rows` have kept samples for this frame."""
    slots = reporter.slot[rows]
    if not len(reporter.sampled):
        return np.zeros(len(rows), dtype=np.bool_)
    return np.asarray((slots >= 0) & (reporter.sampled[slots] > 0))


def _ways(reporter: Reporter, rows: Rows, plainly: Rows) -> list[tuple[Packer, Rows]]:
    """Who among the places `plainly` of `rows` is packed how; those who speak JSON are not packed."""
    devices = reporter.devices
    packed = plainly[~devices.json[rows[plainly]]]
    numbered = devices.numbers[rows[packed]]
    ways = [(reporter.by_number, packed[numbered]), (reporter.by_path, packed[~numbered])]
    return [(packer, chosen) for packer, chosen in ways if len(chosen)]


def _frame(reporter: Reporter, row: int, send: Flags, values: Floats, now_ms: int) -> dict[str, Any]:
    devices, table = reporter.devices, reporter.table
    keys = table.numbers if devices.numbers[row] else table.paths
    columns = np.flatnonzero(send).tolist()
    return {
        "v": 1,
        "ts": now_ms,
        "signals": {keys[column]: table.value(column, float(values[column])) for column in columns},
        "session": devices.session(row),
        "seq": int(devices.signal_seq[row]),
    }


def _spread(reporter: Reporter, row: int, frame: dict[str, Any], last: Integers, units: Integers) -> None:
    """Put the kept samples before the present one: lists with null where nothing moved."""
    slot, table = int(reporter.slot[row]), reporter.table
    keys: tuple[Any, ...] = table.numbers if reporter.devices.numbers[row] else table.paths
    count = int(reporter.sampled[slot])
    times = reporter.sample_ms[slot, :count].tolist()
    signals = {key: [None] * count + [value] for key, value in frame["signals"].items()}
    for place, column in enumerate(table.fast):
        kept = _moved(reporter.samples[slot, :count, place], int(last[column]), float(table.deadband_units[column]))
        if any(value is not None for value in kept):
            # What moved between frames may have moved back: the present value must end the list.
            reporter.last[row, column] = units[column]
            scale = float(table.scale[column])
            signals[keys[column]] = [None if each is None else each / scale for each in (*kept, int(units[column]))]
    frame["dt"] = [time - times[0] for time in (*times, frame["ts"])]
    frame["ts"] = times[0]
    frame["signals"] = signals
    reporter.sampled[slot] = 0


def _moved(samples: Integers, last: int, deadband: float) -> list[int | None]:
    kept: list[int | None] = []
    for value in samples.tolist():
        moved = value != NO_UNITS and (last == NO_UNITS or abs(value - last) >= deadband)
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
