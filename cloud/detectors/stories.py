"""Helpers over the rows of many assets that lie one after the other."""

import numpy as np

from cloud.detectors.base import Flags, Floats, Indices


def since_true(flags: Flags, now_s: Floats, starts: Indices, memory: Floats) -> Floats:
    """Since when each row's flag has been true without a break, in s; where it is false, that row's own time.

    `memory [assets]` carries it over from and to other batches: the time, or 0 while the flag is false.
    """
    since = now_s.copy()
    ends = np.append(starts[1:], len(now_s))
    for asset, (start, end) in enumerate(zip(starts, ends, strict=True)):
        held = memory[asset]
        for row in range(start, end):
            held = (held or now_s[row]) if flags[row] else 0.0
            since[row] = held or now_s[row]
        memory[asset] = held
    return since
