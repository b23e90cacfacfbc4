"""What breaks: chosen by the seed, begun at its onset, seen once the data that was sent shows it.

The thresholds of visibility are those of the field (12 V parked below 11.8 V; coolant from 110 °C; a tyre at 75 %
of its peers, FMVSS 138; pads from 90 % worn; a connector above 90 °C), not those of any detector. Some faults lead to
a trouble code (`consequences`), which is a fault of its own in the truth; some lead to no finding at all, yet.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

import numpy as np

from simulator import servicing
from simulator.arrays import Rows, stream, where_true
from simulator.identity import StationTraits, VehicleTraits
from simulator.models import STATIONS, VEHICLES, Powertrain
from simulator.settings import FaultSection


class FaultKind(StrEnum):
    """Kinds of fault, by the names in the truth."""

    WEAK_LOW_VOLTAGE_BATTERY = "weak_low_voltage_battery"
    COOLANT_OVERHEATING = "coolant_overheating"
    TYRE_LEAK = "tyre_leak"
    BRAKE_PADS_WORN = "brake_pads_worn"
    TROUBLE_CODE = "trouble_code"
    STORED_CODE = "stored_code"
    TYRE_PUNCTURE = "tyre_puncture"
    COOLANT_LOSS = "coolant_loss"
    THERMOSTAT_STUCK_OPEN = "thermostat_stuck_open"
    OIL_LOSS = "oil_loss"
    WEAK_CELL = "weak_cell"
    CONNECTOR_OVERHEATING = "connector_overheating"
    STATION_FAILURE = "station_failure"
    ISOLATION_LOSS = "isolation_loss"
    CONTACTOR_WEAR = "contactor_wear"
    MODEM_LOSS = "modem_loss"
    STATION_MODEM_LOSS = "station_modem_loss"
    SERVICE_MISSED = "service_missed"


DETECTOR_OF: Final = {
    FaultKind.WEAK_LOW_VOLTAGE_BATTERY: "low_voltage_battery",
    FaultKind.COOLANT_OVERHEATING: "coolant_overheating",
    FaultKind.COOLANT_LOSS: "coolant_overheating",
    FaultKind.TYRE_LEAK: "tyre_pressure_low",
    FaultKind.TYRE_PUNCTURE: "tyre_pressure_low",
    FaultKind.BRAKE_PADS_WORN: "brake_pads_worn",
    FaultKind.TROUBLE_CODE: "diagnostic_trouble_code",
    FaultKind.CONNECTOR_OVERHEATING: "connector_over_temperature",
    FaultKind.STATION_FAILURE: "station_faulted",
    FaultKind.ISOLATION_LOSS: "station_faulted",
    FaultKind.CONTACTOR_WEAR: "station_faulted",
    FaultKind.SERVICE_MISSED: "service_overdue",
}
"""Which finding each fault must lead to. The others lead to none: a stored code without a lamp is nothing to act on,
a thermostat, lost oil or a weak cell lead to a trouble code, and a twin shows by its age that a modem is silent."""

STATION_KINDS: Final = (
    FaultKind.CONNECTOR_OVERHEATING,
    FaultKind.STATION_FAILURE,
    FaultKind.ISOLATION_LOSS,
    FaultKind.CONTACTOR_WEAR,
    FaultKind.STATION_MODEM_LOSS,
)
MODEM_KINDS: Final = (FaultKind.MODEM_LOSS, FaultKind.STATION_MODEM_LOSS)
ON_LONG_TRIP: Final = (
    FaultKind.COOLANT_OVERHEATING,
    FaultKind.COOLANT_LOSS,
    FaultKind.THERMOSTAT_STUCK_OPEN,
    FaultKind.OIL_LOSS,
)
"""These show only while the engine runs."""
_BURNS_ONLY: Final = frozenset({Powertrain.ICE})
_ABLE: Final = {
    FaultKind.COOLANT_OVERHEATING: _BURNS_ONLY,
    FaultKind.COOLANT_LOSS: _BURNS_ONLY,
    FaultKind.THERMOSTAT_STUCK_OPEN: _BURNS_ONLY,
    FaultKind.OIL_LOSS: _BURNS_ONLY,
    FaultKind.WEAK_CELL: frozenset({Powertrain.HEV, Powertrain.PHEV, Powertrain.BEV}),
}
"""Powertrains that can have a fault, where not all can."""
CODE_KINDS: Final = (FaultKind.TROUBLE_CODE, FaultKind.STORED_CODE, FaultKind.MODEM_LOSS)
_MODEM_CODE: Final = "U0198"
"""SAE J2012: lost communication with the telematic control module; the other units note it, without a lamp."""
_ENGINE_CODES: Final = ("P0301", "P0171", "P0420", "P0442", "P0128")
_ELECTRIC_CODES: Final = ("P0A80", "P0AA6", "U0100", "C0561")


class StationCause(NamedTuple):
    """Why a station fails, as its NotifyEvent says it; codes are ChargeX MREC names."""

    component: str
    variable: str
    actual_value: bool | float
    tech_code: str
    tech_info: str
    for_dc: bool


STATION_CAUSES: Final = (
    StationCause("PowerContactor", "Tripped", True, "MREC17EVSEContactorFault", "contactor does not close", True),
    StationCause("PowerContactor", "Tripped", True, "MREC17EVSEContactorFault", "contactor does not open", False),
    StationCause("GroundIsolationProtection", "Impedance", 40_000.0, "MREC22ResistanceFault", "isolation lost", True),
    StationCause("RCD", "Tripped", True, "MREC2GroundFailure", "residual current device has tripped", False),
)
WORN_CAUSE: Final = 0
ISOLATION_CAUSE: Final = 2
"""Of `STATION_CAUSES`."""
CONNECTOR_CODE: Final = "MREC18CableOverTempDerate"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of one asset; `row` counts vehicles or stations, `detail` is the wheel, code or cause."""

    kind: FaultKind
    row: int
    onset_s: float
    detail: int = 0
    code: str = ""
    size: float = 0.0
    """0 to 1: how bad within its kind."""

    @property
    def of_station(self) -> bool:
        return self.kind in STATION_KINDS


