"""Recall campaigns of a seed: which model years are called back, when, and who came for the repair."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Final, NamedTuple

from simulator.arrays import stream
from simulator.identity import VehicleTraits
from simulator.models import VEHICLES

_CAMPAIGNS: Final = 3
_MODEL_YEARS: Final = 3
_REPAIRED_SHARE: Final = 0.75


class _Campaign(NamedTuple):
    name: str
    model: int
    first_year: int
    announced: datetime


class Recall(NamedTuple):
    """A campaign that one car is in. `repaired` None: the owner has not come yet."""

    campaign: str
    announced: datetime
    repaired: datetime | None


def of(traits: VehicleTraits, index: int) -> Iterator[Recall]:
    """The campaigns that a car is in."""
    model, year = int(traits.model[index]), int(traits.year[index])
    for campaign in _campaigns(traits.seed):
        if model == campaign.model and 0 <= year - campaign.first_year < _MODEL_YEARS:
            came, days = stream(traits.seed, f"{campaign.name} {index}").random(2).tolist()
            repaired = campaign.announced + timedelta(days=14 + 200 * days) if came < _REPAIRED_SHARE else None
            yield Recall(campaign.name, campaign.announced, repaired)


@cache
def _campaigns(seed: int) -> tuple[_Campaign, ...]:
    random = stream(seed, "recalls")
    campaigns = []
    for model in random.permutation(len(VEHICLES))[:_CAMPAIGNS].tolist():
        first_year = int(random.integers(2015, 2020))
        announced = datetime(first_year + 4, 1, 15, 8, tzinfo=UTC) + timedelta(days=int(random.integers(0, 330)))
        name = f"RC-{announced:%y}-{int(random.integers(100, 1_000))}"
        campaigns.append(_Campaign(name, model, first_year, announced))
    return tuple(campaigns)
