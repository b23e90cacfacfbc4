"""One frame through the rules: what stays in it, keeping its session, its seq and the time of its first sample."""

from typing import Any, Final, NamedTuple

from edge.rules.asset import Asset
from edge.rules.cells import Cell
from edge.rules.extras import Extra
from wire import codec, frames, limits, quick
from wire.catalogue import Value
from wire.malformed import Malformed
from wire.messages import Frame, plain

Plain = dict[str, Any]
_NESTED: Final = frozenset({list, dict})


class Read(NamedTuple):
    """A frame; `given` is the same as plain values where it may have fields that this version does not know."""

    frame: Frame
    given: Plain | None


def read(payload: bytes, received_ms: int) -> Read | None:
    """None: this is no frame, or one from the future. It goes on as it is, so that its dead letter is written."""
    frame = quick.frame(payload)
    given: Any = None
    if frame is None or frame.dt is not None or any(type(each) in _NESTED for each in frame.signals.values()):
        given = codec.decode(payload)
        slow = frames.of_value(given)
        if isinstance(slow, Malformed):
            return None
        frame = slow
    newest_ms = frame.ts if frame.dt is None else frame.ts + max(frame.dt)
    return None if newest_ms > received_ms + limits.CLOCK_AHEAD_MS_MAX else Read(frame, given)


def reduce(asset: Asset, read: Read, extras: list[Extra]) -> Plain | None:
    """The frame as plain values without what is withheld; None when nothing is.

    What cannot be judged (an unknown signal, a value of the wrong type) stays, so that its dead letter is written.
    """
    frame = read.frame
    signals = _single(asset, frame, extras) if frame.dt is None else _several(asset, frame, extras)
    if signals is None:
        return None
    reduced = {**(read.given or plain(frame)), "signals": signals}
    return reduced if frame.dt is None else _without_empty_rows(reduced, frame)


def _single(asset: Asset, frame: Frame, extras: list[Extra]) -> Plain | None:
    keys: list[str | int] = []
    row: list[tuple[Cell, Value]] = []
    for key, given in frame.signals.items():
        cell = asset.cell(key)
        if cell is not None and given is not None:
            value = cell.judge(given)
            if not isinstance(value, Malformed):
                keys.append(key)
                row.append((cell, value))
    stays = asset.take(frame.ts, row, extras)
    if all(stays):
        return None
    gone = {key for key, stay in zip(keys, stays, strict=True) if not stay}
    return {key: given for key, given in frame.signals.items() if key not in gone}  # type: ignore[misc] # or numbers


class _Sample(NamedTuple):
    key: str | int
    cell: Cell
    value: Value


def _several(asset: Asset, frame: Frame, extras: list[Extra]) -> Plain | None:
    rows = _rows(asset, frame)
    assert frame.dt is not None
    columns: dict[str | int, list[Any]] = {}
    for index in sorted(range(len(rows)), key=frame.dt.__getitem__):
        samples = rows[index]
        stays = asset.take(frame.ts + frame.dt[index], [(each.cell, each.value) for each in samples], extras)
        for sample, stay in zip(samples, stays, strict=True):
            if not stay:
                if sample.key not in columns:
                    columns[sample.key] = list(frame.signals[sample.key])
                columns[sample.key][index] = None
    if not columns:
        return None
    kept = {key: columns.get(key, given) for key, given in frame.signals.items()}
    return {key: given for key, given in kept.items() if key not in columns or _is_any(given)}  # type: ignore[misc] # or numbers


def _is_any(column: list[Any]) -> bool:
    return any(given is not None for given in column)


def _rows(asset: Asset, frame: Frame) -> list[list[_Sample]]:
    assert frame.dt is not None
    rows: list[list[_Sample]] = [[] for _ in frame.dt]
    for key, column in frame.signals.items():
        cell = asset.cell(key)
        if cell is None or type(column) is not list or len(column) != len(rows):
            continue
        for row, given in zip(rows, column, strict=True):
            value = cell.judge(given) if given is not None else None
            if value is not None and not isinstance(value, Malformed):
                row.append(_Sample(key, cell, value))
    return rows


def _without_empty_rows(reduced: Plain, frame: Frame) -> Plain:
    """The first row stays even when it is empty: a frame's time is that of its first sample."""
    assert frame.dt is not None
    signals, count = reduced["signals"], len(frame.dt)
    if not signals:
        reduced.pop("dt")
        return {**reduced, "ts": frame.ts + frame.dt[0]}
    if any(type(column) is not list or len(column) != count for column in signals.values()):
        return reduced  # a column of the wrong length must still be seen as such
    used = [
        index for index in range(count) if index == 0 or any(column[index] is not None for column in signals.values())
    ]
    if len(used) < count:
        reduced["dt"] = [frame.dt[index] for index in used]
        reduced["signals"] = {key: [column[index] for index in used] for key, column in signals.items()}
    return reduced
