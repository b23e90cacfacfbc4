"""A fleet as a simulation begins: some cars drive already, some charge, most are parked.

Assets with a fault are placed so that it can show within an hour: a weak 12 V battery is parked, an overheating
engine is on a long trip, a bad contact or contactor is under load.
"""

from typing import Final

import numpy as np

from simulator import (
    breakdown,
    charging,
    energy,
    faults,
    habits,
    identity,
    models,
    motion,
    plans,
    roads,
    servicing,
    stations,
    weather,
    world,
)
from simulator.arrays import Flags, Floats, Integers, Rows, singles, stream, where_true
from simulator.charging import Chargeable
from simulator.condition import LOW_VOLTAGE_BATTERY_YEARS, REST_V_LOST_BY_AGE, Condition
from simulator.energy import Energy
from simulator.faults import Fault, FaultKind
from simulator.fleet import Fleet
from simulator.identity import VehicleTraits
from simulator.models import Powertrain
from simulator.motion import Motion
from simulator.plans import NOBODY, Mode, Place, Plans
from simulator.roads import Spots

_ON_THE_ROAD_SHARE: Final = 0.25
"""Of those who are on the road for their work."""
_TO_WORK_S: Final = 1_500.0
_ERRAND_DRIVE_H: Final = 0.3
"""There and back."""
_OCCUPIED_SHARE: Final = 0.6
_STAYS_PARKED_S: Final = 3_600.0


def create(seed: int, vehicle_count: int, station_count: int, start_s: float, planned: list[Fault]) -> Fleet:
    """Everything at the start, with the faults applied that are there from the start."""
    traits = identity.vehicles(seed, vehicle_count)
    random = stream(seed, "happenings")
    specs = [models.VEHICLES[index] for index in traits.model]
    planned_days = _at_home_or_work(world.places(seed, vehicle_count), seed, vehicle_count, start_s, random)
    fleet = Fleet(
        traits=traits,
        start_s=start_s,
        motion=Motion.at(
            roads=roads.of(seed),
            spots=_standing(planned_days),
            mass_kg=_column([spec.mass_kg + 120.0 for spec in specs]),
            drag_m2=_column([spec.drag_m2 for spec in specs]),
            pace=np.clip(stream(seed, "style").normal(1.0, 0.08, vehicle_count), 0.8, 1.2),
            odometer_m=identity.odometer_m(traits),
        ),
        energy=_energy(traits),
        condition=_condition(traits, weather.at(seed, start_s).celsius, _missed(vehicle_count, planned)),
        plans=planned_days,
        cars=_chargeable(traits),
        stations=stations.create(identity.stations(seed, station_count)),
        random=random,
        worn_out=np.zeros(vehicle_count, dtype=np.bool_),
        ambient=weather.at(seed, start_s).celsius,
    )
    reserved = _place_faulty(fleet, planned)
    _plug_some(fleet, reserved, planned)
    _drive_some(fleet, reserved)
    energy.settle(fleet.energy)
    for fault in planned:
        if fault.onset_s <= 0:
            breakdown.apply(fault, fleet)
    return fleet


def _column(values: list[float]) -> Floats:
    return singles(values)


def _zeros(count: int) -> Floats:
    return np.zeros(count, dtype=np.float32)


def _energy(traits: VehicleTraits) -> Energy:
    count, seed = len(traits), traits.seed
    specs = [models.VEHICLES[index] for index in traits.model]
    powertrain = np.array([spec.powertrain for spec in specs], dtype=np.int8)
    age = identity.AGE_REFERENCE.year - traits.year
    health = np.clip(1.0 - age * (0.012 + 0.008 * stream(seed, "ageing").random(count)), energy.HEALTH_MIN, 1.0)
    capacity = singles(1_000.0 * _column([spec.battery_kwh for spec in specs]) * health)
    charge = 0.25 + 0.65 * stream(seed, "charge").random(count)
    charge = np.where(powertrain == Powertrain.HEV, 0.45 + 0.15 * charge, charge)
    tank = _column([spec.tank_l for spec in specs])
    hybrid_cells = np.where(powertrain == Powertrain.HEV, 60.0, 96.0)
    return Energy(
        powertrain=powertrain,
        has_battery=powertrain != Powertrain.ICE,
        has_engine=powertrain != Powertrain.BEV,
        can_charge=(powertrain == Powertrain.PHEV) | (powertrain == Powertrain.BEV),
        engine_kw=_column([spec.engine_kw for spec in specs]),
        tank_l=tank,
        fuel_l=tank * (0.3 + 0.65 * stream(seed, "fuel").random(count)),
        fuel_used_l=np.zeros(count),
        capacity_wh=capacity,
        battery_wh=np.multiply(charge, capacity, dtype=np.float64),
        battery_used_wh=np.zeros(count),
        state_of_health=singles(health),
        cells=singles(np.where(powertrain == Powertrain.ICE, 0.0, hybrid_cells)),
        cell_spread_v=singles(0.004 + 0.012 * stream(seed, "cell spread").random(count)),
        battery_w=_zeros(count),
        pack_v=_zeros(count),
        pack_a=_zeros(count),
        engine_w=_zeros(count),
        friction_w=_zeros(count),
        engine_on=np.zeros(count, dtype=np.bool_),
        engine_since_s=np.zeros(count),
    )


