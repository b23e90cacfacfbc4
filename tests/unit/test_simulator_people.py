"""People: the same assets as the fleet's, consistent lives, one holder at a time, ids that repeat."""

import itertools
from collections import Counter, defaultdict
from datetime import UTC, datetime

import pytest

from simulator import customers, identity, kafka, people
from simulator.commands import recorded_assets
from simulator.engine import Engine
from simulator.errors import UnusableError
from simulator.oracle import expect
from tests.simulator_world import settings
from wire import codec, vin
from wire.messages import Activity, LifecycleStep, Profile, Role, shaped
from wire.topics import Kind

NOW_MS = int(datetime(2026, 6, 1, tzinfo=UTC).timestamp() * 1_000)
START_OF_TELEMETRY_MS = int(datetime(2025, 6, 1, tzinfo=UTC).timestamp() * 1_000)


@pytest.fixture(scope="module")
def facts():
    return people.facts(1, 200, 20, NOW_MS)


def _of(facts, kind):
    return [fact for fact in facts if isinstance(fact, kind)]


@pytest.fixture(scope="module")
def fleet():
    """Everything of the seed that sends telemetry."""
    engine = Engine(settings(vehicles=200, stations=20), NOW_MS)
    return set(engine.vehicles.devices.ids) | set(engine.stations.devices.ids)


def _lives(facts):
    lives = defaultdict(list)
    for step in sorted(_of(facts, LifecycleStep), key=lambda step: step.ts):
        lives[step.asset_id].append(step)
    return lives


def test_the_assets_are_those_of_the_fleet_and_some_that_never_send(facts, fleet):
    others = {asset_id: life for asset_id, life in _lives(facts).items() if asset_id not in fleet}
    assert fleet <= _lives(facts).keys()
    ends = Counter("scrapped" if life[-1].step == "scrapped" else "on order" for life in others.values())
    assert ends == {"on order": 10, "scrapped": 6}
    for life in others.values():
        assert life[-1].step == "scrapped" or "delivered" not in {step.step for step in life}
        assert life[-1].ts <= NOW_MS


def test_the_same_seed_says_the_same_and_another_seed_does_not(facts):
    assert people.facts(1, 200, 20, NOW_MS) == facts
    assert people.facts(2, 200, 20, NOW_MS) != facts


def test_every_fact_is_a_message_of_the_contract(facts):
    for fact in facts:
        assert shaped(codec.decode(codec.to_json(fact)), type(fact)) == fact


def test_every_vin_is_valid_and_belongs_to_one_car(facts):
    vins = [step.attributes.vin for step in _of(facts, LifecycleStep) if step.attributes.vin]
    assert 206 <= len(set(vins)) == len(vins) <= 216  # a car on order has none before its body is built
    assert {vin.fault(number) for number in vins} == {None}
    plates = [step.attributes.plate for step in _of(facts, LifecycleStep) if step.attributes.plate]
    assert len(set(plates)) == len(plates) == 206


def test_a_car_is_made_step_by_step_in_order(facts):
    making = ["ordered", "body_built", "painted", "assembled", "tested", "built", "shipped", "sold", "delivered"]
    for life in _lives(facts).values():
        if life[0].kind is Kind.VEHICLE:
            made = [step for step in life if step.step in making]
            assert [step.step for step in made] == making[: len(made)]
            assert len({step.ts for step in made}) == len(made)
            assert not any(step.attributes.vin for step in made if step.step == "ordered")


def test_what_happened_to_a_car_that_drives_is_over_before_telemetry_begins(facts, fleet):
    for asset_id, life in _lives(facts).items():
        if asset_id in fleet:
            assert life[-1].ts < START_OF_TELEMETRY_MS


def test_recalls_call_back_some_model_years_and_most_come_for_the_repair(facts):
    recalled = [step for step in _of(facts, LifecycleStep) if step.step == "recalled"]
    repaired = {
        (step.asset_id, step.reference)
        for step in _of(facts, LifecycleStep)
        if step.step == "serviced" and step.reference.startswith("RC-")
    }
    assert 0 < len(recalled) < 60
    called = {(step.asset_id, step.reference) for step in recalled}
    assert repaired < called
    assert len(repaired) > len(called) / 2


