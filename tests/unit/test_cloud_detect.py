"""Detectors, the latch and the life of a finding."""

import itertools
from typing import Any

import numpy as np
import pytest

from cloud import detect, findings, fold
from cloud.detect import Job
from cloud.detectors import base
from cloud.detectors.registry import DETECTORS
from cloud.twin import Twin
from tests.cloud_world import NOW_MS, delivery, frame
from wire import catalogue
from wire.topics import Kind

MINUTE_MS = 60_000


class Asset:
    """Feeds one asset frame by frame, or many frames at once, as the processor would."""

    def __init__(self, kind: Kind = Kind.VEHICLE) -> None:
        self.twin = Twin("a", kind)
        self.changes: list[dict[str, Any]] = []
        self._seq = 0

    def hears(self, *frames: tuple[int, dict[str, Any]]) -> None:
        payloads = []
        for after_ms, signals in frames:
            payloads.append(frame(NOW_MS + after_ms, signals, "s", self._seq))
            self._seq += 1
        received_ms = [NOW_MS + after_ms for after_ms, _ in frames]
        record = delivery("a", payloads, self._seq, kind=self.twin.kind, received_ms=received_ms)
        inputs = detect.inputs_of(self.twin)
        outcome = fold.fold(self.twin, [record])
        job = Job(self.twin, inputs, outcome.advances)
        detect.detect([job])
        if job.advances:
            self.changes += findings.apply(self.twin, job.transitions, max(ts for ts, _ in job.advances))

    def every_minute(self, minutes: range, signals: dict[str, Any]) -> None:
        for minute in minutes:
            self.hears((minute * MINUTE_MS, signals))

    @property
    def open(self) -> dict[str, str]:
        return {f"{name}/{subject}": found.severity for (name, subject), found in self.twin.findings.items()}


def tyres(*kpa: int, celsius: float = 20.0) -> dict[str, Any]:
    wheels = [("Row1", "Left"), ("Row1", "Right"), ("Row2", "Left"), ("Row2", "Right")]
    signals: dict[str, Any] = {}
    for (row, side), pressure in zip(wheels, kpa, strict=True):
        signals[f"Vehicle.Chassis.Axle.{row}.Wheel.{side}.Tire.Pressure"] = pressure
        signals[f"Vehicle.Chassis.Axle.{row}.Wheel.{side}.Tire.AirTemperature"] = celsius
    return signals


COOLANT = "Vehicle.Powertrain.CombustionEngine.EngineCoolant.Temperature"
VOLTS = "Vehicle.LowVoltageBattery.CurrentVoltage"
STATE = "Vehicle.LowVoltageSystemState"
CONNECTOR = "Station.TemperatureSensor.Temperature"
AVAILABILITY = "Station.ChargingStation.AvailabilityState"
PADS = "Vehicle.Chassis.Axle.Row1.Wheel.Left.Brake.PadWear"
TO_SERVICE = "Vehicle.Service.DistanceToService"
OIL_LIFE = "Vehicle.Powertrain.CombustionEngine.EngineOil.LifeRemaining"
MIL, COUNT, LIST = (f"Vehicle.Diagnostics.{leaf}" for leaf in ("IsMILOn", "DTCCount", "DTCList"))

CASES = [
    (Kind.VEHICLE, {VOLTS: 11.6, STATE: "OFF"}, {VOLTS: 12.7, STATE: "OFF"}, "low_voltage_battery/battery", "service"),
    (Kind.VEHICLE, {COOLANT: 112.0}, {COOLANT: 92.0}, "coolant_overheating/engine", "service"),
    (Kind.VEHICLE, {COOLANT: 121.0}, {COOLANT: 92.0}, "coolant_overheating/engine", "critical"),
    (Kind.VEHICLE, tyres(240, 240, 185, 240), tyres(240, 240, 236, 240), "tyre_pressure_low/row2_left", "service"),
    (Kind.VEHICLE, {MIL: True, COUNT: 1}, {MIL: False, COUNT: 0}, "diagnostic_trouble_code/lamp", "service"),
    (Kind.VEHICLE, {PADS: 93}, {PADS: 2}, "brake_pads_worn/row1_left", "service"),
    (Kind.VEHICLE, {TO_SERVICE: -40.0}, {TO_SERVICE: 20_000.0}, "service_overdue/service", "service"),
    (Kind.VEHICLE, {OIL_LIFE: -86_400}, {OIL_LIFE: 40_000_000}, "service_overdue/engine_oil", "service"),
    (Kind.STATION, {CONNECTOR: 96.0}, {CONNECTOR: 35.0}, "connector_over_temperature/connector", "service"),
    (Kind.STATION, {CONNECTOR: 125.0}, {CONNECTOR: 35.0}, "connector_over_temperature/connector", "critical"),
    (Kind.STATION, {AVAILABILITY: "Faulted"}, {AVAILABILITY: "Available"}, "station_faulted/station", "critical"),
]


