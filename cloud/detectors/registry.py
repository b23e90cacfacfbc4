"""The tuple `DETECTORS` is the list: what is not in it does not run."""

from typing import Final

from cloud.detectors.base import Detector
from cloud.detectors.brake_pads_worn import BrakePadsWorn
from cloud.detectors.connector_over_temperature import ConnectorOverTemperature
from cloud.detectors.coolant_overheating import CoolantOverheating
from cloud.detectors.diagnostic_trouble_code import DiagnosticTroubleCode
from cloud.detectors.low_voltage_battery import LowVoltageBattery
from cloud.detectors.service_overdue import ServiceOverdue
from cloud.detectors.station_faulted import StationFaulted
from cloud.detectors.tyre_pressure_low import TyrePressureLow

DETECTORS: Final[tuple[Detector, ...]] = (
    LowVoltageBattery(),
    CoolantOverheating(),
    TyrePressureLow(),
    DiagnosticTroubleCode(),
    BrakePadsWorn(),
    ConnectorOverTemperature(),
    StationFaulted(),
    ServiceOverdue(),
)
NAMES: Final = tuple(detector.name for detector in DETECTORS)