def test_a_scrapped_car_belongs_to_nobody_and_nothing_happens_to_it_afterwards(facts):
    world = expect.World()
    for role in _of(facts, Role):
        world.asset(role.asset_id).roles[role.role_id] = role
    scrapped = {asset_id: life for asset_id, life in _lives(facts).items() if life[-1].step == "scrapped"}
    for asset_id, life in scrapped.items():
        assert expect.holder(world, world.asset(asset_id), life[-1].ts) is None
        assert expect.holder(world, world.asset(asset_id), life[-1].ts - 1).role == "owner"
        assert not [fact for fact in _of(facts, Activity) if fact.asset_id == asset_id and fact.ts > life[-1].ts]


def test_activities_fit_the_lives_of_the_cars(facts):
    lives, activities = _lives(facts), _of(facts, Activity)
    assert {fact.type for fact in activities} == {
        "browsed", "booked", "complained", "purchased", "moved", "consent_changed",
    }  # fmt: skip
    bookings = {(fact.asset_id, fact.reference): fact for fact in activities if fact.type == "booked"}
    for asset_id, life in lives.items():
        for step in life:
            if step.step == "serviced":
                assert 0 < step.ts - bookings[asset_id, step.reference].ts < 15 * 86_400_000
    ordered = {asset_id: life[0].ts for asset_id, life in lives.items()}
    for fact in activities:
        if fact.type == "browsed":
            assert fact.ts < ordered[fact.reference]
        elif fact.type == "complained":
            assert fact.ts > next(step.ts for step in lives[fact.asset_id] if step.step == "delivered")


def test_who_books_owns_the_car_at_the_time_of_the_service(facts):
    owners = defaultdict(dict)
    for role in sorted(_of(facts, Role), key=lambda role: role.recorded_ms):
        if role.role == "owner":
            owners[role.asset_id][role.role_id] = role
    services = {(s.asset_id, s.reference): s.ts for s in _of(facts, LifecycleStep) if s.step == "serviced"}
    for fact in _of(facts, Activity):
        if fact.type == "booked":
            at_ms = services[fact.asset_id, fact.reference]
            holding = {
                role.customer_id
                for role in owners[fact.asset_id].values()
                if not role.retracted and role.from_ms <= at_ms < (role.to_ms or at_ms + 1)
            }
            assert holding == {fact.customer_id}


def test_a_consent_taken_back_is_in_the_newest_profile(facts):
    newest = {profile.customer_id: profile for profile in sorted(_of(facts, Profile), key=lambda p: p.updated_ms)}
    withdrawn = [fact for fact in _of(facts, Activity) if fact.type == "consent_changed"]
    assert withdrawn
    for fact in withdrawn:
        assert newest[fact.customer_id].consents == fact.consents == {"aftersales_contact": False, "marketing": False}


def test_the_odometer_in_the_workshop_is_below_the_one_of_the_first_frame(facts):
    engine = Engine(settings(vehicles=200, stations=20), NOW_MS)
    now_m = dict(zip(engine.vehicles.devices.ids, engine.fleet.motion.odometer_m, strict=True))
    serviced = [step for step in _of(facts, LifecycleStep) if step.step == "serviced" and step.asset_id in now_m]
    assert serviced
    for step in serviced:
        assert 0 < step.odometer_m < now_m[step.asset_id]
    by_time = sorted(serviced, key=lambda step: (step.asset_id, step.ts))
    pairs = [pair for pair in itertools.pairwise(by_time) if pair[0].asset_id == pair[1].asset_id]
    assert sum(later.odometer_m > earlier.odometer_m for earlier, later in pairs) > 0.9 * len(pairs) > 50


def test_every_vehicle_has_exactly_one_owner_now_and_every_station_an_operator(facts, fleet):
    world = expect.World()
    for role in sorted(_of(facts, Role), key=lambda role: role.recorded_ms):
        world.asset(role.asset_id).roles[role.role_id] = role
    kinds = {step.asset_id: step.kind for step in _of(facts, LifecycleStep) if step.asset_id in fleet}
    for asset_id, kind in kinds.items():
        asset = world.asset(asset_id)
        holder = expect.holder(world, asset, NOW_MS)
        assert holder.role == ("owner" if kind is Kind.VEHICLE else "operator")
        owners = [
            role
            for role in asset.roles.values()
            if role.role == "owner" and not role.retracted and role.from_ms <= NOW_MS < (role.to_ms or NOW_MS + 1)
        ]
        assert len(owners) == (kind is Kind.VEHICLE)


