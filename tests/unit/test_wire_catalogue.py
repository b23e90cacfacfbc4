"""The signal catalogue against itself and against COVESA VSS 6.0."""

import csv
import itertools
import json
import math
import os
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from wire import catalogue, limits
from wire.catalogue import BY_PATH, SIGNALS, Signal
from wire.malformed import Malformed
from wire.topics import Kind

OVERLAY = {"Vehicle.Diagnostics.IsMILOn", "Vehicle.LowVoltageBattery.StateOfHealth"}
TYPE_RANGES = {
    "uint8": (0, 255),
    "uint16": (0, 65_535),
    "uint32": (0, 4_294_967_295),
    "int32": (-2_147_483_648, 2_147_483_647),
    "float": (-3.4028234663852886e38, 3.4028234663852886e38),
    "double": (-math.inf, math.inf),
}
NUMERIC = [pytest.param(signal, id=signal.path) for signal in SIGNALS if signal.is_numeric]


def vss() -> dict[str, dict[str, Any]]:
    """Leaves of the published catalogue by path."""
    folder = Path(os.environ.get("FLEETFOLD_DATA") or Path(__file__).parents[2] / ".." / "shared" / "data")
    file = folder / "vss-6.0.json"
    if not file.is_file():
        pytest.skip("vss-6.0.json is not here: the catalogue was not compared with VSS 6.0")
    leaves: dict[str, dict[str, Any]] = {}

    def walk(node: dict[str, Any], path: str) -> None:
        for name, child in node.get("children", {}).items():
            walk(child, f"{path}.{name}")
        if "datatype" in node:
            leaves[path] = node

    for root, node in json.loads(file.read_text(encoding="utf-8")).items():
        walk(node, root)
    return leaves


def test_it_has_the_signals_of_both_kinds():
    assert len([signal for signal in SIGNALS if signal.kind is Kind.VEHICLE]) >= 60
    assert len([signal for signal in SIGNALS if signal.kind is Kind.STATION]) >= 25


def test_paths_and_numbers_are_unique():
    assert len({signal.path for signal in SIGNALS}) == len(SIGNALS)
    assert len({signal.number for signal in SIGNALS}) == len(SIGNALS)


def test_no_path_lies_within_another():
    """They nest in MongoDB: a leaf cannot be a branch too."""
    for one, other in itertools.permutations(BY_PATH, 2):
        assert not other.startswith(f"{one}."), (one, other)


def test_no_path_has_a_part_that_a_leaf_uses_for_itself():
    """A leaf is stored as {value, ts}."""
    for path in BY_PATH:
        assert not {"value", "ts", ""} & set(path.split("."))


def test_every_path_begins_with_a_kind():
    assert {path.split(".")[0] for path in BY_PATH} == {"Vehicle", "Station"}


def test_every_type_is_known_and_every_float_is_bounded():
    """An unbounded float would let integers through that no float holds."""
    for signal in SIGNALS:
        assert signal.type in {*TYPE_RANGES, "boolean", "string", "string[]"}, signal
        if signal.is_numeric:
            assert math.isfinite(signal.min), signal
            assert math.isfinite(signal.max), signal


@pytest.mark.parametrize("signal", NUMERIC)
def test_a_range_lies_within_its_type(signal):
    low, high = TYPE_RANGES[signal.type]
    assert low <= signal.min < signal.max <= high


@pytest.mark.parametrize("signal", NUMERIC)
def test_the_ends_of_a_range_are_good_and_what_is_beyond_is_not(signal):
    step = 1 if signal.type.endswith(("8", "16", "32")) else 0.5
    assert catalogue.checked(signal, signal.min) == signal.min
    assert catalogue.checked(signal, signal.max) == signal.max
    assert isinstance(catalogue.checked(signal, signal.min - step), Malformed)
    assert isinstance(catalogue.checked(signal, signal.max + step), Malformed)
    for never in (math.nan, math.inf, -math.inf, 10**400, -(10**400), True, None, "5", [5]):
        assert isinstance(catalogue.checked(signal, never), Malformed)


