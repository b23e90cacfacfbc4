"""A series in equal steps of time, for plotting. Pure."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cloud.history.columns import Column
from cloud.history.series import Series, Times

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


class Steps(NamedTuple):
    """One row per step that has samples; a step begins at a multiple of its length since the Unix epoch.

    `minimum`, `maximum` and `mean` are None where values have no order in numbers: texts and lists.
    """

    from_ms: Times
    samples: Counts
    last: Column
    minimum: Column | None
    maximum: Column | None
    mean: Floats | None


def combine(parts: Sequence[Steps]) -> Steps:
    """Steps of consecutive stretches of time as one: a step that a stretch ends in goes on in the next one."""
    from_ms = np.concatenate([part.from_ms for part in parts])
    samples = np.concatenate([part.samples for part in parts])
    last = np.concatenate([part.last for part in parts])
    if not len(from_ms):
        return parts[0]
    starts = np.flatnonzero(np.concatenate((np.array([True]), np.diff(from_ms) > 0)))
    ends = np.append(starts[1:], len(from_ms)) - 1
    total = np.add.reduceat(samples, starts)
    if last.dtype == object:
        return Steps(from_ms[starts], total, last[ends], None, None, None)
    minimum = np.concatenate([part.minimum for part in parts if part.minimum is not None])
    maximum = np.concatenate([part.maximum for part in parts if part.maximum is not None])
    mean = np.concatenate([part.mean for part in parts if part.mean is not None])
    share = samples / np.repeat(total, np.diff(np.append(starts, len(from_ms))))
    return Steps(
        from_ms[starts],
        total,
        last[ends],
        np.minimum.reduceat(minimum, starts),
        np.maximum.reduceat(maximum, starts),
        np.add.reduceat(mean * share, starts),
    )


def resample(series: Series, every_ms: int) -> Steps:
    """Minimum, maximum, mean, last and count of each step. The series must be in order of time."""
    steps = series.times_ms // every_ms
    if not len(steps):
        return Steps(series.times_ms, np.zeros(0, np.int64), series.values, None, None, None)
    starts = np.flatnonzero(np.concatenate((np.array([True]), np.diff(steps) > 0)))
    count = np.diff(np.append(starts, len(steps)))
    last = series.values[starts + count - 1]
    from_ms = steps[starts] * every_ms
    if series.values.dtype == object:
        return Steps(from_ms, count, last, None, None, None)
    minimum = np.minimum.reduceat(series.values, starts)
    maximum = np.maximum.reduceat(series.values, starts)
    with np.errstate(over="ignore"):  # divided first and bounded, since sums of the greatest floats overflow
        mean = np.clip(np.add.reduceat(series.values / np.repeat(count, count), starts), minimum, maximum)
    return Steps(from_ms, count, last, minimum, maximum, mean)
