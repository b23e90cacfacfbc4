"""Which findings there must be: a fault that the sent data showed for ten minutes without a break.

The conditions are those of the field, evaluated on what was sent, in order of source time: 12 V below 11.8 V while
parked; coolant from 110 °C; a tyre at 75 % of its peers or less; a trouble code with the lamp on; pads above 90 %;
a connector above 90 °C; a station that says it is faulted; a service that is overdue by distance.
"""

import statistics
from collections.abc import Callable, Iterator
from typing import Any, Final

from simulator.oracle.expected import Expected

LONG_ENOUGH_MS: Final = 600_000
SILENCE_MAX_MS: Final = 120_000
"""A longer pause between frames ends what was continuous."""

_WHEELS: Final = tuple(
    f"Vehicle.Chassis.Axle.{row}.Wheel.{side}" for row in ("Row1", "Row2") for side in ("Left", "Right")
)

Newest = dict[str, Any]


def _low_voltage(now: Newest) -> bool:
    voltage = now.get("Vehicle.LowVoltageBattery.CurrentVoltage")
    return voltage is not None and voltage < 11.8 and now.get("Vehicle.LowVoltageSystemState") in ("LOCK", "OFF")


def _coolant(now: Newest) -> bool:
    return bool(now.get("Vehicle.Powertrain.CombustionEngine.EngineCoolant.Temperature", 0.0) >= 110.0)


def _tyre(now: Newest) -> bool:
    pressures = [now.get(f"{wheel}.Tire.Pressure") for wheel in _WHEELS]
    if any(pressure is None for pressure in pressures):
        return False
    lowest, *others = sorted(pressures)  # type: ignore[type-var]  # none of them is None here
    return bool(lowest <= 0.75 * statistics.median(others))  # type: ignore[type-var, operator]  # as above


def _trouble_code(now: Newest) -> bool:
    return now.get("Vehicle.Diagnostics.IsMILOn") is True and bool(now.get("Vehicle.Diagnostics.DTCList"))


def _pads(now: Newest) -> bool:
    return any(now.get(f"{wheel}.Brake.PadWear", 0) > 90 for wheel in _WHEELS)


def _connector(now: Newest) -> bool:
    return bool(now.get("Station.TemperatureSensor.Temperature", 0.0) > 90.0)


def _faulted(now: Newest) -> bool:
    return now.get("Station.ChargingStation.AvailabilityState") == "Faulted"


def _overdue(now: Newest) -> bool:
    return bool(now.get("Vehicle.Service.DistanceToService", 0.0) < 0)


CONDITIONS: Final[dict[str, Callable[[Newest], bool]]] = {
    "low_voltage_battery": _low_voltage,
    "coolant_overheating": _coolant,
    "tyre_pressure_low": _tyre,
    "diagnostic_trouble_code": _trouble_code,
    "brake_pads_worn": _pads,
    "connector_over_temperature": _connector,
    "station_faulted": _faulted,
    "service_overdue": _overdue,
}


def visible_ms(asset: Expected, detector: str) -> int:
    """The longest time for which the sent data showed the fault without a break."""
    condition = CONDITIONS[detector]
    longest, since, before = 0, None, None
    for ts_ms, now in _moments(asset):
        if before is not None and ts_ms - before > SILENCE_MAX_MS:
            since = None
        before = ts_ms
        if not condition(now):
            since = None
            continue
        since = ts_ms if since is None else since
        longest = max(longest, ts_ms - since)
    return longest


def _moments(asset: Expected) -> Iterator[tuple[int, Newest]]:
    """Each time something was sampled, with the newest values then."""
    ordered = sorted(
        ((at.ts_ms, path, at.value) for path, series in asset.series.items() for at in series), key=lambda item: item[0]
    )
    now: Newest = {}
    for place, (ts_ms, path, value) in enumerate(ordered):
        now[path] = value
        if place + 1 == len(ordered) or ordered[place + 1][0] != ts_ms:
            yield ts_ms, now


def required(asset: Expected) -> dict[str, int]:
    """Detectors that must have found something, with the ms for which it was visible."""
    seen = {detector: visible_ms(asset, detector) for detector in asset.faults if detector in CONDITIONS}
    return {detector: shown_ms for detector, shown_ms in seen.items() if shown_ms >= LONG_ENOUGH_MS}
