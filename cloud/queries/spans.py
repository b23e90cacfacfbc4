"""A range of time and its steps, as a person asks for them. Pure."""

from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from cloud.queries import parsing
from cloud.queries.faults import Fault

_ROWS: Final = 48
"""About how many steps there are when nobody says."""
_NICE_S: Final = (1, 5, 10, 30, 60, 300, 600, 900, 1_800, 3_600, 7_200, 14_400, 43_200, 86_400, 604_800)


class Span(NamedTuple):
    """`start` <= time < `end`, in steps of `every_ms`."""

    start: datetime
    end: datetime
    every_ms: int


def span(start: str, end: str, every: str | None, steps_max: int, now: datetime) -> Span | list[Fault]:
    """The range, or all that is wrong with the options `--from`, `--to` and `--every`."""
    first, last = parsing.moment(start, now), parsing.moment(end, now)
    step = None if every is None else parsing.duration(every)
    given = (("--from", first), ("--to", last), ("--every", step))
    faults = [Fault(f"{option}: {value.text}") for option, value in given if isinstance(value, Fault)]
    if isinstance(first, Fault) or isinstance(last, Fault) or isinstance(step, Fault):
        return faults
    if last <= first:
        return [Fault(f"--from: {first:%Y-%m-%dT%H:%M:%SZ} is not before --to {last:%Y-%m-%dT%H:%M:%SZ}")]
    every_ms = _nice_ms(last - first) if step is None else int(step.total_seconds() * 1000)
    count = (last - first) // timedelta(milliseconds=every_ms or 1)
    if every_ms < 1 or count > steps_max:
        return [Fault(f"--every: {count} steps; at most {steps_max}: give it longer steps or a shorter range")]
    return Span(first, last, every_ms)


def _nice_ms(length: timedelta) -> int:
    wanted_s = length.total_seconds() / _ROWS
    return 1000 * next((nice_s for nice_s in _NICE_S if nice_s >= wanted_s), _NICE_S[-1])


def time_of(ms: int) -> datetime:
    """Aware, UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC)
