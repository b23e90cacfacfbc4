"""Lives of vehicles: ordered, built step by step, shipped, sold, delivered, serviced, recalled, resold, scrapped.

Besides the cars that drive there are some that do not, and never did or never will again: ordered ones that are
still on their way, and scrapped ones. Same seed: same lives. What has happened to a car that drives, has happened
before any simulated telemetry, and its odometer in the workshop is below the one of its first frame.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple

import numpy as np

from simulator import identity, recalls, servicing
from simulator.arrays import Flags, stream
from simulator.identity import VehicleTraits
from simulator.servicing import LAST_PAST_DAY
from wire.messages import Attributes, LifecycleStep
from wire.topics import Kind

StepName = Literal[
    "ordered", "body_built", "painted", "assembled", "tested", "built",
    "shipped", "sold", "delivered", "serviced", "recalled", "resold", "scrapped",
]  # fmt: skip

ON_ORDER_SHARE: Final = 0.05
SCRAPPED_SHARE: Final = 0.03
FIRST_OTHER: Final = 900_000
"""Numbers of the cars that do not drive begin here; VINs and plates are told apart up to a million."""
_RESOLD_SHARE: Final = 0.3
_ORDER: Final = "WO-"
_SCRAPPED_AFTER_DAYS: Final = (2_400, 3_600)
_PRODUCTION: Final[tuple[tuple[StepName, float], ...]] = (
    ("body_built", 4.0),
    ("painted", 3.2),
    ("assembled", 1.5),
    ("tested", 0.3),
)
"""Days before a car is built."""
DEALER, PLANT, PORT, WORKSHOP, BREAKER = (
    "Autohaus Isartal",
    "Werk Nord",
    "Bremerhaven",
    "Werkstatt Ost",
    "Autoverwertung",
)


class Life(NamedTuple):
    """A vehicle's steps in order of time, and the dates that its owners need."""

    asset_id: str
    number: int
    """Which vehicle of the seed."""
    steps: list[LifecycleStep]
    ordered: datetime
    delivered: datetime
    resold: datetime | None
    scrapped: datetime | None


def driving(traits: VehicleTraits, missed: Flags) -> Iterator[Life]:
    """The lives of the cars that drive; those who `missed` their last service did not have it."""
    odometer_m = identity.odometer_m(traits).tolist()
    for index in range(len(traits)):
        life = _life(traits, index, identity.delivered(traits, index), odometer_m[index], None)
        yield _without_last_service(life) if missed[index] else life


def _without_last_service(life: Life) -> Life:
    regular = [step for step in life.steps if step.step == "serviced" and (step.reference or "").startswith(_ORDER)]
    return life._replace(steps=[step for step in life.steps if step is not regular[-1]])


def on_order(seed: int, driving_count: int, now: datetime) -> Iterator[Life]:
    """Cars of this year that are between order and delivery at `now`: only what has happened is told."""
    count = round(ON_ORDER_SHARE * driving_count)
    if not count:
        return
    traits = _of_year(seed, count, now.year)
    days = stream(seed, "on order").integers(3, 130, count).tolist()
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    for place, days_left in enumerate(days):
        delivered = midnight + timedelta(days=int(days_left), hours=10)
        life = _life(traits, FIRST_OTHER + place, delivered, 0.0, None)
        yield life._replace(steps=[step for step in life.steps if step.ts <= _ms(now)], resold=None)


def scrapped(seed: int, driving_count: int) -> Iterator[Life]:
    """Old cars that are no more."""
    count = round(SCRAPPED_SHARE * driving_count)
    if not count:
        return
    first = round(ON_ORDER_SHARE * driving_count)
    traits = _of_year(seed, first + count, identity.YEAR_FIRST)
    days = stream(seed, "scrapped").integers(*_SCRAPPED_AFTER_DAYS, count).tolist()
    for place, after_days in enumerate(days):
        index = FIRST_OTHER + first + place
        delivered = identity.delivered(traits, index)
        end = delivered + timedelta(days=int(after_days))
        odometer_m = after_days / 365.25 * float(traits.kilometres_per_year[index]) * 1_000.0
        yield _life(traits, index, delivered, odometer_m, end)


def _of_year(seed: int, count: int, year: int) -> VehicleTraits:
    traits = identity.vehicles(seed, FIRST_OTHER + count)
    return replace(traits, year=np.full(len(traits), year))


