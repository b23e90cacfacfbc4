"""Options to queries, without a database."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud import search
from cloud.queries import anomalies, conditions, filters, parsing
from cloud.queries.asking import CUSTOMERS_MAX, PLATES_MAX, Known, Options
from cloud.queries.faults import Fault, unknown
from cloud.queries.filters import Query
from wire import catalogue

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
KNOWN = Known(
    models=("Bolt", "Golf", "GOLF"),
    brands=("Aurora",),
    detectors=("low_voltage_battery", "station_faulted"),
    customer_ids=("C1", "C2"),
    plate_assets=("veh-1",),
)
SIGNAL = "signals.Vehicle.LowVoltageBattery.CurrentVoltage.value"
COPY = "search.values"
STEP = 1.001 * catalogue.BY_NUMBER[6].search_step


def copy(comparison: dict[str, Any]) -> dict[str, Any]:
    return {"$elemMatch": {"number": 6, "value": comparison}}


def query(known: Known = KNOWN, **options: Any) -> Query:
    built = filters.build(Options(**options), known, NOW)
    assert isinstance(built, Query), built
    return built


def faults(known: Known = KNOWN, **options: Any) -> str:
    built = filters.build(Options(**options), known, NOW)
    assert isinstance(built, list)
    return "\n".join(fault.text for fault in built)


@pytest.mark.parametrize(
    ("options", "condition"),
    [
        ({}, {}),
        ({"kind": "station"}, {"kind": "station"}),
        ({"model": "golf"}, {"attributes.model": {"$in": ["Golf", "GOLF"]}}),
        ({"brand": "AURORA"}, {"attributes.brand": {"$in": ["Aurora"]}}),
        ({"year": "2021"}, {"attributes.year": {"$eq": 2021}}),
        ({"year": "2019..2023"}, {"attributes.year": {"$gte": 2019, "$lte": 2023}}),
        ({"year": "..2018"}, {"attributes.year": {"$lte": 2018}}),
        ({"year": ">=2020"}, {"attributes.year": {"$gte": 2020}}),
        ({"owner": "mül"}, {"owner.customer_id": {"$in": ["C1", "C2"]}}),
        ({"vin": "wvw-zzz1j"}, {"attributes.vin": {"$gte": "WVWZZZ1J", "$lt": "WVWZZZ1J\uffff"}}),
        ({"vin": "1M8GDM9AXKP042788"}, {"attributes.vin": {"$eq": "1M8GDM9AXKP042788"}}),
        ({"plate": "m-ab 12"}, {"_id": {"$in": ["veh-1"]}}),
        ({"health": ("service+",)}, {"health.status": {"$in": ["service", "critical"]}}),
        ({"health": ("ok", "watch")}, {"health.status": {"$in": ["ok", "watch"]}}),
        ({"finding": ("low voltage battery",)}, {"health.open.detector": {"$in": ["low_voltage_battery"]}}),
        (
            {"where": ("LowVoltageBattery.CurrentVoltage<12.2",)},
            {COPY: copy({"$lte": 12.2 + STEP}), SIGNAL: {"$lt": 12.2}},
        ),
        ({"state": "delivered"}, {"lifecycle.state": "delivered"}),
        (
            {"silent_for": "2h"},
            {
                "search.seen": {"$lt": NOW - timedelta(hours=2)},
                "connection.last_seen": {"$gt": datetime.fromtimestamp(0, UTC), "$lt": NOW - timedelta(hours=2)},
            },
        ),
    ],
)
def test_each_filter_asks_for_its_field(options: dict[str, Any], condition: dict[str, Any]) -> None:
    assert query(**options).condition == condition


def test_all_filters_must_match() -> None:
    assert query(kind="vehicle", year="2021").condition == {
        "$and": [{"kind": "vehicle"}, {"attributes.year": {"$eq": 2021}}]
    }


def test_two_comparisons_of_one_signal_make_a_range() -> None:
    built = query(where=("LowVoltageBattery.CurrentVoltage>11", "LowVoltageBattery.CurrentVoltage<12"))
    above = {COPY: copy({"$gte": 11 - STEP}), SIGNAL: {"$gt": 11.0}}
    assert built.condition == {"$and": [above, {COPY: copy({"$lte": 12 + STEP}), SIGNAL: {"$lt": 12.0}}]}
    assert len(built.signals) == 1


@pytest.mark.parametrize(
    ("options", "because"),
    [
        ({"kind": "boat"}, "--kind: 'boat' is not known; there are: vehicle, station"),
        ({"model": "gulf"}, "--model: 'gulf' is not known; there are: Bolt, Golf, GOLF"),
        ({"brand": "x"}, "there are: Aurora"),
        ({"year": "21"}, "--year"),
        ({"year": "2023..2019"}, "the first year is after the last"),
        ({"year": ".."}, "--year"),
        ({"vin": "WI"}, "without I, O and Q"),
        ({"vin": "W" * 18}, "3 to 17"),
        ({"vin": "W$W"}, "3 to 17"),
        ({"plate": " - "}, "--plate"),
        ({"health": ("ill",)}, "--health: 'ill' is not known; there are: ok, watch, service, critical"),
        ({"finding": ("flat tyre",)}, "there are: low_voltage_battery, station_faulted"),
        ({"where": ("Spead>3",)}, "--where: no signal 'Spead'"),
        ({"near": "91,0"}, "--near"),
        ({"near": "48.1"}, "--near"),
        ({"near": "48,11", "within_km": 0.0}, "--within-km"),
        ({"near": "48,11", "within_km": float("nan")}, "--within-km"),
        ({"within_km": 5.0}, "--within-km needs --near"),
        ({"silent_for": "2 weeks"}, "--silent-for"),
        ({"silent_for": "0s"}, "--silent-for"),
        ({"state": "flying"}, "there are: ordered, body_built, painted, assembled, tested, built, shipped, delivered"),
        ({"sort": "modle"}, "did you mean model?"),
        ({"sort": "distance"}, "--sort: distance needs --near"),
        ({"sort": "-distance", "near": "48,11"}, "nearest"),
        ({"sort": "DTCList"}, "is a list"),
        ({"kind": "station", "where": ("Speed>3",)}, "no asset has both"),
        ({"where": ("Speed>3", "EVSE.Power>3")}, "no asset has both"),
    ],
)
def test_a_wrong_filter_explains_itself(options: dict[str, Any], because: str) -> None:
    assert because in faults(**options)


def test_every_fault_is_reported_at_once() -> None:
    assert len(faults(kind="boat", year="x", where=("Spead>3", "Speed>x"), near="0").splitlines()) == 5


def test_an_owner_nobody_has_offers_similar_names() -> None:
    assert "similar: Müller, Muller" in faults(Known(similar_customers=("Müller", "Muller")), owner="Mullr")


def test_too_many_owners_and_plates_are_refused() -> None:
    many = tuple(f"C{number}" for number in range(CUSTOMERS_MAX + 1))
    assert "write more of the name" in faults(Known(customer_ids=many), owner="m")
    assert "assets have this plate" in faults(Known(plate_assets=many[: PLATES_MAX + 1]), plate="none")


def test_a_model_of_an_empty_database_says_that_none_is_known() -> None:
    assert "none is known yet" in faults(Known(), model="golf")


@pytest.mark.parametrize(
    ("options", "keys"),
    [
        ({}, [("_id", 1)]),
        ({"silent_for": "2h"}, [("connection.last_seen", 1), ("_id", 1)]),
        ({"where": ("LowVoltageBattery.CurrentVoltage<12",)}, [(SIGNAL, 1), ("_id", 1)]),
        ({"where": ("LowVoltageBattery.CurrentVoltage>14",)}, [(SIGNAL, -1), ("_id", -1)]),
        ({"where": ("IsMILOn=true",)}, [("_id", 1)]),
        ({"near": "48,11"}, []),
        ({"near": "48,11", "sort": "id"}, [("_id", 1)]),
        ({"sort": "-year"}, [("attributes.year", -1), ("_id", -1)]),
        ({"sort": "odometer"}, [("signals.Vehicle.TraveledDistance.value", 1), ("_id", 1)]),
    ],
)
def test_the_order_is_the_asked_one_or_the_telling_one(options: dict[str, Any], keys: list[tuple[str, int]]) -> None:
    assert query(**options).keys == keys


def test_sorting_by_health_reads_one_status_after_the_other() -> None:
    parts = query(sort="-health").parts
    assert [part["$and"][1]["health.status"] for part in parts] == ["critical", "service", "watch", "ok"]


def test_near_reads_a_wider_circle_of_coarse_places_and_decides_by_the_location() -> None:
    built = query(near="48.1,11.5", within_km=10.0)
    assert built.parts == (built.condition,)
    for field, metres in (("location", 10_000), ("search.place", 10_000 + search.PLACE_STEP_M_MAX)):
        centre, radians = built.condition[field]["$geoWithin"]["$centerSphere"]
        assert centre == [11.5, 48.1]
        assert radians == pytest.approx(metres / conditions.EARTH_RADIUS_M)


def test_a_signal_without_an_index_goes_by_its_kind_and_says_so() -> None:
    built = query(where=("Speed>100",))
    assert {"kind": "vehicle"} in built.condition["$and"]
    assert built.notes == ("Vehicle.Speed: no index of its own, so every vehicle is read",)


def test_a_signal_without_an_index_beside_another_filter_says_so() -> None:
    (note,) = query(where=("Speed>100",), model="golf").notes
    assert note == "Vehicle.Speed: no index of its own, so every twin that the other filters match is read"


def test_an_order_by_a_signal_leaves_out_who_has_none_and_says_so() -> None:
    built = query(sort="LowVoltageBattery.CurrentVoltage")
    assert built.condition == {COPY: {"$elemMatch": {"number": 6}}, SIGNAL: {"$exists": True}}
    assert "left out" in built.notes[0]


@given(st.text(), st.sampled_from(["kind", "model", "brand", "year", "vin", "near", "silent_for", "state", "sort"]))
def test_no_text_adds_an_operator_to_a_query(text: str, option: str) -> None:
    built = filters.build(Options(**{option: text}), KNOWN, NOW)
    if isinstance(built, Query):
        allowed = {"$in", "$eq", "$gt", "$gte", "$lt", "$lte", "$exists", "$and", "$geoWithin", "$centerSphere"}
        assert {key for key in _keys(built.condition) if key.startswith("$")} <= allowed


def _keys(condition: Any) -> set[str]:
    if isinstance(condition, dict):
        return set(condition) | {key for below in condition.values() for key in _keys(below)}
    return {key for below in condition for key in _keys(below)} if isinstance(condition, list) else set()


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("15min", 900), ("1.5h", 5_400), ("7d", 604_800), ("500ms", 0.5)]
)
def test_durations_have_units(text: str, seconds: float) -> None:
    assert parsing.duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "5", "h", "-2h", "2h30m", "1e9d", "99999d", "٣h"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    assert isinstance(parsing.duration(text), Fault)


def test_many_names_are_cut_to_the_closest() -> None:
    text = unknown("--model", "modl 7", [f"Model {number}" for number in range(100)]).text
    assert "closest: Model 7" in text
    assert "100 in all" in text


def test_anomalies_always_name_status_and_severity_so_that_their_index_serves() -> None:
    condition = anomalies.build(anomalies.Options(status="all", since="7d"), (), NOW)
    assert condition == {
        "status": {"$in": ["open", "acknowledged", "resolved"]},
        "severity": {"$in": ["watch", "service", "critical"]},
        "opened": {"$gte": NOW - timedelta(days=7)},
    }


def test_wrong_options_of_anomalies_are_explained_at_once() -> None:
    wrong = anomalies.Options(status="odd", severity=("bad",), detector="none", since="x")
    built = anomalies.build(wrong, ("station_faulted",), NOW)
    assert isinstance(built, list)
    text = "\n".join(fault.text for fault in built)
    for part in ("--status: 'odd'", "open, acknowledged, resolved, all", "--severity", "--since", "station_faulted"):
        assert part in text
