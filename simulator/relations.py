"""What customers are and do: profiles with their later versions, and activities that fit the lives of their cars.

Who orders a car has looked at it before; who comes to the workshop has booked; who moves or takes a consent back has
a profile that says so.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, NamedTuple

import numpy as np

from simulator import customers
from simulator.arrays import stream
from simulator.lives import DEALER, WORKSHOP, Life
from wire.messages import Activity, Profile, Role

ActivityType = Literal["browsed", "booked", "complained", "purchased", "moved", "consent_changed"]
Via = Literal["web", "app", "phone", "dealer"]

_MOVED_SHARE: Final = 0.1
_WITHDRAWN_SHARE: Final = 0.08
_COMPLAINT_SHARE: Final = 0.12
_EXTRA_SHARE: Final = 0.35
_BROWSED_MAX: Final = 4
_PAGES: Final = ("configurator", "price list", "test drive", "finance calculator", "range calculator")
_COMPLAINTS: Final = ("noise from the front axle", "navigation restarts", "wind noise", "service took too long")
_EXTRAS: Final = (
    ("winter wheels", 1_190.0),
    ("roof rack", 329.0),
    ("extended warranty", 649.0),
    ("floor mats", 89.0),
    ("heated seats on demand", 14.9),
)
_VIA: Final[tuple[Via, ...]] = ("web", "app", "phone", "dealer")
_MOVED_AFTER: Final = timedelta(days=90)
_WITHDRAWN_AFTER: Final = timedelta(days=150)


class Person(NamedTuple):
    """A private customer of a seed."""

    customer_id: str
    number: int


def profile_of(seed: int, person: Person) -> Iterator[Profile | Activity]:
    """A person's profile; some moved house or took a consent back since: then both versions are told, and why."""
    random = stream(seed, f"profile {person.customer_id}")
    first = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=int(random.integers(0, 9_000)))
    moves, withdraws = (random.random(2) < (_MOVED_SHARE, _WITHDRAWN_SHARE)).tolist()
    yield customers.person(seed, person.number, _ms(first))
    if moves:
        when = first + _MOVED_AFTER
        yield customers.person(seed, person.number, _ms(when), moved=True)
        yield _activity(person.customer_id, "moved", when, "web", subject="new address")
    if withdraws:
        when = first + _WITHDRAWN_AFTER
        newest = customers.person(seed, person.number, _ms(when), moved=moves, withdrawn=True)
        yield newest
        yield _activity(person.customer_id, "consent_changed", when, "app", consents=dict(newest.consents))


def around(seed: int, life: Life, owners: Sequence[Role]) -> Iterator[Activity]:
    """What the owners of a car did about it, from the first look at the price list to the latest booking."""
    random = stream(seed, f"activities {life.number}")
    buyer = _holder(owners, life.delivered)
    if buyer is None:
        return
    yield from _before_order(random, buyer, life)
    yield from _bookings(random, owners, life)
    now_and_then = life.delivered + timedelta(days=int(random.integers(20, 300)))
    wants_extra, complains = random.random(2).tolist()
    extra, complaint = int(random.integers(0, len(_EXTRAS))), int(random.integers(0, len(_COMPLAINTS)))
    if not any(step.step == "delivered" for step in life.steps):
        return  # still on its way: there is nothing to complain about yet
    holder = _holder(owners, now_and_then) or buyer
    if wants_extra < _EXTRA_SHARE:
        name, price = _EXTRAS[extra]
        yield _activity(holder, "purchased", now_and_then, "web", life, name, amount=price, currency="EUR")
    if complains < _COMPLAINT_SHARE:
        yield _activity(holder, "complained", now_and_then + timedelta(days=9), "phone", life, _COMPLAINTS[complaint])


def _before_order(random: np.random.Generator, buyer: str, life: Life) -> Iterator[Activity]:
    for visit in range(1 + int(random.integers(0, _BROWSED_MAX))):
        days, page = float(random.random()), int(random.integers(0, len(_PAGES)))
        when = life.ordered - timedelta(days=1 + visit * 7 + 6 * days)
        yield _activity(buyer, "browsed", when, "web", subject=_PAGES[page], reference=life.asset_id)
    yield _activity(buyer, "purchased", life.ordered, "dealer", life, f"order at {DEALER}")


def _bookings(random: np.random.Generator, owners: Sequence[Role], life: Life) -> Iterator[Activity]:
    for step in life.steps:
        if step.step != "serviced":
            continue
        came = datetime.fromtimestamp(step.ts / 1_000, UTC)
        booked = came - timedelta(days=2 + 12 * float(random.random()))
        holder = _holder(owners, came)
        if holder is not None:
            via = _VIA[int(random.integers(0, len(_VIA)))]
            yield _activity(holder, "booked", booked, via, life, f"appointment at {WORKSHOP}", step.reference)


def _holder(owners: Iterable[Role], when: datetime) -> str | None:
    """Who owns the car at that moment; the latest record of a period counts."""
    at_ms = _ms(when)
    newest: dict[str, Role] = {}
    for role in owners:
        held = newest.get(role.role_id)
        if held is None or held.recorded_ms <= role.recorded_ms:
            newest[role.role_id] = role
    for role in newest.values():
        if role.role == "owner" and not role.retracted and role.from_ms <= at_ms < (role.to_ms or at_ms + 1):
            return role.customer_id
    return None


def _activity(
    customer_id: str,
    kind: ActivityType,
    when: datetime,
    via: Via,
    life: Life | None = None,
    subject: str | None = None,
    reference: str | None = None,
    *,
    amount: float | None = None,
    currency: str | None = None,
    consents: dict[str, bool] | None = None,
) -> Activity:
    about = f"{life.asset_id}:" if life is not None else ""
    return Activity(
        v=1,
        activity_id=f"{customer_id}:{kind}:{about}{_ms(when)}",
        customer_id=customer_id,
        ts=_ms(when),
        type=kind,
        via=via,
        asset_id=life.asset_id if life is not None else None,
        subject=subject,
        reference=reference,
        amount=amount,
        currency=currency,
        consents=consents or {},
    )


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000)
