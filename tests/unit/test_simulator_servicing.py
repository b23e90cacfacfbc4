"""Services and engine oil: what a car's life tells, what it counts from, how oil wears and who is overdue."""

from collections import defaultdict
from datetime import UTC, datetime

import numpy as np
import pytest

from simulator import condition, faults, fleet, identity, people, servicing
from simulator.engine import Engine
from simulator.faults import FaultKind
from simulator.oracle import expect, findings
from simulator.settings import FaultSection
from simulator.truth import Sent
from tests.simulator_world import NO_FAULTS, START_MS, run, series, settings
from wire.messages import LifecycleStep
from wire.topics import Kind

NOW_MS = int(datetime(2026, 5, 1, tzinfo=UTC).timestamp() * 1_000)
CARS = 300
MISSED = 0.05


def _fleet(**given):
    return Engine(settings(vehicles=CARS, stations=20, step_s=2.0, **given), START_MS).fleet


@pytest.fixture(scope="module")
def neglected():
    """A fleet in which some have missed their last service."""
    return _fleet(faults=NO_FAULTS.model_copy(update={"service_missed": MISSED}))


def test_the_distance_to_service_follows_from_the_odometer_at_the_last_one_in_the_life(neglected):
    state, odometer_km = neglected.condition, neglected.motion.odometer_m / 1_000.0
    last_km = dict.fromkeys(range(CARS), 0.0)
    row_of = {identity.asset_id(1, Kind.VEHICLE, row): row for row in range(CARS)}
    for fact in people.facts(1, CARS, 0, NOW_MS, services_missed=MISSED):
        is_regular = isinstance(fact, LifecycleStep) and (fact.reference or "").startswith("WO-")
        if is_regular and fact.step == "serviced" and fact.asset_id in row_of:
            row = row_of[fact.asset_id]
            last_km[row] = max(last_km[row], fact.odometer_m / 1_000.0)
    expected = np.array(list(last_km.values())) + servicing.INTERVAL_KM - odometer_km
    assert np.allclose(state.service_at_km - odometer_km, expected, atol=0.01)


def test_who_missed_a_service_is_overdue_and_nobody_else_is(neglected):
    left_km = condition.to_service_km(
        neglected.condition, neglected.motion.odometer_m, neglected.energy.has_engine, np.arange(CARS)
    )
    assert neglected.condition.unserviced.sum() == round(MISSED * CARS)
    assert ((left_km < 0) == neglected.condition.unserviced).all()


def test_the_same_cars_miss_it_in_the_plan_of_faults_and_in_the_lives():
    traits, stations = identity.vehicles(3, CARS), identity.stations(3, 0)
    planned = faults.plan(FaultSection(service_missed=MISSED), traits, stations)
    missed = np.flatnonzero(servicing.missed(traits, faults.count(MISSED, CARS)))
    assert sorted(faults.rows_of(planned, FaultKind.SERVICE_MISSED)) == missed.tolist()


def test_healthy_cars_are_never_overdue_and_come_with_their_oil_nearly_used_up():
    cars = _fleet(faults=NO_FAULTS)
    near = cars.condition.service_at_km - cars.motion.odometer_m / 1_000.0
    cars.condition.service_at_km -= near - 301.0  # all of them drive the last kilometres
    lowest, serviced = np.inf, np.zeros(CARS, dtype=np.bool_)
    for _ in range(3_600):
        before = cars.condition.service_at_km.copy()
        fleet.step(cars, 2.0)
        left_km = condition.to_service_km(
            cars.condition, cars.motion.odometer_m, cars.energy.has_engine, np.arange(CARS)
        )
        lowest = min(lowest, left_km.min())
        serviced |= cars.condition.service_at_km > before
    assert 0 < lowest < 300
    assert serviced.sum() > 20
    assert (cars.condition.oil_life[serviced] > 0.99).all()


