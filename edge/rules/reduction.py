"""One frame through the rules: what stays in it, keeping its session, its seq and the time of its first sample."""

from typing import Any, Final, NamedTuple

import msgspec

from edge.rules.asset import Asset, Sample
from edge.rules.cells import Verdict
from edge.rules.extras import Extra
from wire import codec, frames, limits, quick
from wire.malformed import Malformed
from wire.messages import Frame

Plain = dict[str, Any]
KEPT: Final = Verdict.KEPT
WITHHELD: Final = Verdict.WITHHELD
_encode: Final = msgspec.msgpack.Encoder().encode
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


class Reduced(NamedTuple):
    """What is left of a frame, as msgpack; `is_empty`: no signal is."""

    payload: bytes
    is_empty: bool


def reduce(asset: Asset, read: Read, extras: list[Extra]) -> Reduced | None:
    """The frame without what is withheld; None when nothing is, and when it cannot be written as msgpack.

    What cannot be judged (an unknown signal, a value of the wrong type) stays, so that its dead letter is written.
    """
    frame = read.frame
    signals = _single(asset, frame, extras) if frame.dt is None else _several(asset, frame, extras)
    if signals is None:
        return None
    if read.given is None:
        return Reduced(_encode(msgspec.structs.replace(frame, signals=signals)), not signals)
    reduced = {**read.given, "signals": signals}
    try:
        return Reduced(_encode(reduced if frame.dt is None else _without_empty_rows(reduced, frame)), not signals)
    except OverflowError:  # JSON has integers that msgpack has not
        return None


def _single(asset: Asset, frame: Frame, extras: list[Extra]) -> Plain | None:
    gone = _gone_at_once(asset, frame, extras) if asset.is_unarmed else asset.take(frame.ts, _row(asset, frame), extras)
    if not gone:
        return None
    return {key: given for key, given in frame.signals.items() if key not in gone}  # type: ignore[misc] # or numbers


def _gone_at_once(asset: Asset, frame: Frame, extras: list[Extra]) -> list[str | int]:
    """As `Asset.take` of the row, in one pass: without captures each sample is judged for itself."""
    gone: list[str | int] = []
    known, ms = asset.cells, frame.ts
    value: Any
    for key, given in frame.signals.items():
        cell = known.get(key) or asset.cell(key)
        if cell is None or given is None:
            continue
        sensor = cell.sensor
        if type(given) is sensor.plain_type and sensor.low <= given <= sensor.high:
            value = given
        elif isinstance(value := sensor.judge(given), Malformed):
            continue
        verdict = cell.take(ms, value)
        if verdict is KEPT:
            cell.collector.kept += 1
        elif verdict is WITHHELD:
            cell.collector.withheld += 1
            gone.append(key)
        elif not asset.stays(ms, cell, value, verdict, extras):
            gone.append(key)
    return gone


def _row(asset: Asset, frame: Frame) -> list[Sample]:
    row: list[Sample] = []
    for key, given in frame.signals.items():
        cell = asset.cells.get(key) or asset.cell(key)
        if cell is not None and given is not None:
            value = cell.sensor.judge(given)
            if not isinstance(value, Malformed):
                row.append((key, cell, value))
    return row


def _several(asset: Asset, frame: Frame, extras: list[Extra]) -> Plain | None:
    rows = _rows(asset, frame)
    assert frame.dt is not None
    columns: dict[str | int, list[Any]] = {}
    for index in sorted(range(len(rows)), key=frame.dt.__getitem__):
        for key in asset.take(frame.ts + frame.dt[index], rows[index], extras):
            if key not in columns:
                columns[key] = list(frame.signals[key])
            columns[key][index] = None
    if not columns:
        return None
    kept = {key: columns.get(key, given) for key, given in frame.signals.items()}
    return {key: given for key, given in kept.items() if key not in columns or _is_any(given)}  # type: ignore[misc] # or numbers


def _is_any(column: list[Any]) -> bool:
    return any(given is not None for given in column)


def _rows(asset: Asset, frame: Frame) -> list[list[Sample]]:
    assert frame.dt is not None
    rows: list[list[Sample]] = [[] for _ in frame.dt]
    for key, column in frame.signals.items():
        cell = asset.cell(key)
        if cell is None or type(column) is not list or len(column) != len(rows):
            continue
        for row, given in zip(rows, column, strict=True):
            value = cell.sensor.judge(given) if given is not None else None
            if value is not None and not isinstance(value, Malformed):
                row.append((key, cell, value))
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