def plan(settings: FaultSection, vehicles: VehicleTraits, stations: StationTraits) -> list[Fault]:
    """The faults of a run, by onset. An asset has at most one."""
    random = stream(vehicles.seed, "faults")
    powertrain = np.array([VEHICLES[model].powertrain for model in vehicles.model], dtype=np.int64)
    faults = _missed_services(settings, vehicles)
    missed = rows_of(faults, FaultKind.SERVICE_MISSED)
    free = random.permutation(len(vehicles))
    free = free[~np.isin(free, missed)]
    for kind in FaultKind:
        rate = getattr(settings, kind.value)
        if kind in STATION_KINDS or kind is FaultKind.SERVICE_MISSED:
            continue
        able = free[np.isin(powertrain[free], list(_ABLE[kind]))] if kind in _ABLE else free
        chosen = able[: count(rate, len(vehicles))]
        free = free[~np.isin(free, chosen)]
        faults += [_vehicle_fault(kind, int(row), int(powertrain[row]), settings, random) for row in chosen]
    faults += _station_faults(settings, stations, random)
    return sorted(faults, key=lambda fault: (fault.onset_s, fault.kind, fault.row))


def _missed_services(settings: FaultSection, vehicles: VehicleTraits) -> list[Fault]:
    """Who has missed one is told by the lives of the cars, too: it depends on the seed and the share alone."""
    rows = where_true(servicing.missed(vehicles, count(settings.service_missed, len(vehicles))))
    return [Fault(FaultKind.SERVICE_MISSED, row, 0.0) for row in rows.tolist()]


def count(rate: float, assets: int) -> int:
    """How many of a kind: at least one of each kind in a fleet that is large enough to spare it."""
    return max(round(rate * assets), 1 if rate > 0 and assets >= 10 else 0)


def _onset_s(settings: FaultSection, random: np.random.Generator) -> float:
    at_start, later = random.random() < settings.from_the_start, random.random()
    return 0.0 if at_start else float(np.ceil(later * settings.onset_s_max))


def _vehicle_fault(
    kind: FaultKind, row: int, powertrain: int, settings: FaultSection, random: np.random.Generator
) -> Fault:
    onset_s, detail, size = _onset_s(settings, random), int(random.integers(0, 1 << 16)), random.random()
    if kind in (FaultKind.BRAKE_PADS_WORN, FaultKind.STORED_CODE):
        onset_s = 0.0  # years in the making
    codes = _ELECTRIC_CODES if powertrain == Powertrain.BEV else _ENGINE_CODES
    code = codes[detail % len(codes)] if kind in CODE_KINDS else ""
    code = _MODEM_CODE if kind is FaultKind.MODEM_LOSS else code
    return Fault(kind, row, onset_s, detail % 4, code, float(size))


def _station_faults(settings: FaultSection, stations: StationTraits, random: np.random.Generator) -> list[Fault]:
    is_dc = np.array([STATIONS[model].is_dc for model in stations.model], dtype=np.bool_)
    order: Rows = random.permutation(len(stations))
    by_connector = np.concatenate([order[~is_dc[order]], order[is_dc[order]]])  # long AC sessions show it best
    hot = by_connector[: count(settings.connector_overheating, len(stations))]
    rest = order[~np.isin(order, hot)]
    fading = rest[is_dc[rest]][: count(settings.isolation_loss, len(stations))]
    rest = rest[~np.isin(rest, fading)]
    failed = rest[: count(settings.station_failure, len(stations))]
    faults = [
        Fault(FaultKind.CONNECTOR_OVERHEATING, int(row), _onset_s(settings, random), size=float(random.random()))
        for row in hot
    ]
    faults += [Fault(FaultKind.ISOLATION_LOSS, int(row), _onset_s(settings, random), ISOLATION_CAUSE) for row in fading]
    for row in failed:
        causes = [index for index, cause in enumerate(STATION_CAUSES) if cause.for_dc == is_dc[row]]
        cause = causes[int(random.integers(0, len(causes)))]
        faults.append(Fault(FaultKind.STATION_FAILURE, int(row), _onset_s(settings, random), cause))
    rest = rest[~np.isin(rest, failed)]
    for kind in (FaultKind.CONTACTOR_WEAR, FaultKind.STATION_MODEM_LOSS):
        chosen, rest = np.split(rest, [count(getattr(settings, kind.value), len(stations))])
        faults += [Fault(kind, int(row), _onset_s(settings, random), size=float(random.random())) for row in chosen]
    return faults


def rows_of(faults: list[Fault], *kinds: FaultKind) -> Rows:
    """The assets with a fault of these kinds."""
    return np.array([fault.row for fault in faults if fault.kind in kinds], dtype=np.intp)
