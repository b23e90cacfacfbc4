"""Who owned which asset when, and what happened in its life: facts for the topics of customers and assets.

Same seed: same assets as in `run`, same customers. All times are calendar dates in the past, before any simulated
telemetry, but for a transfer that is announced for some weeks after `now_ms`.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, NamedTuple

from msgspec import structs

from simulator import customers, identity
from simulator.arrays import stream
from simulator.identity import StationTraits, VehicleTraits
from wire.messages import Attributes, LifecycleStep, Profile, Role
from wire.topics import Kind

Fact = Profile | Role | LifecycleStep
StepName = Literal["ordered", "built", "shipped", "sold", "delivered", "serviced", "resold"]
RoleName = Literal["owner", "driver", "lessee", "fleet_manager", "operator"]

CARS_PER_COMPANY: Final = 6
_COMPANY_SHARE: Final = 0.2
_RESOLD_SHARE: Final = 0.3
_FUTURE_SHARE: Final = 0.03
_DRIVER_SHARE: Final = 0.2
_SECOND_CAR_SHARE: Final = 0.15
_CORRECTED_SHARE: Final = 0.05
_RETRACTED_SHARE: Final = 0.03
_MOVED_SHARE: Final = 0.1
_DAY_MS: Final = 86_400_000
_LAST_PAST_DAY: Final = datetime(2025, 5, 1, 12, tzinfo=UTC)
"""Everything that has happened, has happened by then."""
_STOCK: Final = 1_000_000
"""Numbers of the persons that only appear as previous or next owners begin here."""


class OtherAsset(NamedTuple):
    """An asset that is not of the seed, such as a recorded car."""

    asset_id: str
    kind: Kind
    attributes: Attributes


def facts(
    seed: int, vehicle_count: int, station_count: int, now_ms: int, others: Iterable[OtherAsset] = ()
) -> list[Fact]:
    """All facts, in the order in which they become known, which is not the order in which they happened."""
    vehicles, stations = identity.vehicles(seed, vehicle_count), identity.stations(seed, station_count)
    known: list[Fact] = []
    odometer_m = identity.odometer_m(vehicles).tolist()
    for index in range(vehicle_count):
        known += _vehicle_life(vehicles, index, odometer_m[index])
        known += _vehicle_roles(vehicles, index, now_ms)
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


def _vehicle_roles(traits: VehicleTraits, index: int, now_ms: int) -> Iterator[Role]:
    seed = traits.seed
    asset_id, begins = identity.asset_id(seed, Kind.VEHICLE, index), identity.delivered(traits, index)
    random = stream(seed, f"roles {index}")
    draws = random.random(8).tolist()
    number, holder = 0, _holder(seed, index, draws[0], draws[1])
    resold = _resold(traits, index)
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


def _resold(traits: VehicleTraits, index: int) -> datetime | None:
    share, when = stream(traits.seed, f"resale {index}").random(2).tolist()
    delivered = identity.delivered(traits, index)
    earliest = delivered + timedelta(days=300)
    if share >= _RESOLD_SHARE or earliest >= _LAST_PAST_DAY:
        return None
    resold: datetime = earliest + (_LAST_PAST_DAY - earliest) * when
    return resold.replace(minute=0, second=0, microsecond=0)


def _vehicle_life(traits: VehicleTraits, index: int, odometer_m: float) -> Iterator[LifecycleStep]:
    """Ordered, built, shipped, sold, delivered, serviced, resold; the attributes come as they become known."""
    asset_id = identity.asset_id(traits.seed, Kind.VEHICLE, index)
    full, delivered = identity.vehicle_attributes(traits, index), identity.delivered(traits, index)
    ordered = delivered - timedelta(days=150 + index % 60)
    chosen = Attributes(brand=full.brand, model=full.model, variant=full.variant, color=full.color)
    made = Attributes(
        vin=full.vin,
        year=full.year,
        powertrain=full.powertrain,
        placard_pressure_kpa=full.placard_pressure_kpa,
        battery_capacity_kwh=full.battery_capacity_kwh,
    )

    steps: list[tuple[StepName, datetime, Attributes, str]] = [
        ("ordered", ordered, chosen, "Autohaus Isartal"),
        ("built", delivered - timedelta(days=40), made, "Werk Nord"),
        ("shipped", delivered - timedelta(days=20), Attributes(), "Bremerhaven"),
        ("sold", delivered - timedelta(days=2), Attributes(), "Autohaus Isartal"),
        ("delivered", delivered, Attributes(plate=full.plate), "Autohaus Isartal"),
    ]
    steps += [("serviced", when, Attributes(), "Werkstatt Ost") for when in _services(delivered)]
    resold = _resold(traits, index)
    if resold is not None:
        steps.append(("resold", resold, Attributes(), "München"))
    for name, when, attributes, place in steps:
        yield LifecycleStep(
            v=1,
            asset_id=asset_id,
            kind=Kind.VEHICLE,
            step=name,
            ts=_ms(when),
            attributes=attributes,
            place=place,
            odometer_m=_odometer_at(traits, index, when, odometer_m),
        )


def _services(delivered: datetime) -> Iterator[datetime]:
    when = delivered + timedelta(days=520)
    while when < _LAST_PAST_DAY:
        yield when
        when += timedelta(days=520)


def _odometer_at(traits: VehicleTraits, index: int, when: datetime, now_m: float) -> int | None:
    """None before delivery; never above what telemetry begins with."""
    years = (when - identity.delivered(traits, index)).days / 365.25
    if years < 0:
        return None
    return int(min(years * float(traits.kilometres_per_year[index]) * 1_000.0, 0.99 * now_m))


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


def _profiles(seed: int, customer_ids: set[str], vehicle_count: int) -> Iterator[Profile]:
    """A profile of everybody who holds or held anything; some moved house since, and both versions are told."""
    for customer_id, number, is_company in _numbers(seed, vehicle_count):
        if customer_id not in customer_ids:
            continue
        random = stream(seed, f"profile {customer_id}")
        updated = _ms(datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=int(random.integers(0, 9_000))))
        if is_company:
            yield customers.company(seed, number, updated)
            continue
        yield customers.person(seed, number, updated)
        if random.random() < _MOVED_SHARE:
            yield customers.person(seed, number, updated + 90 * _DAY_MS, moved=True)
    if customers.OPERATOR in customer_ids:
        yield customers.operator(_ms(datetime(2024, 1, 1, tzinfo=UTC)))


def _numbers(seed: int, vehicle_count: int) -> Iterator[tuple[str, int, bool]]:
    """Every customer that can occur: id, number, whether a company."""
    for company in range(vehicle_count // (CARS_PER_COMPANY * 5) + 1):
        yield customers.company_id(seed, company), company, True
    for stock in range(6):
        for index in range(vehicle_count if stock < 5 else 100):
            yield customers.person_id(seed, stock * _STOCK + index), stock * _STOCK + index, False
