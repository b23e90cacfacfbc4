"""Contactors of charging stations: they switch the current, and each switching cycle wears them. Arrays are `[n]`.

A healthy one is replaced in time. One whose contacts bounce is eroded by the arc of every closing; when little is left
it drops out under load and is closed again, which is the next cycle; when nothing is left it does not close.
"""

from typing import Final, NamedTuple

import numpy as np

from simulator.arrays import Flags, Rows, where_true
from simulator.plans import NOBODY
from simulator.stations import Stations

REPLACED_AT: Final = 0.8
"""Share of its life at which the operator replaces a contactor that is looked after."""
DROPS_OUT_FROM: Final = 0.9
_CYCLES_OF_LIFE: Final = 50_000
"""Makers give 10⁴ to 10⁵ cycles at the rated current."""
_BOUNCING_CYCLES: Final = 50
"""So many closings with an arc wear out what is new."""
_TRIES_AGAIN_S: Final = 30.0
_HOLDS_S: Final = 60.0
_HOLDS_S_PER_LIFE: Final = 1_800.0


class Switched(NamedTuple):
    """Stations whose contactor has dropped out, has closed again, has failed to close for good."""

    opened: Rows
    closed: Rows
    stuck: Rows


_NONE: Final[Rows] = np.zeros(0, dtype=np.intp)
NOTHING: Final = Switched(_NONE, _NONE, _NONE)


def close(stations: Stations, rows: Rows, now_s: float) -> None:
    """A switching cycle: the contactors of `rows` close, and hold for as long as their wear lets them."""
    bounces = stations.contactor_bounces[rows]
    worn = stations.contactor_wear[rows] + 1.0 / _CYCLES_OF_LIFE + bounces / _BOUNCING_CYCLES
    stations.contactor_wear[rows] = np.where(~bounces & (worn > REPLACED_AT), 0.0, np.minimum(worn, 1.0))
    stations.contactor_open[rows] = False
    drops_out = bounces & (worn >= DROPS_OUT_FROM)
    holds_s = _HOLDS_S + _HOLDS_S_PER_LIFE * np.maximum(1.0 - worn, 0.0)
    stations.contactor_moves_s[rows] = np.where(drops_out, now_s + holds_s, np.inf)


def advance(stations: Stations, now_s: float) -> Switched:
    """What the contactors of cars that want to be charged do by themselves."""
    moves: Flags = (now_s >= stations.contactor_moves_s) & ~stations.faulted
    if not moves.any():
        return NOTHING
    loaded = (stations.vehicle != NOBODY) & np.isinf(stations.completed_s)
    stations.contactor_moves_s[moves & ~loaded & ~stations.contactor_open] = np.inf  # without a load there is no arc
    opened = where_true(moves & loaded & ~stations.contactor_open)
    again = where_true(moves & stations.contactor_open)
    worn_out = stations.contactor_wear[again] >= 1.0
    stations.contactor_open[opened] = True
    stations.contactor_moves_s[opened] = now_s + _TRIES_AGAIN_S
    close(stations, again[~worn_out], now_s)
    return Switched(opened, again[~worn_out], again[worn_out])
