"""What happened, as events and steps of life of the contract."""

from simulator import lives
from simulator.charging import SessionStep
from simulator.faults import CONNECTOR_CODE, STATION_CAUSES, WORN_CAUSE, Fault, FaultKind
from simulator.fleet import Fleet
from simulator.identity import asset_id, evse_id
from wire.messages import ChargingEvent, DtcEvent, DtcStatus, LifecycleStep, NotifyEvent, Scalar, TripEvent
from wire.topics import Kind


def trip(fleet: Fleet, row: int, now_ms: int) -> TripEvent:
    """The trip that a car has just finished."""
    began_ms = int((fleet.start_s + fleet.plans.trip_began_s[row]) * 1_000)
    state = fleet.energy
    return TripEvent(
        v=1,
        ts=now_ms,
        trip_id=f"trip-{began_ms:x}-{int(fleet.plans.trips[row])}",
        started_ms=began_ms,
        ended_ms=now_ms,
        distance_m=round(float(fleet.motion.odometer_m[row] - fleet.motion.departed_m[row]), 1),
        energy_wh=round(float(state.battery_used_wh[row]), 1) if state.has_battery[row] else None,
        fuel_l=round(float(state.fuel_used_l[row]), 3) if state.has_engine[row] else None,
    )


def serviced(fleet: Fleet, row: int, now_ms: int) -> LifecycleStep:
    """The regular service that a car has just had, told by the workshop."""
    seed = fleet.traits.seed
    return LifecycleStep(
        v=1,
        asset_id=asset_id(seed, Kind.VEHICLE, row),
        kind=Kind.VEHICLE,
        step="serviced",
        ts=now_ms,
        place=lives.WORKSHOP,
        odometer_m=int(fleet.motion.odometer_m[row]),
        reference=lives.work_order(seed, row, int(fleet.condition.services[row]) - 1),
    )


def charging(fleet: Fleet, change: SessionStep, now_ms: int) -> ChargingEvent:
    """A step of a charging session, told by the station."""
    stations, row, seed = fleet.stations, change.station, fleet.traits.seed
    began_ms = int((fleet.start_s + stations.began_s[row]) * 1_000)
    return ChargingEvent(
        v=1,
        ts=now_ms,
        phase=change.phase,
        transaction_id=f"{began_ms:x}-{int(stations.sessions[row])}",
        evse_id=evse_id(seed, row),
        vehicle_id=asset_id(seed, Kind.VEHICLE, change.vehicle),
        meter_values={
            "Energy.Active.Import.Register": round(float(stations.register_wh[row]), 1),
            "Power.Active.Import": round(float(stations.power_w[row]), 1),
            "Current.Import": round(float(stations.current_a[row]), 2),
            "Voltage": round(float(stations.voltage_v[row]), 1),
            "SoC": round(100.0 * float(fleet.energy.state_of_charge[change.vehicle]), 2),
        },
        stopped_reason=change.reason,
    )


def trouble_code(fault: Fault, freeze_frame: dict[str, Scalar], now_ms: int) -> DtcEvent:
    """A code is set; a confirmed one lights the lamp, a stored one does not."""
    confirmed = fault.kind is FaultKind.TROUBLE_CODE
    status = DtcStatus(
        test_failed=confirmed,
        pending_dtc=not confirmed,
        confirmed_dtc=confirmed,
        warning_indicator_requested=confirmed,
    )
    return DtcEvent(v=1, ts=now_ms, code=fault.code, status=status, freeze_frame=freeze_frame)


def station_failed(which: int, now_ms: int) -> list[NotifyEvent]:
    """A station says that it has a problem, and why: one of `faults.STATION_CAUSES`."""
    cause = STATION_CAUSES[which]
    why = NotifyEvent(
        v=1,
        ts=now_ms,
        component=cause.component,
        variable=cause.variable,
        trigger="Alerting",
        actual_value=cause.actual_value,
        tech_code=cause.tech_code,
        tech_info=cause.tech_info,
    )
    problem = NotifyEvent(
        v=1, ts=now_ms, component="ChargingStation", variable="Problem", trigger="Alerting", actual_value=True, cause=0
    )
    return [why, problem]


def contactor_moved(now_ms: int, *, cleared: bool) -> NotifyEvent:
    """A station's contactor has dropped out under load, or is closed again."""
    cause = STATION_CAUSES[WORN_CAUSE]
    return NotifyEvent(
        v=1,
        ts=now_ms,
        component=cause.component,
        variable=cause.variable,
        trigger="Alerting",
        actual_value=not cleared,
        tech_code=cause.tech_code,
        tech_info="contactor drops out under load",
        cleared=cleared,
    )


def connector_hot(celsius: float, now_ms: int, *, cleared: bool) -> NotifyEvent:
    """A station derates because of its connector, or no longer does."""
    return NotifyEvent(
        v=1,
        ts=now_ms,
        component="TemperatureSensor",
        variable="Temperature",
        trigger="Alerting",
        actual_value=celsius,
        tech_code=CONNECTOR_CODE,
        tech_info="connector over temperature, power reduced",
        cleared=cleared,
    )
