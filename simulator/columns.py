"""What devices report: one column per signal, with its resolution and deadband.

Values travel through the simulator as one float matrix `[device, column]`, NaN where a device has no such signal.
Texts and lists are indices into the column's `texts`. What is remembered of them are `units`: how often the resolution
of the column goes into the value, in 32 bits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import numpy as np

from simulator.arrays import Flags, Floats, Integers
from simulator.condition import WHEELS
from wire import catalogue

Form = Literal["float", "integer", "flag", "text"]


NO_UNITS: Final = -(2**31)
"""There is no value."""
_UNITS_MAX: Final = 2.0**30  # so that a difference fits, too


class Column(NamedTuple):
    """A signal is sent again when it has moved by `deadband` since it was last sent.

    `fast`: sampled between frames by devices that put several samples into one. `always`: in every frame.
    """

    path: str
    form: Form
    deadband: float = 0.0
    decimals: int = 0
    fast: bool = False
    always: bool = False


_POWERTRAIN: Final = "Vehicle.Powertrain"
_ENGINE: Final = f"{_POWERTRAIN}.CombustionEngine"
_BATTERY: Final = f"{_POWERTRAIN}.TractionBattery"

VEHICLE: Final = (
    Column("Vehicle.Speed", "float", 0.5, 1, fast=True),
    Column("Vehicle.IsMoving", "flag"),
    Column("Vehicle.TraveledDistance", "integer", 1.0),
    Column("Vehicle.TraveledDistanceSinceStart", "integer", 50.0),
    Column("Vehicle.LowVoltageSystemState", "text"),
    Column("Vehicle.LowVoltageBattery.CurrentVoltage", "float", 0.05, 2, fast=True, always=True),
    Column("Vehicle.LowVoltageBattery.CurrentCurrent", "float", 2.0, 1),
    Column("Vehicle.LowVoltageBattery.StateOfHealth", "float", 1.0),
    Column("Vehicle.CurrentLocation.Latitude", "float", 1e-5, 6, fast=True),
    Column("Vehicle.CurrentLocation.Longitude", "float", 1e-5, 6, fast=True),
    Column("Vehicle.CurrentLocation.Heading", "float", 4.0),
    Column("Vehicle.CurrentLocation.HorizontalAccuracy", "float", 0.5, 1),
    Column("Vehicle.Exterior.AirTemperature", "float", 0.5, 1),
    Column(f"{_POWERTRAIN}.Type", "text"),
    Column(f"{_POWERTRAIN}.Range", "integer", 500.0),
    Column(f"{_ENGINE}.Speed", "float", 40.0, fast=True),
    Column(f"{_ENGINE}.IsRunning", "flag"),
    Column(f"{_ENGINE}.MAP", "integer", 4.0),
    Column(f"{_ENGINE}.TPS", "integer", 4.0),
    Column(f"{_ENGINE}.EngineCoolant.Temperature", "float", 0.5, 1),
    Column(f"{_ENGINE}.EngineCoolant.Level", "text"),
    Column(f"{_ENGINE}.EngineOil.Temperature", "float", 1.0, 1),
    Column(f"{_ENGINE}.EngineOil.Level", "text"),
    Column(f"{_ENGINE}.EngineOil.LifeRemaining", "integer", 86_400.0),
    Column(f"{_POWERTRAIN}.FuelSystem.RelativeLevel", "integer", 1.0),
    Column(f"{_BATTERY}.StateOfCharge.Current", "float", 0.1, 2),
    Column(f"{_BATTERY}.StateOfCharge.Displayed", "float", 0.5, 1),
    Column(f"{_BATTERY}.StateOfHealth", "float", 0.1, 1),
    Column(f"{_BATTERY}.Temperature.Min", "float", 0.5, 1),
    Column(f"{_BATTERY}.Temperature.Max", "float", 0.5, 1),
    Column(f"{_BATTERY}.Temperature.Average", "float", 0.5, 1),
    Column(f"{_BATTERY}.CellVoltage.Min", "float", 0.005, 3),
    Column(f"{_BATTERY}.CellVoltage.Max", "float", 0.005, 3),
    Column(f"{_BATTERY}.CellVoltage.IdMin", "integer"),
    Column(f"{_BATTERY}.CellVoltage.IdMax", "integer"),
    Column(f"{_BATTERY}.CurrentVoltage", "float", 0.5, 1),
    Column(f"{_BATTERY}.CurrentCurrent", "float", 1.0, 1),
    Column(f"{_BATTERY}.CurrentPower", "float", 100.0, fast=True),
    Column(f"{_BATTERY}.Charging.IsCharging", "flag"),
    Column(f"{_BATTERY}.Charging.ChargeLimit", "integer"),
    Column(f"{_BATTERY}.Charging.AveragePower", "float", 0.1, 2),
    Column(f"{_BATTERY}.Charging.TimeToComplete", "integer", 60.0),
    Column(f"{_BATTERY}.Charging.EvseId", "text"),
    Column("Vehicle.Chassis.Accelerator.PedalPosition", "integer", 4.0),
    *(Column(f"Vehicle.Chassis.Axle.{wheel}.Tire.Pressure", "integer", 1.0) for wheel in WHEELS),
    *(Column(f"Vehicle.Chassis.Axle.{wheel}.Tire.AirTemperature", "float", 1.0, 1) for wheel in WHEELS),
    *(Column(f"Vehicle.Chassis.Axle.{wheel}.Brake.PadWear", "integer", 1.0) for wheel in WHEELS),
    Column("Vehicle.Diagnostics.DTCList", "text"),
    Column("Vehicle.Diagnostics.DTCCount", "integer"),
    Column("Vehicle.Diagnostics.IsMILOn", "flag"),
    Column("Vehicle.Service.IsServiceDue", "flag"),
    Column("Vehicle.Service.DistanceToService", "float", 1.0),
    Column("Vehicle.Service.TimeToService", "integer", 3_600.0),
    Column("Vehicle.VehicleIdentification.Brand", "text"),
    Column("Vehicle.VehicleIdentification.Model", "text"),
    Column("Vehicle.VehicleIdentification.Year", "integer"),
)

FIRST: Final = (
    "Vehicle.Speed",
    "Vehicle.TraveledDistance",
    "Vehicle.CurrentLocation.Latitude",
    "Vehicle.CurrentLocation.Longitude",
    "Vehicle.CurrentLocation.Heading",
    "Vehicle.LowVoltageSystemState",
    "Vehicle.LowVoltageBattery.CurrentVoltage",
    *(f"Vehicle.Chassis.Axle.{wheel}.Tire.Pressure" for wheel in WHEELS),
    "Vehicle.Diagnostics.IsMILOn",
    f"{_ENGINE}.EngineCoolant.Temperature",
    f"{_ENGINE}.Speed",
    f"{_BATTERY}.StateOfCharge.Current",
    f"{_BATTERY}.CurrentVoltage",
    f"{_BATTERY}.CurrentCurrent",
    f"{_BATTERY}.Temperature.Max",
    f"{_BATTERY}.CellVoltage.Min",
    f"{_BATTERY}.CellVoltage.Max",
    "Vehicle.Diagnostics.DTCCount",
    "Vehicle.Exterior.AirTemperature",
    "Vehicle.IsMoving",
)
"""What a vehicle sends first when it sends a given number of signals; the other columns follow in their order."""

STATION: Final = (
    Column("Station.ChargingStation.AvailabilityState", "text"),
    Column("Station.EVSE.AvailabilityState", "text"),
    Column("Station.Connector.AvailabilityState", "text"),
    Column("Station.ChargingStation.Problem", "flag"),
    Column("Station.ChargingStation.Model", "text"),
    Column("Station.ChargingStation.VendorName", "text"),
    Column("Station.ChargingStation.SerialNumber", "text"),
    Column("Station.Controller.FirmwareVersion", "text"),
    Column("Station.EVSE.Power", "float", 50.0, 1, always=True),
    Column("Station.EVSE.DCCurrent", "float", 0.5, 1),
    Column("Station.EVSE.DCVoltage", "float", 0.5, 1),
    Column("Station.EVSE.ACCurrent", "float", 0.2, 1),
    Column("Station.EVSE.ACVoltage", "float", 1.0, 1),
    Column("Station.EVSE.ISO15118EvseId", "text"),
    Column("Station.Connector.ConnectorType", "text"),
    Column("Station.ConnectorPlugRetentionLock.Problem", "flag"),
    Column("Station.ConnectedEV.StateOfCharge", "float", 0.5, 1),
    Column("Station.ConnectedEV.VehicleId", "text"),
    Column("Station.TemperatureSensor.Temperature", "float", 0.5, 1),
    Column("Station.AcDcConverter.Temperature", "float", 1.0, 1),
    Column("Station.AcDcConverter.FanSpeed", "float", 100.0),
    Column("Station.GroundIsolationProtection.Impedance", "float", 1_000.0),
    Column("Station.RCD.Tripped", "flag"),
    Column("Station.PowerContactor.Tripped", "flag"),
    Column("Station.FiscalMetering.EnergyImportRegister", "float", 10.0),
    Column("Station.DataLink.SignalStrength", "float", 2.0),
)


@dataclass(frozen=True, slots=True)
class Table:
    """Columns with everything that encoding needs, as arrays `[column]`."""

    columns: tuple[Column, ...]
    texts: dict[str, Sequence[Any]]
    """What the indices of a text column mean, by path."""
    paths: tuple[str, ...]
    numbers: tuple[int, ...]
    index_of: dict[str, int]
    scale: Floats
    deadband_units: Floats
    always: Flags
    fast: tuple[int, ...]

    def value(self, column: int, number: float) -> Any:
        """A matrix entry as it goes onto the wire."""
        form = self.columns[column].form
        if form == "float":
            return number
        if form == "integer":
            return int(number)
        return bool(number) if form == "flag" else self.texts[self.paths[column]][int(number)]

    def rounded(self, values: Floats) -> Floats:
        """At the resolution of the wire."""
        return np.asarray(np.rint(values * self.scale) / self.scale + 0.0)  # and no negative zeros

    def units(self, values: Floats) -> Integers:
        """Rounded values `[n, columns]` as units."""
        units = np.rint(values * self.scale)
        assert not np.abs(units).max(initial=0, where=np.isfinite(units)) > _UNITS_MAX, "a value with too many digits"
        return np.where(np.isnan(units), NO_UNITS, units).astype(np.int32)

    def of_units(self, units: Integers) -> Floats:
        """The inverse."""
        return np.asarray(np.where(units == NO_UNITS, np.nan, units) / self.scale)


def table(columns: tuple[Column, ...], texts: dict[str, Sequence[Any]]) -> Table:
    """Bind columns to the texts of a run; every text column needs its list."""
    missing = {column.path for column in columns if column.form == "text"} - texts.keys()
    assert not missing, missing
    scale = np.array([10.0**column.decimals for column in columns])
    return Table(
        columns=columns,
        texts=texts,
        paths=tuple(column.path for column in columns),
        numbers=tuple(catalogue.BY_PATH[column.path].number for column in columns),
        index_of={column.path: index for index, column in enumerate(columns)},
        scale=scale,
        deadband_units=np.array([column.deadband or 10.0**-column.decimals for column in columns]) * scale * (1 - 1e-6),
        always=np.array([column.always for column in columns], dtype=np.bool_),
        fast=tuple(index for index, column in enumerate(columns) if column.fast),
    )
