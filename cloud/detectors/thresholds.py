"""Levels from thresholds with a band between alarm and well."""

import numpy as np

from cloud.detectors.base import HOLD, WELL, Floats, Levels


def above(values: Floats, steps: tuple[tuple[float, int], ...], well_below: float) -> Levels:
    """The level of the highest step reached; `WELL` below `well_below`; else, or where NaN, `HOLD`.

    `steps` are (threshold, level), rising. `values` has any shape; the levels have the same.
    """
    levels = np.where(values < well_below, WELL, HOLD).astype(np.int8)
    for threshold, level in steps:
        levels = np.where(values >= threshold, np.int8(level), levels)
    return levels


def below(values: Floats, steps: tuple[tuple[float, int], ...], well_above: float) -> Levels:
    """`above`, mirrored: `steps` fall, and well is above `well_above`."""
    return above(-values, tuple((-threshold, level) for threshold, level in steps), -well_above)
