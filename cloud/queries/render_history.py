"""History as tables and lines for a terminal. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.text import Text

from cloud.queries import formats, render, spans
from wire.catalogue import Signal

_BARS: Final = "▁▂▃▄▅▆▇█"
_LINE_CHARS_MAX: Final = 100

Row = Mapping[str, Any]


def table(asset_id: str, signal: Signal, rows: Sequence[Row]) -> RenderableType:
    """Steps or samples, below a line that shows their course."""
    unit = f" in {formats.unit_of(signal.path)}" if signal.unit else ""
    course = "mean" if "mean" in rows[0] else "value"
    numbers = [float(row[course]) for row in rows if isinstance(row.get(course), int | float)]
    head = f"{asset_id}  {signal.path}{unit}"
    drawn = render.columns(*("time" if name == "ts" else name for name in rows[0]))
    for row in rows:
        time = spans.time_of(row["ts"]).isoformat(sep=" ", timespec="milliseconds")[:23]
        render.row(drawn, [time.removesuffix(".000"), *(formats.value(row[name]) for name in row if name != "ts")])
    parts: list[RenderableType] = [Text(head, style="bold")]
    if len(numbers) > 1:
        parts.append(Text(sparkline(numbers)))
    return Group(*parts, drawn)


def listing(rows: Sequence[Row]) -> RenderableType:
    """Which signals there are."""
    drawn = render.columns("signal", "samples", "from", "to")
    for row in rows:
        times = [row[name].strftime("%Y-%m-%d %H:%M:%S") for name in ("from", "to")]
        render.row(drawn, [row["signal"], row["samples"], *times])
    return drawn


def sparkline(numbers: Sequence[float]) -> str:
    """The course of `numbers` in one line, evenly thinned out where there are too many."""
    stride = -(-len(numbers) // _LINE_CHARS_MAX)
    shown = [max(numbers[start : start + stride]) for start in range(0, len(numbers), stride)]
    low, high = min(shown), max(shown)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BARS[int((number - low) * scale)] for number in shown)
