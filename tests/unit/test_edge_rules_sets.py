"""A rule set as text: what is read from it, and that every fault is named with its place and what to do."""

from pathlib import Path
from typing import Any

import pytest

from edge.rules import plan, reading
from edge.rules.plan import Plan
from tests.edge_rules_world import capture, planned, rule
from wire import catalogue, codec
from wire.collection import RULES_MAX, SET_BYTES_MAX
from wire.topics import Kind

EXAMPLE = Path(__file__).parents[2] / "edge" / "rules.example.toml"


def faults_of(value: Any) -> dict[str, tuple[str, str]]:
    found = plan.make(value)
    assert isinstance(found, list)
    return {fault.path: (fault.problem, fault.advice) for fault in found}


def test_the_example_is_good() -> None:
    found = reading.read_file(EXAMPLE)
    assert isinstance(found, Plan)
    assert [each.name for each in found.traps] == ["hard-braking"]


def test_json_and_toml_of_the_same_set_have_one_digest_and_defaults_change_nothing() -> None:
    toml = b"""version = 3
[[rules]]
name = "a"
mode = "on_change"
kind = "vehicle"
signals = ["Vehicle.Speed"]
starts = 2026-01-01T00:00:00Z
"""
    given = {**rule("a", signals=["Vehicle.Speed"]), "starts": "2026-01-01T00:00:00+00:00", "snapshot_s": 300}
    one, other = reading.parse(toml), reading.parse(codec.to_json({"version": 3, "unnamed": "keep", "rules": [given]}))
    assert isinstance(one, Plan)
    assert isinstance(other, Plan)
    assert one.digest == other.digest
    changed = reading.parse(toml.replace(b"Vehicle.Speed", b"Vehicle.IsMoving"))
    assert isinstance(changed, Plan)
    assert changed.digest != one.digest


def test_every_fault_is_found_at_once_with_its_place() -> None:
    found = faults_of(
        {
            "version": -1,
            "unnamd": "drop",
            "rules": [
                rule("Bad Name", signals=["Vehicle.Sped"], deadband=-1),
                rule("a", "interval"),
                {"name": "b", "mode": "sometimes"},
                "no rule",
                rule("c", signals=[], colour="red"),
                rule("d", deadband=float("nan")),
            ],
        }
    )
    assert set(found) == {
        "version", "unnamd", "rules[0].name", "rules[0].deadband", "rules[1].interval_s", "rules[2].mode", "rules[3]",
        "rules[4].signals", "rules[4].colour", "rules[5].deadband",
    }  # fmt: skip
    assert found["unnamd"] == ("unknown key", "did you mean unnamed?")
    assert found["rules[1].interval_s"] == ("missing", "add it")
    assert "one of all, none, interval, on_change, capture" in found["rules[2].mode"][1]


def test_faults_of_meaning_are_found_together_too() -> None:
    found = faults_of(
        {
            "version": 1,
            "rules": [
                rule("a", signals=["Vehicle.Sped", "Vehicle.Speed", "Station.EVSE.Power"]),
                rule("a", "all"),
                rule("unnamed", "all"),
                rule("b", signals=["Vehicle.IsMoving"], deadband=2),
                rule("c", "all", starts="2026-02-01T00:00:00Z", expires="2026-02-01T01:00:00+01:00"),
                rule("d", "all", expires="2026-02-30T00:00:00Z"),
                capture("Vehicle.Speed >", "e"),
            ],
        }
    )
    assert found["rules[0].signals[0]"] == (
        "'Vehicle.Sped' names no signal of a vehicle",
        "did you mean Vehicle.Speed?",
    )
    assert set(found) == {
        "rules[0].signals[0]", "rules[0].signals[2]", "rules[1].name", "rules[2].name", "rules[3].deadband",
        "rules[4].expires", "rules[5].expires", "rules[6].condition",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b"", "missing"),
        (b"version = ", "not TOML"),
        (b'{"version": 1', "not JSON"),
        (b"\xff\xfe", "not TOML"),
        (b"{" + b" " * SET_BYTES_MAX, "limit"),
        (b'{"a":' * 50_000, "not JSON"),
        (b"a = " + b"[" * 50_000, "not TOML"),
        (b'version = 1\nrules = "x"', "Expected"),
        (b"version = 1\nrules = [" + b"1," * (RULES_MAX + 1) + b"]", "limit 200"),
        (b"version = 1979-05-27T07:32:00", "minute"),
    ],
)
def test_what_is_no_set_is_a_fault_and_never_an_error(raw: bytes, problem: str) -> None:
    found = reading.parse(raw)
    if raw.startswith(b"version = 1979"):
        assert isinstance(found, Plan)  # a text as any other
        return
    assert isinstance(found, list)
    assert any(problem in fault.problem for fault in found), found


def test_a_file_that_cannot_be_read_is_a_fault(tmp_path: Path) -> None:
    found = reading.read_file(tmp_path / "absent.toml")
    assert isinstance(found, list)
    assert found[0].problem.startswith("cannot be read")


@pytest.mark.parametrize(
    ("pattern", "paths"),
    [
        ("Vehicle.Speed", ["Vehicle.Speed"]),
        ("Vehicle.CurrentLocation.*", [f"Vehicle.CurrentLocation.{each}" for each in
                                       ("Heading", "HorizontalAccuracy", "Latitude", "Longitude")]),
        ("Vehicle.Chassis.Axle.*.Wheel.Left.Tire.Pressure",
         [f"Vehicle.Chassis.Axle.Row{row}.Wheel.Left.Tire.Pressure" for row in (1, 2)]),
        ("Vehicle.CurrentLocation", []),
        ("vehicle.speed", []),
    ],
)  # fmt: skip
def test_a_star_stands_for_one_element_and_at_the_end_for_everything_below(pattern: str, paths: list[str]) -> None:
    numbers = plan.matching(pattern, Kind.VEHICLE)
    assert sorted(catalogue.BY_NUMBER[number].path for number in numbers) == paths


def test_a_star_alone_is_every_signal_of_the_kind_and_of_no_other() -> None:
    kinds = {catalogue.BY_NUMBER[number].kind for number in plan.matching("*", Kind.STATION)}
    assert kinds == {Kind.STATION}
    assert len(plan.matching("*", Kind.VEHICLE)) == sum(each.kind is Kind.VEHICLE for each in catalogue.SIGNALS)


def test_which_rules_are_active_is_a_question_of_time() -> None:
    made = planned(
        rule("a", "all", expires="2026-02-01T00:00:00Z"), capture("true", "b", starts="2026-02-01T00:00:00Z")
    )
    february_ms = 1_769_904_000_000
    assert made.active(february_ms - 1) == {"a"}
    assert made.active(february_ms) == {"b"}
    assert made.times_ms == [february_ms]


def test_the_version_of_a_faulty_set_is_read_where_there_is_one() -> None:
    assert reading.version_of(b'{"version": "v7", "rules": 5}') == "v7"
    assert reading.version_of(b"version = 8\nrules = 5") == 8
    for raw in (b"{", b"version = true", b"version = -1", b'version = ""'):
        assert reading.version_of(raw) is None