def test_a_service_during_the_run_goes_on_with_the_life_that_was_told_before():
    engine = Engine(settings(vehicles=CARS, stations=0, step_s=2.0, faults=NO_FAULTS), START_MS)
    cars = engine.fleet
    cars.condition.service_at_km -= cars.condition.service_at_km - cars.motion.odometer_m / 1_000.0 - 299.0
    sent = series(run(engine, 60))
    lives = defaultdict(list)
    for fact in people.facts(1, CARS, 0, NOW_MS):
        if isinstance(fact, LifecycleStep) and (fact.reference or "").startswith("WO-"):
            lives[fact.asset_id].append(fact)
    assert len({step.asset_id for step in engine.services}) == len(engine.services) > CARS / 2
    for step in engine.services:
        before = lives[step.asset_id]
        row = next(row for row in range(CARS) if identity.asset_id(1, Kind.VEHICLE, row) == step.asset_id)
        assert step.reference == f"WO-1-{row:06d}-{len(before) + 1}"
        assert step.reference not in {past.reference for past in before}
        assert max((past.ts for past in before), default=0) < START_MS < step.ts
        assert max((past.odometer_m for past in before), default=0) < step.odometer_m
        odometers_m = [value for ts_ms, value in sent[step.asset_id]["Vehicle.TraveledDistance"] if ts_ms >= step.ts]
        assert not odometers_m or step.odometer_m <= odometers_m[0] + 1


def test_who_drives_on_past_the_usual_distance_is_serviced_within_weeks_and_nobody_before():
    def came(driven_km):
        cars, random = _fleet(faults=NO_FAULTS), np.random.default_rng(1)
        cars.condition.service_at_km[:] = cars.motion.odometer_m / 1_000.0 + servicing.INTERVAL_KM - driven_km
        cars.condition.oil_life[:] = 1.0
        everybody, count = np.ones(CARS, dtype=np.bool_), 0
        for _ in range(17_280):
            count += len(
                condition.service(cars.condition, cars.motion.odometer_m, cars.energy.has_engine, everybody, random)
            )
        return count

    assert came(servicing.COMES_AFTER_KM - 1.0) == 0
    assert 0.1 * CARS < came(servicing.COMES_AFTER_KM + 1.0) < 0.27 * CARS  # a fifth, in two days of ten


def test_oil_wears_with_the_engine_alone_faster_when_cold_or_hot_or_driving_fast():
    cars = _fleet(faults=NO_FAULTS).condition

    def worn(celsius, speed, engine_on=True):
        cars.oil[:], before = celsius, cars.oil_life[0]
        condition.wear_oil(cars, np.full(CARS, engine_on), np.full(CARS, speed), 10.0)
        return before - cars.oil_life[0]

    assert worn(95.0, 10.0, engine_on=False) == 0
    assert worn(0.0, 10.0) == pytest.approx(3.0 * worn(95.0, 10.0))
    assert worn(135.0, 10.0) == pytest.approx(2.0 * worn(95.0, 10.0))
    assert 0 < worn(95.0, 0.0) < worn(95.0, 30.0)


def test_an_oil_of_mixed_driving_lasts_about_as_long_as_the_distance_to_a_service():
    cars = _fleet(faults=NO_FAULTS)
    burns = cars.energy.has_engine & ~cars.energy.has_battery
    began_m, fresh = cars.motion.odometer_m.copy(), cars.condition.oil_life.copy()
    for _ in range(5_400):
        fleet.step(cars, 2.0)
    driven_km = (cars.motion.odometer_m - began_m)[burns].sum() / 1_000.0
    assert 0.7 < driven_km / (fresh - cars.condition.oil_life)[burns].sum() / servicing.INTERVAL_KM < 1.4


def test_the_sent_data_of_an_overdue_car_requires_a_finding_and_that_of_others_does_not(tmp_path):
    rates = NO_FAULTS.model_copy(update={"service_missed": MISSED})
    engine = Engine(settings(vehicles=40, stations=0, sleepers=0.0, faults=rates), START_MS)
    world = expect.World()
    for asset_id in engine.vehicles.devices.ids:
        world.asset(asset_id).faults["service_overdue"] = [{"fault": "service_missed"}]
    for message in run(engine, 900):
        expect.take(world, Sent(message.kind, message.asset_id, message.channel, message.payload, True))
    overdue = {asset_id for asset_id, asset in world.assets.items() if findings.required(asset)}
    reports = {report.asset_id: report for report in engine.fault_reports}
    assert overdue == reports.keys()
    assert len(overdue) == 2
    assert all(report.visible_ms and report.detector == "service_overdue" for report in reports.values())
