"""Deadbands on real drives: how far a twin is off, and how little is sent."""

import csv
import gzip
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import edge_rules_world as world
from tests.edge_rules_world import AIR, NOW_MS, RPM, SPEED, Twin, rule

COOLANT = "Vehicle.Powertrain.CombustionEngine.EngineCoolant.Temperature"
VOLTAGE = "Vehicle.LowVoltageBattery.CurrentVoltage"
COLUMN_OF = {SPEED: "speed_kmh", RPM: "rpm", COOLANT: "coolant_c", VOLTAGE: "module_v", AIR: "intake_air_c"}
DEADBANDS = {SPEED: 1.0, RPM: 100.0, COOLANT: 1.0, VOLTAGE: 0.1, AIR: 1.0}
TRIPS = 12
SNAPSHOT_S = 60


@pytest.fixture(scope="module")
def trips(data_directory: Path) -> list[list[dict[str, Any]]]:
    with gzip.open(data_directory / "carobd" / "telemetry.csv.gz", "rt") as file:
        grouped = itertools.groupby(csv.DictReader(file), key=lambda row: row["trip"])
        return [list(rows) for _, rows in itertools.islice(grouped, TRIPS)]


def signals(rows: list[dict[str, Any]]) -> Iterator[tuple[int, dict[str, float]]]:
    for row in rows:
        given = {path: row[column] for path, column in COLUMN_OF.items() if row[column]}
        yield round(float(row["run_time_s"]) * 1000), {path: float(value) for path, value in given.items()}


def test_on_real_drives_a_twin_is_never_off_by_more_than_the_deadband(trips, record_property):
    rules = [
        rule(f"r{index}", signals=[path], deadband=deadband, snapshot_s=SNAPSHOT_S)
        for index, (path, deadband) in enumerate(DEADBANDS.items())
    ]
    off = dict.fromkeys(DEADBANDS, 0.0)
    heard = sent = 0
    for rows in trips:
        bench = world.engine(*rules)
        full: Twin = {}
        reduced: Twin = {}
        for seq, (ms, values) in enumerate(signals(rows)):
            given = world.message(ms, values, seq=seq, received_ms=NOW_MS + ms)
            passed = bench.apply([given])
            world.fold(full, [given])
            world.fold(reduced, passed)
            heard, sent = heard + len(values), sent + len(world.samples_of(passed))
            for path, (value, taken_ms) in full.items():
                off[path] = max(off[path], abs(value - reduced[path][0]))
                assert taken_ms - reduced[path][1] < SNAPSHOT_S * 1000
    for path, deadband in DEADBANDS.items():
        assert off[path] <= deadband, path
    assert 0 < sent < heard / 2
    record_property("samples_heard", heard)
    record_property("samples_sent", sent)
    print(f"{sent} of {heard} samples sent ({sent / heard:.1%}); off by at most {off}")  # noqa: T201 - read with -rP