def test_there_are_previous_owners_future_transfers_drivers_corrections_and_retractions(facts):
    roles = _of(facts, Role)
    versions = Counter(role.role_id for role in roles)
    assert sum(role.to_ms is not None and role.to_ms < NOW_MS for role in roles) > 20
    assert sum(role.from_ms > NOW_MS for role in roles) >= 1
    assert sum(role.role == "driver" for role in roles) > 20
    assert sum(role.retracted for role in roles) >= 2
    assert sum(count > 1 for count in versions.values()) >= 5
    for role in roles:
        assert role.to_ms is None or role.to_ms > role.from_ms


def test_companies_hold_several_cars(facts):
    current = Counter(r.customer_id for r in _of(facts, Role) if r.role == "owner" and r.to_ms is None)
    companies = {customers.company_id(1, number) for number in range(10)}
    assert max(current[company] for company in companies) >= 4


def test_every_customer_has_a_profile_and_some_are_told_later_than_their_roles(facts):
    profiles = {profile.customer_id for profile in _of(facts, Profile)}
    assert {role.customer_id for role in _of(facts, Role)} == profiles
    first_profile, first_role = {}, {}
    for place, fact in enumerate(facts):
        if isinstance(fact, Profile):
            first_profile.setdefault(fact.customer_id, place)
        elif isinstance(fact, Role):
            first_role.setdefault(fact.customer_id, place)
    later = sum(first_profile[customer] > first_role[customer] for customer in first_role)
    assert 0.2 * len(first_role) < later < 0.8 * len(first_role)


def test_some_customers_moved_house_and_the_newest_profile_says_so(facts):
    versions = defaultdict(list)
    for profile in sorted(_of(facts, Profile), key=lambda profile: profile.updated_ms):
        versions[profile.customer_id].append(profile)
    moved = {fact.customer_id for fact in _of(facts, Activity) if fact.type == "moved"}
    assert len(moved) > 10
    for old, *_, new in (versions[customer_id] for customer_id in moved):
        assert (old.display_name, old.email) == (new.display_name, new.email)
        assert (old.street, old.city) != (new.street, new.city)


def test_a_record_is_keyed_as_the_contract_says_and_its_id_repeats(facts):
    ids = set()
    for fact in facts:
        record = kafka.record(fact, "/test")
        key = fact.customer_id if isinstance(fact, (Profile, Activity)) else fact.asset_id
        headers = dict(record.headers)
        assert record.key == key == headers["ce_subject"].decode()
        assert headers["content-type"] == b"application/json"
        assert kafka.record(fact, "/test") == record
        ids.add((record.topic, headers["ce_id"]))
    assert len(ids) == len(facts)


def test_the_recorded_car_gets_attributes_a_valid_vin_and_an_owner():
    etios = recorded_assets("carobd", None)
    facts = people.facts(1, 3, 0, NOW_MS, etios)
    (step,) = [fact for fact in _of(facts, LifecycleStep) if fact.asset_id == "etios-2014"]
    assert (step.attributes.brand, step.attributes.model, step.attributes.year) == ("Toyota", "Etios", 2014)
    assert vin.fault(step.attributes.vin) is None
    assert [role.role for role in _of(facts, Role) if role.asset_id == "etios-2014"] == ["owner"]


def test_assets_that_only_the_table_knows_need_the_table():
    with pytest.raises(UnusableError, match="acn=FILE"):
        recorded_assets("acn", None)


def test_the_recorded_stations_get_attributes_and_an_operator(data_directory):
    stations = recorded_assets("acn", data_directory / "acn_caltech" / "sessions.csv.gz")
    assert len(stations) == 21
    assert {station.attributes.site for station in stations} == {"Caltech 2"}
    facts = people.facts(1, 0, 0, NOW_MS, stations)
    assert {role.role for role in _of(facts, Role)} == {"operator"}


def test_identity_does_not_depend_on_the_command():
    traits = identity.vehicles(9, 10)
    step = next(
        fact
        for fact in _of(people.facts(9, 10, 0, NOW_MS), LifecycleStep)
        if fact.asset_id == identity.asset_id(9, Kind.VEHICLE, 4) and fact.attributes.vin
    )
    assert step.attributes.vin == identity.vehicle_vin(traits, 4)
