"""Frames of several samples: some devices keep the fast columns of what they sampled since their last frame, and put
what moved before the present values."""

from typing import Any, NamedTuple

import numpy as np

from simulator.arrays import Flags, Floats, Integers, Rows
from simulator.columns import NO_UNITS
from simulator.reporters import Reporter


def due(reporter: Reporter, step: int, interval_steps: int) -> Flags:
    """Which devices take a sample for their next frame at this step."""
    place = (step - reporter.devices.phase) % interval_steps
    is_sample = (place != 0) & (place % reporter.sample_steps == 0)
    return np.asarray(is_sample & reporter.devices.several & reporter.devices.awake)


def keep(reporter: Reporter, rows: Rows, values: Floats, now_ms: int) -> None:
    """Keep the fast columns of `values [rows, columns]` until the next frame."""
    slots = reporter.slot[rows]
    at = reporter.sampled[slots]
    fits = at < reporter.samples.shape[1]
    slots, at = slots[fits], at[fits]
    reporter.samples[slots, at] = reporter.table.units(values[fits])[:, reporter.table.fast]
    reporter.sample_ms[slots, at] = now_ms
    reporter.sampled[slots] = at + 1


def are_kept(reporter: Reporter, rows: Rows) -> Flags:
    """Which of `rows` have kept samples for this frame."""
    slots = reporter.slot[rows]
    if not len(reporter.sampled):
        return np.zeros(len(rows), dtype=np.bool_)
    return np.asarray((slots >= 0) & (reporter.sampled[slots] > 0))


class _Kept(NamedTuple):
    """Of devices that put several samples into a frame: how many `[n]`, when `[n, slots]`, which `moved` and their
    `values [n, slots, fast columns]`, and those of the frame itself, `present [n, fast columns]`."""

    counts: list[int]
    times_ms: list[list[int]]
    moved: list[list[list[bool]]]
    values: list[list[list[float]]]
    present: list[list[float]]


def spread(
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