def _missed(count: int, planned: list[Fault]) -> Flags:
    """Which cars were not at their last service."""
    missed = np.zeros(count, dtype=np.bool_)
    missed[faults.rows_of(planned, FaultKind.SERVICE_MISSED)] = True
    return missed


def _condition(traits: VehicleTraits, ambient: float, missed: Flags) -> Condition:
    count, seed = len(traits), traits.seed
    placard = _column([models.VEHICLES[index].placard_kpa for index in traits.model])
    offset = singles(stream(seed, "weather").normal(0.0, 0.8, count))
    air = singles(ambient + offset)
    years = identity.AGE_REFERENCE.year - traits.year + stream(seed, "low voltage battery").random(count)
    aged = (years % LOW_VOLTAGE_BATTERY_YEARS) / LOW_VOLTAGE_BATTERY_YEARS
    serviced = servicing.last(traits, missed)
    since_service = (identity.odometer_m(traits) / 1_000.0 - serviced.odometer_km) / servicing.INTERVAL_KM
    return Condition(
        ambient_offset=offset,
        coolant=air.copy(),
        oil=air.copy(),
        battery=air.copy(),
        tyre=air.copy(),
        rest_v=singles(12.72 - REST_V_LOST_BY_AGE * aged - 0.04 * stream(seed, "rest voltage").random(count)),
        low_voltage_aged=singles(aged),
        charging_v=singles(13.65 + 0.45 * stream(seed, "charging voltage").random(count)),
        low_voltage=_zeros(count) + 12.6,
        low_voltage_a=_zeros(count),
        cold_kpa=singles(placard[:, None] * (0.98 + 0.04 * stream(seed, "tyres").random((count, 4)))),
        pad_wear=4.0 + 58.0 * np.repeat(stream(seed, "pads").random((count, 2)), 2, axis=1),
        service_at_km=serviced.odometer_km + servicing.INTERVAL_KM,
        services=serviced.number.astype(np.int16),
        oil_life=1.0 - since_service * (0.9 + 0.1 * stream(seed, "oil life").random(count)),
        unserviced=missed,
        coolant_extra=_zeros(count),
        coolant_left=_zeros(count) + 1.0,
        coolant_loss_per_s=_zeros(count),
        oil_left=_zeros(count) + 1.0,
        oil_loss_per_s=_zeros(count),
        leak_per_s=np.zeros((count, 4), dtype=np.float32),
        leak_floor=_zeros(count),
        low_voltage_drop=_zeros(count),
    )


def _chargeable(traits: VehicleTraits) -> Chargeable:
    count = len(traits)
    specs = [models.VEHICLES[index] for index in traits.model]
    return Chargeable(
        ac_max_w=1_000.0 * _column([spec.ac_kw_max for spec in specs]),
        dc_max_w=1_000.0 * _column([spec.dc_kw_max for spec in specs]),
        metered_wh=_zeros(count),
        metered_s=_zeros(count),
        is_charging=np.zeros(count, dtype=np.bool_),
        inlet_w=_zeros(count),
        last_station=np.full(count, NOBODY, dtype=np.int32),
    )


def _at_home_or_work(places: world.Places, seed: int, count: int, start_s: float, random: np.random.Generator) -> Plans:
    """Everyone at work who works now, the others at home; parked for a while already, leaving sooner or later."""
    rows, at_s = np.arange(count), habits.local_s(start_s)
    drivers = habits.of(seed, count)
    duty = habits.duty(drivers, rows, at_s)
    works = (duty.done_s > _TO_WORK_S) & ~drivers.roams
    begun = Plans(
        places=places,
        habits=drivers,
        mode=np.full(count, Mode.PARKED, dtype=np.int8),
        place=np.where(works, Place.WORK, Place.HOME).astype(np.int8),
        since_s=-np.where(works, duty.done_s - _TO_WORK_S + 60.0, random.uniform(1_800.0, 14_400.0, count)),
        departs_s=np.zeros(count),
        trip_began_s=np.zeros(count),
        trips=np.zeros(count, dtype=np.int32),
        station=np.full(count, NOBODY, dtype=np.int32),
        waits_since_s=np.full(count, np.inf),
    )
    begun.departs_s = plans.stays_s(begun, rows, at_s, random)
    return begun


def _standing(begun: Plans) -> Spots:
    return begun.places.homes.where(begun.place == Place.HOME, begun.places.works)


