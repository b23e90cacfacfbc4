"""Due devices to frames: a full snapshot now and then, else what moved beyond its deadband.

State is one matrix of what each device sent last, in units of the columns' resolutions. Devices that put several
samples into a frame keep the fast columns of the samples since their last frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from simulator.arrays import Flags, Floats, Integers, Rows, where_true
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
    plain = where_true(~own)
    cells = _cells(reporter, rows[plain], units[plain], send[plain], now_ms, first)
    payloads: list[bytes] = [b""] * len(rows)
    for packer, chosen in _ways(reporter, rows, plain):
        of = rows[chosen]
        packed = packer.frames(send[chosen], values[chosen], now_ms, devices.sessions[of], devices.signal_seq[of])
        for place, payload in zip(chosen.tolist(), packed, strict=True):
            payloads[place] = payload
    slowly = where_true(own | devices.json[rows])
    frames = _frames(reporter, rows[slowly], send[slowly], values[slowly], now_ms)
    _spread(reporter, rows, where_true(spread[slowly]), slowly, frames, last, units)
    for place, row, frame in zip(slowly.tolist(), rows[slowly].tolist(), frames, strict=True):
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


def _frames(reporter: Reporter, rows: Rows, send: Flags, values: Floats, now_ms: int) -> list[dict[str, Any]]:
    """The frames of `rows` as maps, each with the cells `send` of `values [rows, columns]`."""
    devices, table = reporter.devices, reporter.table
    ends = np.cumsum(send.sum(axis=1)).tolist()
    columns, given = np.nonzero(send)[1].tolist(), values[send].tolist()
    frames, begin = [], 0
    for row, end in zip(rows.tolist(), ends, strict=True):
        keys: tuple[Any, ...] = table.numbers if devices.numbers[row] else table.paths
        cells = zip(columns[begin:end], given[begin:end], strict=True)
        frame = {
            "v": 1,
            "ts": now_ms,
            "signals": {keys[column]: table.value(column, value) for column, value in cells},
            "session": devices.session(row),
            "seq": int(devices.signal_seq[row]),
        }
        frames.append(frame)
        begin = end
    return frames


class _Kept(NamedTuple):
    """Of devices that put several samples into a frame: how many `[n]`, when `[n, slots]`, which `moved` and their
    `values [n, slots, fast columns]`, and those of the frame itself, `present [n, fast columns]`."""

    counts: list[int]
    times_ms: list[list[int]]
    moved: list[list[list[bool]]]
    values: list[list[list[float]]]
    present: list[list[float]]


def _spread(
    reporter: Reporter,
    rows: Rows,
    which: Rows,
    slowly: Rows,
    frames: list[dict[str, Any]],
    last: Integers,
    units: Integers,
) -> None:
    """Put the kept samples before the present one, in the frames at `which` of `slowly`: lists with null where nothing
    moved."""
    if not len(which):
        return
    table, places = reporter.table, slowly[which]
    kept = _kept(reporter, rows[places], last[places], units[places])
    of_each = zip(which.tolist(), rows[places].tolist(), *kept, strict=True)
    for place, row, count, times, moved, values, present in of_each:
        frame = frames[place]
        keys: tuple[Any, ...] = table.numbers if reporter.devices.numbers[row] else table.paths
        signals = {key: [None] * count + [value] for key, value in frame["signals"].items()}
        for fast, column in enumerate(table.fast):
            said = [value[fast] if is_new[fast] else None for is_new, value in zip(moved, values, strict=True)][:count]
            if said.count(None) < count:
                signals[keys[column]] = [*said, present[fast]]
        frame["dt"] = [time - times[0] for time in (*times[:count], frame["ts"])]
        frame["ts"] = times[0]
        frame["signals"] = signals


def _kept(reporter: Reporter, rows: Rows, last: Integers, units: Integers) -> _Kept:
    """Takes the samples of `rows`."""
    table, slots, fast = reporter.table, reporter.slot[rows], list(reporter.table.fast)
    samples, counts = reporter.samples[slots], reporter.sampled[slots]
    before, moved = last[:, fast], np.zeros(samples.shape, dtype=np.bool_)
    for slot in range(int(counts.max())):
        now = samples[:, slot]
        far = (before == NO_UNITS) | (np.abs(now - before) >= table.deadband_units[fast])
        moved[:, slot] = far & (now != NO_UNITS) & (slot < counts)[:, None]
        before = np.where(moved[:, slot], now, before)
    # What moved between frames may have moved back: the present value must end the list.
    present = units[:, fast]
    has_moved = moved.any(axis=1)
    reporter.last[rows[:, None], fast] = np.where(has_moved, present, reporter.last[rows[:, None], fast])
    reporter.sampled[slots] = 0
    values, of_frame = samples / table.scale[fast], present / table.scale[fast]
    times_ms = reporter.sample_ms[slots].tolist()
    return _Kept(counts.tolist(), times_ms, moved.tolist(), values.tolist(), of_frame.tolist())


def due(devices: Devices, step: int, interval_steps: int) -> Flags:
    """Which devices report at this step of the clock."""
    return np.asarray((step - devices.phase) % interval_steps == 0)


def samples_due(reporter: Reporter, step: int, interval_steps: int) -> Flags:
    """Which devices take a sample for their next frame at this step."""
    place = (step - reporter.devices.phase) % interval_steps
    is_sample = (place != 0) & (place % reporter.sample_steps == 0)
    return np.asarray(is_sample & reporter.devices.several & reporter.devices.awake)
