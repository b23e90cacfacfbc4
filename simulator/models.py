"""Vehicle and station models. Brands and models are invented; the numbers are those of ordinary cars.

Masses lie in the classes of the Vehicle Energy Dataset (2,500 to 6,000 lb), and the mix of combustion, hybrid and
plug-in hybrid cars is that of its 384 cars (264 ICE, 93 HEV, 24 PHEV, 3 EV). Three electric cars in 384 would leave
the charging stations idle, so a quarter of the fleet is battery-electric here and the others share the rest.
"""

from enum import IntEnum
from typing import Final, NamedTuple


class Powertrain(IntEnum):
    """How a car is driven."""

    ICE = 0
    HEV = 1
    PHEV = 2
    BEV = 3


SIGNAL_TYPE: Final = ("COMBUSTION", "HYBRID", "HYBRID", "ELECTRIC")
"""`Vehicle.Powertrain.Type` by powertrain."""

_BEV_SHARE: Final = 0.25
_VED_COUNTS: Final = (264, 93, 24)
SHARES: Final = (*((1 - _BEV_SHARE) * count / sum(_VED_COUNTS) for count in _VED_COUNTS), _BEV_SHARE)


class VehicleModel(NamedTuple):
    """`wmi` is the invented manufacturer's part of the VIN; `drag_m2` is drag coefficient times frontal area."""

    brand: str
    model: str
    variant: str
    wmi: str
    powertrain: Powertrain
    mass_kg: float
    drag_m2: float
    engine_kw: float
    tank_l: float
    battery_kwh: float
    ac_kw_max: float
    dc_kw_max: float
    placard_kpa: float


_ICE, _HEV, _PHEV, _BEV = Powertrain

VEHICLES: Final = (
    VehicleModel("Arvend", "Lira", "1.2", "9Z1", _ICE, 1180, 0.62, 66, 42, 0, 0, 0, 230),
    VehicleModel("Arvend", "Taro", "2.0 T", "9Z1", _ICE, 1520, 0.68, 140, 55, 0, 0, 0, 240),
    VehicleModel("Bremholt", "Kaskade", "1.5", "9Z2", _ICE, 1390, 0.65, 96, 50, 0, 0, 0, 240),
    VehicleModel("Bremholt", "Fjell", "2.5", "9Z2", _ICE, 1890, 0.85, 150, 66, 0, 0, 0, 250),
    VehicleModel("Corvane", "Pilot", "3.0 van", "9Z3", _ICE, 2240, 1.10, 130, 75, 0, 0, 0, 330),
    VehicleModel("Arvend", "Lira", "1.5 Hybrid", "9Z1", _HEV, 1290, 0.62, 74, 40, 1.4, 0, 0, 230),
    VehicleModel("Bremholt", "Kaskade", "2.0 Hybrid", "9Z2", _HEV, 1560, 0.66, 112, 48, 1.6, 0, 0, 240),
    VehicleModel("Arvend", "Taro", "Plug-in", "9Z1", _PHEV, 1760, 0.68, 110, 45, 13.0, 7.4, 0, 250),
    VehicleModel("Bremholt", "Fjell", "Plug-in", "9Z2", _PHEV, 2120, 0.82, 130, 52, 18.0, 11.0, 0, 260),
    VehicleModel("Delun", "Ohm", "45", "9Z4", _BEV, 1490, 0.61, 0, 0, 45.0, 11.0, 85, 250),
    VehicleModel("Delun", "Farad", "64", "9Z4", _BEV, 1790, 0.70, 0, 0, 64.0, 11.0, 120, 260),
    VehicleModel("Corvane", "Volta", "82", "9Z3", _BEV, 2150, 0.66, 0, 0, 82.0, 22.0, 170, 270),
)


class StationModel(NamedTuple):
    """A charging station with one connector."""

    vendor: str
    model: str
    connector: str
    power_kw: float
    is_dc: bool
    share: float


STATIONS: Final = (
    StationModel("Elektrum", "Wall 11", "cType2", 11.0, False, 0.2),
    StationModel("Elektrum", "Post 22", "cType2", 22.0, False, 0.4),
    StationModel("Nordlade", "Rapid 50", "cCCS2", 50.0, True, 0.2),
    StationModel("Nordlade", "Ultra 150", "cCCS2", 150.0, True, 0.2),
)