@pytest.mark.parametrize(("kind", "bad", "well", "finding", "severity"), CASES)
def test_trouble_that_lasts_opens_one_finding_and_closes_it_when_over(
    kind: Kind, bad: dict[str, Any], well: dict[str, Any], finding: str, severity: str
) -> None:
    asset = Asset(kind)
    asset.every_minute(range(10), bad)
    assert asset.open == {finding: severity}
    asset.every_minute(range(10, 20), well)
    assert asset.open == {}
    raised = [change for change in asset.changes if change.get("status") == "open"]
    closed = [change for change in asset.changes if change.get("status") == "resolved"]
    assert len(raised) == len(closed) == 1
    assert raised[0]["_id"] == closed[0]["_id"]
    assert raised[0]["evidence"]


@pytest.mark.parametrize(("kind", "bad", "well", "finding", "severity"), CASES)
def test_a_finding_does_not_depend_on_how_the_log_was_cut(
    kind: Kind, bad: dict[str, Any], well: dict[str, Any], finding: str, severity: str
) -> None:
    story = [(minute * MINUTE_MS, bad if 3 <= minute < 12 else well) for minute in range(20)]
    whole, pieces = Asset(kind), Asset(kind)
    whole.hears(*story)
    for one in story:
        pieces.hears(one)
    assert whole.twin.findings == pieces.twin.findings
    assert whole.twin.detectors == pieces.twin.detectors
    assert [change for change in whole.changes if "status" in change] == [
        change for change in pieces.changes if "status" in change
    ]


def test_one_broken_sample_opens_nothing() -> None:
    asset = Asset()
    asset.hears((0, {COOLANT: 90.0}), (10_000, {COOLANT: 140.0}), (20_000, {COOLANT: 91.0}), (99_000, {COOLANT: 90.0}))
    assert asset.changes == []


def test_between_alarm_and_well_nothing_changes() -> None:
    """Hysteresis: a finding stays open until the value is clearly good, and a middling value opens none."""
    asset = Asset()
    asset.every_minute(range(10), {COOLANT: 107.0})
    assert asset.open == {}
    asset.every_minute(range(10, 15), {COOLANT: 111.0})
    asset.every_minute(range(15, 40), {COOLANT: 107.0})
    assert asset.open == {"coolant_overheating/engine": "service"}


def test_severity_rises_at_once_and_does_not_fall_while_open() -> None:
    asset = Asset()
    asset.every_minute(range(5), {COOLANT: 112.0})
    asset.every_minute(range(5, 10), {COOLANT: 119.0})
    asset.every_minute(range(10, 15), {COOLANT: 112.0})
    assert asset.open == {"coolant_overheating/engine": "critical"}
    assert [change["severity"] for change in asset.changes if "status" in change] == ["service", "critical"]


@pytest.mark.parametrize("at_once", [False, True])
def test_what_comes_back_within_a_day_is_the_same_anomaly(at_once: bool) -> None:
    asset, two_days = Asset(), 2 * 24 * 60
    hot = [minute for start in (0, 60, two_days) for minute in range(start, start + 5)]
    well = [minute for start in (5, 65) for minute in range(start, start + 10)]
    celsius = dict.fromkeys(hot, 112.0) | dict.fromkeys(well, 90.0)
    story = [(minute * MINUTE_MS, {COOLANT: celsius[minute]}) for minute in sorted(celsius)]
    for part in [story] if at_once else [[one] for one in story]:
        asset.hears(*part)
    ids = [change["_id"] for change in asset.changes if change.get("status") == "open"]
    assert len(ids) == 3
    assert ids[0] == ids[1] != ids[2]