@pytest.mark.parametrize("signal", NUMERIC)
def test_numbers_have_one_type_whatever_was_sent(signal):
    """A device that sends 20 and one that sends 20.0 mean the same, and the twin shows the same."""
    middle = int((signal.min + signal.max) // 2)
    due = float if signal.type in ("float", "double") else int
    assert type(catalogue.checked(signal, middle)) is due
    assert type(catalogue.checked(signal, float(middle))) is due


def test_fractions_where_integers_are_due_are_refused():
    for signal in SIGNALS:
        if signal.is_numeric and signal.type not in ("float", "double"):
            assert isinstance(catalogue.checked(signal, signal.min + 0.5), Malformed)


def test_only_texts_have_allowed_values_and_each_is_allowed():
    for signal in SIGNALS:
        assert not signal.allowed or signal.type == "string", signal
        for value in signal.allowed:
            assert catalogue.checked(signal, value) == value
        if signal.allowed:
            assert isinstance(catalogue.checked(signal, "no such"), Malformed)


def test_texts_and_lists_are_limited():
    text, codes = BY_PATH["Vehicle.VehicleIdentification.Brand"], BY_PATH["Vehicle.Diagnostics.DTCList"]
    longest = "x" * limits.TEXT_CHARS_MAX
    assert catalogue.checked(text, longest) == longest
    assert isinstance(catalogue.checked(text, longest + "x"), Malformed)
    assert catalogue.checked(codes, [longest] * limits.LIST_ITEMS_MAX) == [longest] * limits.LIST_ITEMS_MAX
    assert isinstance(catalogue.checked(codes, ["x"] * (limits.LIST_ITEMS_MAX + 1)), Malformed)
    assert isinstance(catalogue.checked(codes, [longest + "x"]), Malformed)


def test_only_numbers_have_ranges():
    with resources.files("wire").joinpath("catalogue.csv").open(encoding="utf-8") as table:
        for row in csv.DictReader(table):
            numeric = row["type"] in TYPE_RANGES
            assert numeric or not (row["min"] or row["max"] or row["unit"]), row
            assert row["search"] in ("", "yes") or (numeric and float(row["search"]) > 0), row
            assert row["data_class"], row


@pytest.mark.parametrize("key", [True, False, "01", " 1", "1\n", "vehicle.speed", "Vehicle", "", 0, -1, 2**70])
def test_nothing_but_its_path_and_number_names_a_signal(key):
    assert catalogue.find(key) is None


def test_the_tables_cannot_be_changed():
    with pytest.raises(TypeError):
        catalogue.BY_PATH["Vehicle.New"] = SIGNALS[0]


def test_vehicle_paths_are_those_of_vss():
    leaves = vss()
    for signal in SIGNALS:
        if signal.kind is Kind.VEHICLE and signal.path not in OVERLAY:
            assert signal.path in leaves
            assert same_as_vss(signal, leaves[signal.path]) == ""


def test_the_overlay_is_not_in_vss():
    assert not OVERLAY & vss().keys()
    assert set(BY_PATH) >= OVERLAY


def same_as_vss(signal: Signal, leaf: dict[str, Any]) -> str:
    """What differs, for people; empty when nothing does."""
    given = {"type": signal.type, "unit": signal.unit, "allowed": sorted(signal.allowed)}
    published = {
        "type": leaf["datatype"],
        "unit": leaf.get("unit", ""),
        "allowed": sorted(leaf.get("allowed", [])),
    }
    differing = [
        f"{signal.path} {key}: {given[key]} here, {published[key]} in VSS"
        for key in given
        if given[key] != published[key]
    ]
    if signal.is_numeric and leaf.get("min") is not None and signal.min < leaf["min"]:
        differing.append(f"{signal.path}: minimum {signal.min} here, {leaf['min']} in VSS")
    if signal.is_numeric and leaf.get("max") is not None and signal.max > leaf["max"]:
        differing.append(f"{signal.path}: maximum {signal.max} here, {leaf['max']} in VSS")
    return "; ".join(differing)
