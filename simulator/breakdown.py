"""Applying faults to the fleet when their time has come."""

import numpy as np

from simulator import charging, contactors
from simulator.faults import Fault, FaultKind
from simulator.fleet import Fleet
from simulator.stations import FAILED_OHM, HEALTHY_OHM

_WEAK_REST_V = (11.25, 11.6)
_OVERHEATING_K = (32.0, 37.0)
_STUCK_OPEN_K = (-26.0, -22.0)
_LEAKED_SHARE = (0.55, 0.68)
_LEAK_S = 420.0
_PUNCTURED_SHARE = (0.2, 0.4)
_PUNCTURE_S = 60.0
_COOLANT_GONE_S = 400.0
_OIL_GONE_S = 500.0
_CELL_SPREAD_V = (0.18, 0.3)
_ISOLATION_FADES_S = 300.0
_PADS_PERCENT = (91.5, 97.0)
_CONTACTOR_WORN = (0.87, 0.9)


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
        _leak(fault, fleet, _between(_LEAKED_SHARE, fault.size), _LEAK_S)
    elif fault.kind is FaultKind.TYRE_PUNCTURE:
        _leak(fault, fleet, _between(_PUNCTURED_SHARE, fault.size), _PUNCTURE_S)
    elif fault.kind is FaultKind.COOLANT_LOSS:
        fleet.condition.coolant_loss_per_s[fault.row] = 1.0 / _COOLANT_GONE_S
        if from_the_start:
            fleet.condition.coolant_left[fault.row] = 0.4
            fleet.condition.coolant[fault.row] = 112.0
    elif fault.kind is FaultKind.THERMOSTAT_STUCK_OPEN:
        fleet.condition.coolant_extra[fault.row] = _between(_STUCK_OPEN_K, fault.size)
        if from_the_start:
            fleet.condition.coolant[fault.row] = 66.0
    elif fault.kind is FaultKind.OIL_LOSS:
        fleet.condition.oil_loss_per_s[fault.row] = 1.0 / _OIL_GONE_S
        if from_the_start:
            fleet.condition.oil_left[fault.row] = 0.5
    elif fault.kind is FaultKind.WEAK_CELL:
        fleet.energy.cell_spread_v[fault.row] = _between(_CELL_SPREAD_V, fault.size)
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
        charging.fail(fleet.stations, fault.row, fault.detail, fleet.now_s)
    elif fault.kind is FaultKind.ISOLATION_LOSS:
        fleet.stations.isolation_per_s[fault.row] = np.log(HEALTHY_OHM / FAILED_OHM) / _ISOLATION_FADES_S
        if from_the_start:
            fleet.stations.isolation_ohm[fault.row] = 1.1 * FAILED_OHM
    elif fault.kind is FaultKind.CONTACTOR_WEAR:
        fleet.stations.contactor_bounces[fault.row] = True
        fleet.stations.contactor_wear[fault.row] = _between(_CONTACTOR_WORN, fault.size) + 0.03 * from_the_start
        contactors.close(fleet.stations, np.array([fault.row]), fleet.now_s)


def _leak(fault: Fault, fleet: Fleet, share: float, seconds: float) -> None:
    state, wheel = fleet.condition, fault.detail
    state.leak_floor[fault.row] = share * state.cold_kpa[fault.row, wheel]
    state.leak_per_s[fault.row, wheel] = -np.log(share) / seconds
    if fault.onset_s <= 0:
        state.cold_kpa[fault.row, wheel] *= share


def _between(bounds: tuple[float, float], size: float) -> float:
    return bounds[0] + size * (bounds[1] - bounds[0])
