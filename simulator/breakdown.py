"""Applying faults to the fleet when their time has come."""

import numpy as np

from simulator import charging
from simulator.faults import STATION_CAUSES, Fault, FaultKind
from simulator.fleet import Fleet

_WEAK_REST_V = (11.25, 11.6)
_OVERHEATING_K = (32.0, 37.0)
_LEAKED_SHARE = (0.55, 0.68)
_LEAK_S = 420.0
_PADS_PERCENT = (91.5, 97.0)


def apply(fault: Fault, fleet: Fleet) -> None:
    """Bend the state of the asset that breaks. What was there from the start is already far along."""
    from_the_start = fault.onset_s <= 0
    if fault.kind is FaultKind.WEAK_LOW_VOLTAGE_BATTERY:
        state = fleet.condition
        state.low_voltage_drop[fault.row] = state.rest_v[fault.row] - _between(_WEAK_REST_V, fault.size)
    elif fault.kind is FaultKind.COOLANT_OVERHEATING:
        fleet.condition.coolant_extra[fault.row] = _between(_OVERHEATING_K, fault.size)
        if from_the_start:
            fleet.condition.coolant[fault.row] = 111.0
    elif fault.kind is FaultKind.TYRE_LEAK:
        _leak(fault, fleet, from_the_start)
    elif fault.kind is FaultKind.BRAKE_PADS_WORN:
        axle = fault.detail // 2 * 2
        worn = _between(_PADS_PERCENT, fault.size)
        fleet.condition.pad_wear[fault.row, axle : axle + 2] = (worn, worn - 0.8)
        fleet.worn_out[fault.row] = True
    elif fault.kind is FaultKind.CONNECTOR_OVERHEATING:
        fleet.stations.bad_contact[fault.row] = True
        if from_the_start and fleet.stations.occupied[fault.row]:
            fleet.stations.temperature[fault.row] = 94.0
    elif fault.kind is FaultKind.STATION_FAILURE:
        _fail(fault, fleet)


def _leak(fault: Fault, fleet: Fleet, from_the_start: bool) -> None:
    state, wheel = fleet.condition, fault.detail
    share = _between(_LEAKED_SHARE, fault.size)
    state.leak_floor[fault.row] = share * state.cold_kpa[fault.row, wheel]
    state.leak_per_s[fault.row, wheel] = -np.log(share) / _LEAK_S
    if from_the_start:
        state.cold_kpa[fault.row, wheel] *= share


def _fail(fault: Fault, fleet: Fleet) -> None:
    stations = fleet.stations
    stations.faulted[fault.row] = True
    stations.cause[fault.row] = fault.detail
    assert 0 <= fault.detail < len(STATION_CAUSES)
    charging.interrupt(stations, fault.row, fleet.now_s)


def _between(bounds: tuple[float, float], size: float) -> float:
    return bounds[0] + size * (bounds[1] - bounds[0])
