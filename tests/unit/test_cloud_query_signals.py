"""Expressions on signals."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.queries import signals
from cloud.queries.faults import Fault
from cloud.queries.signals import Comparison
from wire import catalogue


def parsed(expression: str) -> tuple[str, str, object]:
    comparison = signals.parse(expression)
    assert isinstance(comparison, Comparison), comparison
    return comparison.signal.path, comparison.operator, comparison.value


def fault(expression: str) -> str:
    refused = signals.parse(expression)
    assert isinstance(refused, Fault), refused
    return refused.text


@pytest.mark.parametrize(
    ("expression", "path", "operator", "value"),
    [
        ("Vehicle.Speed<12.5", "Vehicle.Speed", "<", 12.5),
        ("Speed >= 50", "Vehicle.Speed", ">=", 50.0),
        ("lowvoltagebattery.currentvoltage<12.2", "Vehicle.LowVoltageBattery.CurrentVoltage", "<", 12.2),
        ("LowVoltageBattery.CurrentVoltage<12.2V", "Vehicle.LowVoltageBattery.CurrentVoltage", "<", 12.2),
        ("TraveledDistance>1e6 m", "Vehicle.TraveledDistance", ">", 1_000_000),
        ("IsMILOn=yes", "Vehicle.Diagnostics.IsMILOn", "=", True),
        ("IsMILOn!=true", "Vehicle.Diagnostics.IsMILOn", "!=", True),
        ("Powertrain.Type==electric", "Vehicle.Powertrain.Type", "=", "ELECTRIC"),
        ("DTCList=p0301", "Vehicle.Diagnostics.DTCList", "=", "P0301"),
        ("FirmwareVersion=2.0=b", "Station.Controller.FirmwareVersion", "=", "2.0=b"),
        ("TractionBattery.StateOfHealth<80%", "Vehicle.Powertrain.TractionBattery.StateOfHealth", "<", 80.0),
        (
            "EngineCoolant.Temperature>100 °C",
            "Vehicle.Powertrain.CombustionEngine.EngineCoolant.Temperature",
            ">",
            100.0,
        ),
        ("RelativeLevel<12.5", "Vehicle.Powertrain.FuelSystem.RelativeLevel", "<", 12.5),
        ("TimeToService<-86400", "Vehicle.Service.TimeToService", "<", -86_400),
    ],
)
def test_an_expression_is_typed_by_the_catalogue(expression: str, path: str, operator: str, value: object) -> None:
    given_path, given_operator, given_value = parsed(expression)
    assert (given_path, given_operator, given_value) == (path, operator, value)
    assert type(given_value) is type(value)


@pytest.mark.parametrize("signal", catalogue.SIGNALS, ids=lambda signal: signal.path)
def test_every_signal_is_found_by_its_path_and_without_its_root(signal: catalogue.Signal) -> None:
    assert signals.resolve(signal.path) == signal
    assert signals.resolve(signal.path.split(".", 1)[1]) == signal


def test_an_ambiguous_end_lists_its_candidates() -> None:
    text = fault("CurrentVoltage<12")
    assert "Vehicle.LowVoltageBattery.CurrentVoltage" in text
    assert "Vehicle.Powertrain.TractionBattery.CurrentVoltage" in text


def test_an_unknown_signal_names_the_closest() -> None:
    assert "Vehicle.TraveledDistance" in fault("TravelledDistance>5")


@pytest.mark.parametrize(
    ("expression", "because"),
    [
        ("", "is not SIGNAL OPERATOR VALUE"),
        ("Speed", "is not SIGNAL OPERATOR VALUE"),
        ("Speed~3", "is not SIGNAL OPERATOR VALUE"),
        ("$where=1", "is not SIGNAL OPERATOR VALUE"),
        ("Nonsense.Words=1", "no signal"),
        ("Speed<", "a number in km/h"),
        ("Speed<fast", "a number in km/h"),
        ("Speed<nan", "a number in km/h"),
        ("Speed<inf", "a number in km/h"),
        ("Speed<1_0", "not in '_0'"),
        ("Speed<50 mph", "not in 'mph'"),
        ("TraveledDistance>100km", "is in m"),
        ("Speed<1000", "within -60..400"),
        ("RelativeLevel=12.5", "whole numbers"),
        ("IsMILOn=maybe", "true or false"),
        ("IsMILOn<true", "only = and !="),
        ("Powertrain.Type=STEAM", "COMBUSTION, ELECTRIC, HYBRID"),
        ("DTCList<P0301", "only = and !="),
        ("DTCList=P03", "trouble code"),
        ("FirmwareVersion=", "1 to 1024 characters"),
        ("FirmwareVersion=" + "x" * 2_000, "1 to 1024 characters"),
    ],
)
def test_what_cannot_be_compared_is_explained(expression: str, because: str) -> None:
    assert because in fault(expression)


def test_not_equal_wants_a_value_that_differs() -> None:
    comparison = signals.parse("Powertrain.Type!=ELECTRIC")
    assert isinstance(comparison, Comparison)
    field = "signals.Vehicle.Powertrain.Type.value"
    assert comparison.condition() == {
        "search.values": {"$elemMatch": {"number": 14}},
        field: {"$ne": "ELECTRIC", "$exists": True},
    }


@given(
    st.sampled_from([signal.path for signal in catalogue.SIGNALS]),
    st.sampled_from(["<", "<=", ">", ">=", "=", "!="]),
    st.one_of(st.text(), st.from_regex(r"[{\[$]?\$?(ne|gt|where|regex)[\]}:]*.*"), st.floats().map(str)),
)
def test_no_text_becomes_an_operator(path: str, operator: str, text: str) -> None:
    comparison = signals.parse(f"{path}{operator}{text}")
    if isinstance(comparison, Fault):
        return
    asked = comparison.condition()
    exact = asked.pop(f"signals.{path}.value")
    copied = asked.pop("search.values", {"$elemMatch": {}})["$elemMatch"]
    assert not asked
    assert copied.get("number", catalogue.BY_PATH[path].number) == catalogue.BY_PATH[path].number
    for condition in (exact, copied.get("value", {})):
        assert set(condition) <= {"$lt", "$lte", "$gt", "$gte", "$eq", "$ne", "$exists"}
        assert all(isinstance(value, bool | int | float | str) for value in condition.values())
