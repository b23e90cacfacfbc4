"""Due devices to frames: a full snapshot now and then, else what moved beyond its deadband.

What each device sent last is in its `Reporter`; `samples` has what some kept since.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from simulator import samples
from simulator.arrays import Flags, Floats, Integers, Rows, where_true
from simulator.cells import Cells
from simulator.columns import NO_UNITS
from simulator.devices import Message
from simulator.packing import Packer
from simulator.reporters import Reporter
from wire import codec

Encoded = tuple[list[Message], Cells]


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
    spread = samples.are_kept(reporter, rows)
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
    samples.spread(reporter, rows, where_true(spread[slowly]), slowly, frames, last, units)
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