def _place_faulty(fleet: Fleet, planned: list[Fault]) -> Flags:
    """Returns which cars keep what they were given here."""
    reserved = np.zeros(len(fleet), dtype=np.bool_)
    for fault in planned:
        if fault.kind is FaultKind.WEAK_LOW_VOLTAGE_BATTERY:
            fleet.plans.departs_s[fault.row] = fault.onset_s + _STAYS_PARKED_S
            reserved[fault.row] = True
    hot = faults.rows_of(planned, *faults.ON_LONG_TRIP)
    network = fleet.motion.roads
    fleet.energy.fuel_l[hot] = np.maximum(fleet.energy.fuel_l[hot], 0.4 * fleet.energy.tank_l[hot])
    far = network.furthest(fleet.motion.spots(hot))
    _set_off(fleet, hot, np.full(len(hot), Place.ERRAND), far, np.zeros(len(hot)))
    reserved[hot] = True
    return reserved


def _plug_some(fleet: Fleet, reserved: Flags, planned: list[Fault]) -> None:
    """Connect cars that can charge; the ones at a bad contact have the longest sessions before them."""
    bad = faults.rows_of(planned, FaultKind.CONNECTOR_OVERHEATING, FaultKind.CONTACTOR_WEAR)
    others = fleet.random.permutation(np.setdiff1d(np.arange(len(fleet.stations)), bad))
    chosen = np.concatenate([bad, others])[: max(len(bad), round(_OCCUPIED_SHARE * len(fleet.stations)))]
    able = where_true(fleet.energy.can_charge & ~reserved)
    by_capacity = able[np.argsort(-fleet.energy.capacity_wh[able], kind="stable")]
    waiting = _charging_order(by_capacity, len(bad), fleet.random)[: 4 * len(chosen)]
    for station in chosen.tolist():
        is_dc = bool(fleet.stations.is_dc[station])
        vehicle = next((car for car in waiting if not is_dc or fleet.cars.dc_max_w[car] > 0), None)
        if vehicle is None:
            continue
        waiting.remove(vehicle)
        reserved[vehicle] = True
        low, span = (0.12, 0.2) if station in bad else (0.2, 0.65)
        fleet.energy.battery_wh[vehicle] = fleet.energy.capacity_wh[vehicle] * (low + span * fleet.random.random())
        motion.stand(fleet.motion, np.array([vehicle]), fleet.stations.spots.of(np.array([station])))
        fleet.stations.linger_s[station] = charging.linger_s(fleet.random)
        fleet.begun.append(charging.plug_in(fleet.stations, fleet.plans, fleet.cars, vehicle, station, 0.0))


def _charging_order(by_capacity: Rows, largest_first: int, random: np.random.Generator) -> list[int]:
    rest = random.permutation(by_capacity[largest_first:])
    return [*by_capacity[:largest_first].tolist(), *rest.tolist()]


def _drive_some(fleet: Fleet, reserved: Flags) -> None:
    """Put those of the free cars somewhere along a trip that are likely to be on one at this time."""
    free = where_true(~reserved)
    u = fleet.random.random(len(free))
    drivers, at_s = fleet.plans.habits, fleet.local_s
    duty = habits.duty(drivers, free, at_s)
    likely = np.minimum(_ERRAND_DRIVE_H * habits.errands_per_hour(drivers, free, at_s), _ON_THE_ROAD_SHARE)
    likely = np.where(drivers.roams[free] & (duty.left_s > 0), _ON_THE_ROAD_SHARE, likely)
    likely = np.where(~drivers.roams[free] & (duty.done_s > 0), duty.done_s <= _TO_WORK_S, likely)
    rows = free[u < likely]
    soc = fleet.energy.state_of_charge[rows]
    rows = rows[~fleet.energy.can_charge[rows] | (soc > 0.4)]
    place, goal = plans.next_places(fleet.plans, fleet.motion.roads, rows, at_s, fleet.random)
    _set_off(fleet, rows, place, goal, 0.7 * fleet.random.random(len(rows)))


def _set_off(fleet: Fleet, rows: Rows, place: Integers, goal: Spots, done: Floats) -> None:
    """Cars of `rows` have already driven the share `done` of the way to their `place` at `goal`."""
    state = fleet.motion
    routes = state.roads.routes(state.spots(rows), goal)
    motion.depart(state, rows, routes, fleet.random)
    plans.begin_trip(fleet.plans, rows, place, 0.0)
    driven = done * routes.length_m
    began = -driven / 11.0 - 60.0
    motion.skip(state, rows, driven)
    fleet.plans.since_s[rows] = fleet.plans.trip_began_s[rows] = began
    warm = np.where(fleet.energy.has_engine[rows], 88.0, fleet.condition.coolant[rows])
    fleet.condition.coolant[rows] = warm
    fleet.condition.oil[rows] = warm
