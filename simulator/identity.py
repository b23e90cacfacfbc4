"""Who the assets of a seed are: ids, VINs, plates, models, years. Every command derives the same ones.

All dates are calendar dates in the past, so that they do not depend on when a command runs.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, overload

import numpy as np

from simulator import habits, models
from simulator.arrays import Floats, Integers, stream
from simulator.models import Powertrain, StationModel, VehicleModel
from wire import messages, vin
from wire.topics import Kind

YEAR_FIRST: Final = 2014
_YEARS: Final = 11
"""Cars that drive are of 2014 to 2024."""
_YEAR_CODES: Final = "EFGHJKLMNPRSTVWXY123456789ABCD"  # 2014 to 2043, 49 CFR 565.15 table VII
_VIN_ALPHABET: Final = "0123456789ABCDEFGHJKLMNPRSTUVWXYZ"
COLORS: Final = ("white", "black", "grey", "silver", "blue", "red", "green")
AGE_REFERENCE: Final = datetime(2025, 6, 1, tzinfo=UTC)
"""A car's wear is that of its age on this day."""


@dataclass(frozen=True, slots=True)
class VehicleTraits:
    """What a seed says about `n` vehicles; every array is `[n]`."""

    seed: int
    model: Integers
    year: Integers
    delivered_day: Integers
    """Day of delivery within the model year, 0 to 364."""
    kilometres_per_year: Floats
    color: Integers

    def __len__(self) -> int:
        return len(self.model)


@dataclass(frozen=True, slots=True)
class StationTraits:
    """What a seed says about `n` stations; every array is `[n]`."""

    seed: int
    model: Integers
    commissioned_day: Integers
    """Days after the first of January 2018."""

    def __len__(self) -> int:
        return len(self.model)


def vehicles(seed: int, count: int) -> VehicleTraits:
    """The traits of the first `count` vehicles of a seed."""
    newness = np.sqrt(stream(seed, "year").random(count))  # there are more new cars than old ones
    return VehicleTraits(
        seed=seed,
        model=_vehicle_models(seed, count),
        year=(YEAR_FIRST + np.floor(_YEARS * newness)).astype(np.int16),
        delivered_day=np.floor(365 * stream(seed, "delivered").random(count)).astype(np.int16),
        kilometres_per_year=habits.kilometres_per_year(seed, count),
        color=np.floor(len(COLORS) * stream(seed, "color").random(count)).astype(np.int8),
    )


def _vehicle_models(seed: int, count: int) -> Integers:
    powertrain = np.searchsorted(np.cumsum(models.SHARES)[:-1], stream(seed, "powertrain").random(count), side="right")
    pick = stream(seed, "model").random(count)
    chosen = np.zeros(count, dtype=np.int8)
    for kind in Powertrain:
        candidates = np.array([i for i, model in enumerate(models.VEHICLES) if model.powertrain == kind])
        of_kind = powertrain == kind
        chosen[of_kind] = candidates[np.floor(pick[of_kind] * len(candidates)).astype(np.int64)]
    return chosen


def stations(seed: int, count: int) -> StationTraits:
    """The traits of the first `count` stations of a seed."""
    shares = np.cumsum([model.share for model in models.STATIONS])
    model = np.searchsorted(shares[:-1], stream(seed, "station model").random(count), side="right")
    days = np.floor(2_400 * stream(seed, "commissioned").random(count)).astype(np.int64)
    return StationTraits(seed, model.astype(np.int64), days)


def asset_id(seed: int, kind: Kind, index: int) -> str:
    """Opaque, and never the VIN."""
    prefix = "car" if kind is Kind.VEHICLE else "cp"
    return f"{prefix}-{_digest(seed, kind, index, 6)}"


class AssetIds(Sequence[str]):
    """The ids of the first `count` assets of a kind, in 16 bytes each."""

    def __init__(self, seed: int, kind: Kind, count: int) -> None:
        made = (asset_id(seed, kind, row).encode() for row in range(count))
        self._packed = np.fromiter(made, dtype="S16", count=count)

    def __len__(self) -> int:
        return len(self._packed)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            return self.of(place)
        packed: bytes = self._packed[place]
        return packed.decode()

    def of(self, rows: slice | list[int]) -> list[str]:
        """Those of some assets."""
        return [packed.decode() for packed in self._packed[rows].tolist()]


