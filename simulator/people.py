"""Who owned which asset when, what happened in its life and what its owners did: facts for the topics of customers
and assets.

Same seed: same assets as in `run`, same customers. All times are calendar dates in the past, before any simulated
telemetry, but for a transfer that is announced for some weeks after `now_ms`, and cars that are on order then.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, NamedTuple

from msgspec import structs

from simulator import customers, faults, identity, lives, relations, servicing
from simulator.arrays import stream
from simulator.identity import StationTraits
from simulator.lives import Life
from simulator.relations import Person
from wire.messages import Activity, Attributes, LifecycleStep, Profile, Role
from wire.topics import Kind

Fact = Profile | Role | LifecycleStep | Activity
RoleName = Literal["owner", "driver", "lessee", "fleet_manager", "operator"]

CARS_PER_COMPANY: Final = 6
_COMPANY_SHARE: Final = 0.2
_FUTURE_SHARE: Final = 0.03
_DRIVER_SHARE: Final = 0.2
_SECOND_CAR_SHARE: Final = 0.15
_CORRECTED_SHARE: Final = 0.05
_RETRACTED_SHARE: Final = 0.03
_DAY_MS: Final = 86_400_000
_PROFILES_FROM: Final = datetime(2024, 1, 1, tzinfo=UTC)
_STOCK: Final = 1_000_000
"""Numbers of the persons that only appear as previous or next owners begin here."""


class OtherAsset(NamedTuple):
    """An asset that is not of the seed, such as a recorded car."""

    asset_id: str
    kind: Kind
    attributes: Attributes


def facts(
    seed: int,
    vehicle_count: int,
    station_count: int,
    now_ms: int,
    others: Iterable[OtherAsset] = (),
    services_missed: float = 0.0,
) -> list[Fact]:
    """All facts, in the order in which they become known, which is not the order in which they happened.

    `services_missed`: the share of the cars whose owners did not come to their last service, as in `FaultSection`.
    """
    vehicles, stations = identity.vehicles(seed, vehicle_count), identity.stations(seed, station_count)
    now = datetime.fromtimestamp(now_ms / 1_000, UTC)
    known: list[Fact] = []
    missed = servicing.missed(vehicles, faults.count(services_missed, vehicle_count))
    for life in lives.driving(vehicles, missed):
        known += _told(seed, life, list(_driving_roles(seed, life, now_ms)))
    for life in lives.on_order(seed, vehicle_count, now):
        known += _told(seed, life, [_buyer(seed, life)])
    for life in lives.scrapped(seed, vehicle_count):
        known += _told(seed, life, list(_former_roles(seed, life)))
    for index in range(station_count):
        known += _station_life(stations, index)
    for number, other in enumerate(others):
        known += _other(seed, number, other)
    known += _profiles(seed, {fact.customer_id for fact in known if isinstance(fact, Role)}, vehicle_count)
    order = stream(seed, "order of facts").permutation(len(known))
    return [known[place] for place in order]


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000)


def _role(
    asset_id: str, number: int, role: RoleName, customer_id: str, begins: datetime, ends: datetime | None = None
) -> Role:
    return Role(
        v=1,
        role_id=f"{asset_id}:{role}:{number}",
        asset_id=asset_id,
        customer_id=customer_id,
        role=role,
        from_ms=_ms(begins),
        to_ms=_ms(ends) if ends is not None else None,
        recorded_ms=_ms(begins + timedelta(hours=3)),
    )


def _told(seed: int, life: Life, roles: Sequence[Role]) -> Iterator[Fact]:
    yield from life.steps
    yield from roles
    yield from relations.around(seed, life, roles)


def _buyer(seed: int, life: Life) -> Role:
    """Who will get a car that is on order: announced when it was ordered."""
    announced = _role(life.asset_id, 0, "owner", customers.person_id(seed, _number(6, life)), life.delivered)
    return structs.replace(announced, recorded_ms=_ms(life.ordered))


def _former_roles(seed: int, life: Life) -> Iterator[Role]:
    """The owners of a car that is no more."""
    first, second = (customers.person_id(seed, _number(stock, life)) for stock in (6, 7))
    yield _role(life.asset_id, 0, "owner", first, life.delivered, life.resold or life.scrapped)
    if life.resold is not None:
        yield _role(life.asset_id, 1, "owner", second, life.resold, life.scrapped)


def _number(stock: int, life: Life) -> int:
    return stock * _STOCK + life.number - lives.FIRST_OTHER


def _driving_roles(seed: int, life: Life, now_ms: int) -> Iterator[Role]:
    asset_id, index, begins, resold = life.asset_id, life.number, life.delivered, life.resold
    random = stream(seed, f"roles {index}")
    draws = random.random(8).tolist()
    number, holder = 0, _holder(seed, index, draws[0], draws[1])
    if resold is not None:
        before = customers.person_id(seed, _STOCK + index)
        yield _role(asset_id, 0, "owner", before, begins, resold)
        number, begins = 1, resold
    now = datetime.fromtimestamp(now_ms / 1_000, UTC)
    transfer = (now + timedelta(days=20 + index % 60)).replace(microsecond=0) if draws[2] < _FUTURE_SHARE else None
    current = _role(asset_id, number, "owner", holder, begins, transfer)
    if draws[3] < _CORRECTED_SHARE:  # first entered a month off, and open-ended
        wrong_from = current.from_ms + 30 * _DAY_MS
        entered = current.recorded_ms - 3_600_000
        yield structs.replace(current, from_ms=wrong_from, to_ms=None, recorded_ms=entered)
    yield current
    if transfer is not None:
        buyer = customers.person_id(seed, 2 * _STOCK + index)
        announced = _role(asset_id, number + 1, "owner", buyer, transfer)
        yield structs.replace(announced, recorded_ms=now_ms - _DAY_MS)
    if draws[4] < _DRIVER_SHARE:
        driver = customers.person_id(seed, 3 * _STOCK + index)
        yield _role(asset_id, 0, "driver", driver, begins + timedelta(days=10))
    if draws[5] < _RETRACTED_SHARE:
        yield from _mistaken(seed, asset_id, index, begins)


def _mistaken(seed: int, asset_id: str, index: int, begins: datetime) -> Iterator[Role]:
    """A record about the wrong car, and its retraction a day later."""
    wrong = customers.person_id(seed, 4 * _STOCK + index)
    role = _role(asset_id, 99, "owner", wrong, begins + timedelta(days=60))
    yield role
    yield structs.replace(role, recorded_ms=role.recorded_ms + _DAY_MS, retracted=True)


def _holder(seed: int, index: int, kind: float, which: float) -> str:
    """Who has the car now: a company, a person with another car already, or a person with this one."""
    if kind < _COMPANY_SHARE:
        return customers.company_id(seed, index // (CARS_PER_COMPANY * 5))
    if kind < _COMPANY_SHARE + _SECOND_CAR_SHARE and index:
        return customers.person_id(seed, int(which * index))
    return customers.person_id(seed, index)


def _station_life(traits: StationTraits, index: int) -> Iterator[Fact]:
    asset_id = identity.asset_id(traits.seed, Kind.STATION, index)
    full, commissioned = identity.station_attributes(traits, index), identity.commissioned(traits, index)
    built = Attributes(
        brand=full.brand, model=full.model, serial_number=full.serial_number, power_kw_max=full.power_kw_max
    )
    installed = LifecycleStep(
        v=1,
        asset_id=asset_id,
        kind=Kind.STATION,
        step="installed",
        ts=_ms(commissioned - timedelta(days=9)),
        attributes=built,
        place=full.site,
    )
    yield installed
    in_use = Attributes(evse_id=full.evse_id, site=full.site)
    yield structs.replace(installed, step="commissioned", ts=_ms(commissioned), attributes=in_use)
    yield _role(asset_id, 0, "operator", customers.OPERATOR, commissioned)


def _other(seed: int, number: int, asset: OtherAsset) -> Iterator[Fact]:
    """A recorded asset gets its attributes, and an owner or the operator."""
    year = asset.attributes.year or 2018
    begins = datetime(year, 7, 1, 10, tzinfo=UTC)
    is_vehicle = asset.kind is Kind.VEHICLE
    step: Literal["delivered", "commissioned"] = "delivered" if is_vehicle else "commissioned"
    yield LifecycleStep(
        v=1, asset_id=asset.asset_id, kind=asset.kind, step=step, ts=_ms(begins), attributes=asset.attributes
    )
    if is_vehicle:
        yield _role(asset.asset_id, 0, "owner", customers.person_id(seed, 5 * _STOCK + number), begins)
    else:
        yield _role(asset.asset_id, 0, "operator", customers.OPERATOR, begins)


def _profiles(seed: int, customer_ids: set[str], vehicle_count: int) -> Iterator[Profile | Activity]:
    """A profile of everybody who holds or held anything."""
    for customer_id, number, is_company in _numbers(seed, vehicle_count):
        if customer_id not in customer_ids:
            continue
        if is_company:
            yield customers.company(seed, number, _ms(_PROFILES_FROM))
        else:
            yield from relations.profile_of(seed, Person(customer_id, number))
    if customers.OPERATOR in customer_ids:
        yield customers.operator(_ms(_PROFILES_FROM))


def _numbers(seed: int, vehicle_count: int) -> Iterator[tuple[str, int, bool]]:
    """Every customer that can occur: id, number, whether a company."""
    for company in range(vehicle_count // (CARS_PER_COMPANY * 5) + 1):
        yield customers.company_id(seed, company), company, True
    for stock in range(8):
        for index in range(vehicle_count if stock < 5 else max(100, vehicle_count)):
            yield customers.person_id(seed, stock * _STOCK + index), stock * _STOCK + index, False
