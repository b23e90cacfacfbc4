"""Helpers over the rows of many assets that lie one after the other."""

import numpy as np

from cloud.detectors.base import Flags, Floats, Indices


def since_true(flags: Flags, now_s: Floats, starts: Indices, memory: Floats) -> Floats:
    """Since when each row's flag has been true without a break, in s; where it is false, that row's own time.

    `memory [assets]` carries it over from and to other batches: the time, or 0 while the flag is false.
    """
    first = np.zeros(len(flags), dtype=bool)
    first[starts] = True
    begins = flags & (first | ~np.roll(flags, 1))
    origins = now_s.copy()
    origins[starts] = np.where(memory != 0.0, memory, now_s[starts])
    latest = np.maximum.accumulate(np.where(begins, np.arange(len(flags)), 0))
    since: Floats = np.where(flags, origins[latest], now_s)
    last = np.append(starts[1:], len(flags)) - 1
    memory[:] = np.where(flags[last], since[last], 0.0)
    return since