def _life(
    traits: VehicleTraits, index: int, delivered: datetime, odometer_m: float, scrapped_on: datetime | None
) -> Life:
    """`odometer_m` is what the car has driven by the end, or by the first frame."""
    asset_id = identity.asset_id(traits.seed, Kind.VEHICLE, index)
    until = scrapped_on or LAST_PAST_DAY
    resold = _resold(traits.seed, index, delivered, until)
    ordered = delivered - timedelta(days=150 + index % 60)
    steps = [*_making(traits, index, ordered, delivered), *_use(traits, index, delivered, until)]
    if resold is not None:
        steps.append(_Step("resold", resold, "München"))
    if scrapped_on is not None:
        steps.append(_Step("scrapped", scrapped_on, BREAKER))
    per_year = float(traits.kilometres_per_year[index])
    told = [_message(asset_id, step, _odometer_m(step.when, delivered, per_year, odometer_m)) for step in steps]
    told.sort(key=lambda step: (step.ts, step.step))
    return Life(asset_id, index, told, ordered, delivered, resold, scrapped_on)


class _Step(NamedTuple):
    name: StepName
    when: datetime
    place: str
    attributes: Attributes = Attributes()
    reference: str | None = None


def _message(asset_id: str, step: _Step, odometer_m: int | None) -> LifecycleStep:
    return LifecycleStep(
        v=1,
        asset_id=asset_id,
        kind=Kind.VEHICLE,
        step=step.name,
        ts=_ms(step.when),
        attributes=step.attributes,
        place=step.place,
        odometer_m=odometer_m,
        reference=step.reference,
    )


def _making(traits: VehicleTraits, index: int, ordered: datetime, delivered: datetime) -> Iterator[_Step]:
    """From order to handover; the attributes come as they become known, the VIN with the body."""
    full = identity.vehicle_attributes(traits, index)
    chosen = Attributes(brand=full.brand, model=full.model, variant=full.variant, color=full.color)
    made = Attributes(
        year=full.year,
        powertrain=full.powertrain,
        placard_pressure_kpa=full.placard_pressure_kpa,
        battery_capacity_kwh=full.battery_capacity_kwh,
    )
    built = delivered - timedelta(days=40)
    yield _Step("ordered", ordered, DEALER, chosen, f"SO-{traits.seed}-{index:06d}")
    for name, days in _PRODUCTION:
        known = Attributes(vin=full.vin) if name == "body_built" else Attributes()
        yield _Step(name, built - timedelta(days=days), PLANT, known)
    yield _Step("built", built, PLANT, made)
    yield _Step("shipped", delivered - timedelta(days=20), PORT)
    yield _Step("sold", delivered - timedelta(days=2), DEALER)
    yield _Step("delivered", delivered, DEALER, Attributes(plate=full.plate))


def _use(traits: VehicleTraits, index: int, delivered: datetime, until: datetime) -> Iterator[_Step]:
    """Regular services, and recalls with the repair where the owner came for it."""
    every = timedelta(days=float(servicing.interval_days(traits.kilometres_per_year[index])))
    number, when = 0, delivered + every
    while when < until:
        yield _Step("serviced", when, WORKSHOP, reference=work_order(traits.seed, index, number))
        number, when = number + 1, when + every
    for recall in recalls.of(traits, index):
        announced, repaired = recall.announced, recall.repaired
        if delivered < announced < until:
            yield _Step("recalled", announced, PLANT, reference=recall.campaign)
            if repaired is not None and repaired < until:
                yield _Step("serviced", repaired, WORKSHOP, reference=recall.campaign)


def work_order(seed: int, index: int, number: int) -> str:
    """The workshop's number of a regular service; `number` is 0 for a car's first."""
    return f"{_ORDER}{seed}-{index:06d}-{number + 1}"


def _resold(seed: int, index: int, delivered: datetime, until: datetime) -> datetime | None:
    share, when = stream(seed, f"resale {index}").random(2).tolist()
    earliest = delivered + timedelta(days=300)
    if share >= _RESOLD_SHARE or earliest >= until:
        return None
    resold: datetime = earliest + (until - earliest) * when
    return resold.replace(minute=0, second=0, microsecond=0)


def _odometer_m(when: datetime, delivered: datetime, kilometres_per_year: float, most_m: float) -> int | None:
    """None before delivery."""
    days = float((when - delivered).days)
    return None if days < 0 else int(servicing.driven_m(days, kilometres_per_year, most_m))


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000)