def evse_id(seed: int, index: int) -> str:
    """ISO 15118-2 annex H, without separators: country, operator, E, the outlet."""
    return f"DEFFDE{_digest(seed, 'evse', index, 5).upper()}"


def serial_number(seed: int, index: int) -> str:
    """A station's serial number."""
    return f"SN{_digest(seed, 'serial', index, 4).upper()}"


def vehicle_vin(traits: VehicleTraits, index: int) -> str:
    """A VIN with a valid check digit; unique within a seed for up to a million vehicles."""
    code = int(_digest(traits.seed, "vin", index, 8), 16)
    described = "".join(_VIN_ALPHABET[(code >> (6 * place)) % len(_VIN_ALPHABET)] for place in range(5))
    year = _YEAR_CODES[int(traits.year[index]) - YEAR_FIRST]
    draft = f"{vehicle_model(traits, index).wmi}{described}0{year}F{index % 1_000_000:06d}"
    return draft[:8] + vin.check_digit(draft) + draft[9:]


def plate(seed: int, index: int) -> str:
    """A registration plate, unique within a seed."""
    letters, number = divmod(index, 9_000)
    letters += seed * 7
    return f"FF-{chr(65 + letters // 26 % 26)}{chr(65 + letters % 26)} {1_000 + number}"


def vehicle_model(traits: VehicleTraits, index: int) -> VehicleModel:
    """The model of one vehicle."""
    return models.VEHICLES[int(traits.model[index])]


def station_model(traits: StationTraits, index: int) -> StationModel:
    """The model of one station."""
    return models.STATIONS[int(traits.model[index])]


def delivered(traits: VehicleTraits, index: int) -> datetime:
    """When the first customer got the car."""
    return datetime(int(traits.year[index]), 1, 1, 10, tzinfo=UTC) + timedelta(days=int(traits.delivered_day[index]))


def commissioned(traits: StationTraits, index: int) -> datetime:
    """When a station went into service."""
    return datetime(2018, 1, 1, 9, tzinfo=UTC) + timedelta(days=int(traits.commissioned_day[index]))


def odometer_m(traits: VehicleTraits) -> Floats:
    """Metres driven when a simulation begins, `[n]`."""
    years = (AGE_REFERENCE.year - traits.year) + 0.4 - traits.delivered_day / 365.0
    return np.maximum(years, 0.1) * traits.kilometres_per_year * 1_000.0


def vehicle_attributes(traits: VehicleTraits, index: int) -> messages.Attributes:
    """What does not change about a vehicle."""
    model = vehicle_model(traits, index)
    return messages.Attributes(
        vin=vehicle_vin(traits, index),
        brand=model.brand,
        model=model.model,
        variant=model.variant,
        year=int(traits.year[index]),
        plate=plate(traits.seed, index),
        color=COLORS[int(traits.color[index])],
        powertrain=models.SIGNAL_TYPE[model.powertrain],
        placard_pressure_kpa=model.placard_kpa,
        battery_capacity_kwh=model.battery_kwh or None,
    )


def station_attributes(traits: StationTraits, index: int) -> messages.Attributes:
    """What does not change about a station."""
    model = station_model(traits, index)
    return messages.Attributes(
        brand=model.vendor,
        model=model.model,
        serial_number=serial_number(traits.seed, index),
        evse_id=evse_id(traits.seed, index),
        site=site_name(index),
        power_kw_max=model.power_kw,
    )


STATIONS_PER_SITE: Final = 4


def site_name(station_index: int) -> str:
    """The site a station stands on."""
    return f"Ladepark {station_index // STATIONS_PER_SITE + 1}"


def _digest(seed: int, purpose: str, index: int, size: int) -> str:
    return hashlib.blake2b(f"{seed}/{purpose}/{index}".encode(), digest_size=size).hexdigest()