def test_that_a_finding_lasts_is_said_every_five_minutes_at_the_most() -> None:
    """Not with each frame: it would be a write more of each."""
    asset = Asset()
    asset.every_minute(range(60), {COOLANT: 112.0})
    lasting = [change["last_ms"] for change in asset.changes if "status" not in change]
    assert len(lasting) in (11, 12)
    assert all(later - earlier == findings.EXTEND_EVERY_MS for earlier, later in itertools.pairwise(lasting))


def test_a_state_that_says_open_without_a_finding_is_not_open() -> None:
    """The two may come from different twins, as after a rebuild from the middle of the log: the finding counts."""
    asset = Asset()
    asset.every_minute(range(5), {COOLANT: 112.0})
    asset.twin.findings.clear()
    asset.every_minute(range(5, 20), {COOLANT: 90.0})
    assert [change["status"] for change in asset.changes if "status" in change] == ["open"]
    asset.every_minute(range(20, 25), {COOLANT: 112.0})
    assert asset.open == {"coolant_overheating/engine": "service"}


def test_a_detector_that_changed_its_shape_begins_anew() -> None:
    asset = Asset()
    asset.twin.detectors["coolant_overheating"] = [1.0] * 17
    asset.every_minute(range(5), {COOLANT: 112.0})
    assert asset.open == {"coolant_overheating/engine": "service"}


def test_voltage_says_nothing_while_the_car_is_on() -> None:
    asset = Asset()
    asset.every_minute(range(10), {VOLTS: 11.0, STATE: "START"})
    assert asset.open == {}


def test_a_rested_battery_is_judged_more_strictly() -> None:
    """12.1 V is nothing after a drive, but half empty after four hours of rest."""
    asset = Asset()
    asset.every_minute(range(230), {VOLTS: 12.1, STATE: "LOCK"})
    assert asset.open == {}
    asset.every_minute(range(230, 260), {VOLTS: 12.1, STATE: "LOCK"})
    assert asset.open == {"low_voltage_battery/battery": "watch"}


def test_heat_that_all_tyres_share_is_no_fault() -> None:
    asset = Asset()
    signals = tyres(290, 290, 262, 290) | {
        "Vehicle.Chassis.Axle.Row2.Wheel.Left.Tire.AirTemperature": 5.0,
    }
    for path in list(signals):
        if path.endswith("AirTemperature") and "Row2.Wheel.Left" not in path:
            signals[path] = 55.0
    asset.every_minute(range(10), signals)
    assert asset.open == {}


def test_late_samples_do_not_reach_the_detectors() -> None:
    asset = Asset()
    asset.hears((3_600_000, {COOLANT: 90.0}))
    asset.every_minute(range(10), {COOLANT: 125.0})
    assert asset.open == {}


def test_many_assets_at_once_are_judged_as_each_alone() -> None:
    """A batch of assets with different numbers of frames gives each what it would get by itself."""
    stories = {f"a{n}": [(m * MINUTE_MS, {COOLANT: 112.0 if n % 2 else 90.0}) for m in range(n)] for n in range(1, 9)}
    jobs = []
    for name, story in stories.items():
        asset = Twin(name, Kind.VEHICLE)
        inputs = detect.inputs_of(asset)
        payloads = [frame(NOW_MS + after, signals, "s", seq) for seq, (after, signals) in enumerate(story)]
        jobs.append(Job(asset, inputs, fold.fold(asset, [delivery(name, payloads)]).advances))
    detect.detect(jobs)
    raised = {job.twin.asset_id for job in jobs if job.transitions}
    assert raised == {"a3", "a5", "a7"}


def test_every_detector_declares_inputs_of_its_kind() -> None:
    for detector in DETECTORS:
        for path in detector.inputs:
            assert catalogue.BY_PATH[path].kind is detector.kind


def test_absent_values_are_no_opinion() -> None:
    for detector in DETECTORS:
        values = np.full((3, len(detector.inputs)), np.nan)
        memory = np.zeros((3, len(detector.subjects), detector.memory_columns))
        levels = detector.judge(np.zeros(3), values, np.arange(3), memory)
        assert (levels == base.HOLD).all(), detector.name
