"""Every question is answered by indexes: what the server says of its plans."""

import secrets
from collections.abc import Callable, Iterator
from datetime import timedelta
from operator import eq, ge, gt, le, lt, ne
from typing import Any, Final

import pymongo
import pytest
import structlog
from pymongo.database import Database
from typer import Typer
from typer.testing import CliRunner

from cloud import query_cli
from cloud.queries import filters, formats, twins
from cloud.queries.asking import Options
from cloud.queries.filters import Query
from cloud.queries.reading import Reader
from tests import cloud_query_fleet as fleet

LIMIT: Final = 20
COMPARED: Final[dict[str, Callable[[float, float], bool]]] = {
    "<": lt,
    "<=": le,
    ">": gt,
    ">=": ge,
    "=": eq,
    "!=": ne,
}
MUNICH: Final = f"{fleet.MUNICH[0]},{fleet.MUNICH[1]}"


@pytest.fixture(scope="module")
def database(mongodb_uri: str) -> Iterator[Database[dict[str, Any]]]:
    """2,200 twins, read by every test here."""
    name = f"test_plans_{secrets.token_hex(6)}"
    with pymongo.MongoClient[dict[str, Any]](mongodb_uri) as client:
        fleet.fill(client[name])
        yield client[name]
        client.drop_database(name)


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def built(database: Database[dict[str, Any]], **options: Any) -> Query:
    asked = Options(**options)
    known = twins.known(Reader(database, 5_000), asked, ("low_voltage_battery",))
    query = filters.build(asked, known, fleet.NOW + timedelta(seconds=1))
    assert isinstance(query, Query), query
    return query


def plans(database: Database[dict[str, Any]], query: Query) -> list[dict[str, Any]]:
    """The winning plan of each part, and of counting."""
    found: list[dict[str, Any]] = []
    for part in query.parts:
        cursor = database["twins"].find(part, sort=query.keys or None, limit=LIMIT + 1)
        found.append(cursor.explain()["queryPlanner"]["winningPlan"])
    if not query.condition:
        return found  # all twins are counted by metadata, which has no plan
    counting = {"aggregate": "twins", "pipeline": [{"$match": query.condition}, {"$count": "n"}], "cursor": {}}
    explained = database.command("explain", counting, verbosity="queryPlanner")
    planner = explained.get("queryPlanner") or explained["stages"][0]["$cursor"]["queryPlanner"]
    return [*found, planner["winningPlan"]]


def stages(plan: Any) -> set[tuple[str, str]]:
    """Stage and index of every node of a plan, however it is nested."""
    if isinstance(plan, list):
        return {stage for below in plan for stage in stages(below)}
    if not isinstance(plan, dict):
        return set()
    own = {(plan["stage"], plan.get("indexName", ""))} if "stage" in plan else set()
    return own | {stage for below in plan.values() for stage in stages(below)}


ALONE: Final = [
    ({}, "_id_"),
    ({"kind": "station"}, "kind"),
    ({"model": "bolt 5"}, "model"),
    ({"brand": "Volt & Sons"}, "brand"),
    ({"year": "2021"}, "year"),
    ({"year": "2024.."}, "year"),
    ({"owner": "C00010"}, "owner"),
    ({"owner": "müller 0005"}, "owner"),
    ({"vin": fleet.vin(7)}, "vin"),
    ({"vin": "WFL3ZZZ"}, "vin"),
    ({"plate": "mff 77"}, "_id_"),
    ({"health": ("critical",)}, "health_status"),
    ({"health": ("service+",)}, "health_status"),
    ({"finding": ("low_voltage_battery",)}, "finding"),
    ({"silent_for": "2h"}, "seen"),
    ({"state": "built"}, "lifecycle_state"),
    ({"near": MUNICH, "within_km": 20.0}, "place"),
    ({"near": MUNICH, "within_km": 2.0, "sort": "id"}, "place"),
    ({"where": ("LowVoltageBattery.CurrentVoltage<12.2",)}, "values"),
    ({"where": ("LowVoltageBattery.CurrentVoltage>13.3",)}, "values"),
    ({"where": ("Powertrain.Type=ELECTRIC",)}, "values"),
    ({"where": ("DTCList=P0301",)}, "values"),
    ({"where": ("IsMILOn=yes",)}, "values"),
    ({"where": ("FirmwareVersion!=2.0.0",)}, "values"),
    ({"where": ("ChargingStation.AvailabilityState=Faulted",)}, "values"),
    ({"where": ("Speed>128",)}, "kind"),
    ({"where": ("EVSE.Power=0",)}, "kind"),
    ({"sort": "-year"}, "year"),
    ({"sort": "model"}, "model"),
    ({"sort": "last_seen"}, "kind"),
    ({"sort": "-odometer"}, "values"),
    ({"sort": "-health"}, "health_status"),
    ({"sort": "Speed"}, "kind"),
]


@pytest.mark.parametrize(("options", "index"), ALONE, ids=[str(options) for options, _ in ALONE])
def test_each_filter_and_order_alone_uses_its_own_index(
    database: Database[dict[str, Any]], options: dict[str, Any], index: str
) -> None:
    query = built(database, **options)
    for plan in plans(database, query)[: len(query.parts)]:
        used = stages(plan)
        assert "COLLSCAN" not in {stage for stage, _ in used}
        assert {name for _, name in used if name} == {index}


@pytest.mark.parametrize(
    "options",
    [options for options, _ in ALONE if options]
    + [
        {"kind": "vehicle", "model": "bolt 5", "where": ("LowVoltageBattery.CurrentVoltage<12.2",), "near": MUNICH},
        {"owner": "müller", "where": ("Speed>100",), "sort": "-year"},
        {"health": ("watch+",), "sort": "-health", "near": MUNICH},
        {"finding": ("low_voltage_battery",), "silent_for": "1h", "state": "delivered"},
        {"year": "2019..2023", "where": ("Speed>100", "Speed<110"), "sort": "Speed"},
        {"plate": "mff 77", "vin": "WFL", "owner": "C00038"},
    ],
    ids=str,
)
def test_no_plan_reads_the_whole_collection(database: Database[dict[str, Any]], options: dict[str, Any]) -> None:
    for plan in plans(database, built(database, **options)):
        found = {stage for stage, _ in stages(plan)}
        assert "COLLSCAN" not in found
        assert found & {"IXSCAN", "GEO_NEAR_2DSPHERE", "COUNT_SCAN", "IDHACK", "EOF"}


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("bound", [180, 199.5, 200, 229, 230])
@pytest.mark.parametrize("operator", ["<", "<=", ">", ">=", "=", "!="])
def test_copies_that_are_off_by_a_step_change_no_answer(
    database: Database[dict[str, Any]], operator: str, bound: float, direction: int
) -> None:
    path = "Vehicle.Chassis.Axle.Row1.Wheel.Left.Tire.Pressure"
    if not float(bound).is_integer() and "=" in (operator, operator[1:]):
        return  # of whole numbers, none is a fraction
    sort = "-" * (direction < 0) + path
    found = twins.find(
        Reader(database, 5_000), built(database, where=(f"{path}{operator}{bound}",), sort=sort), fleet.VEHICLES
    )
    values = {fleet.vehicle_id(number): 230 - number % 60 for number in range(fleet.VEHICLES)}
    holds = COMPARED[operator]
    expected = sorted(((value, name) for name, value in values.items() if holds(value, bound)), reverse=direction < 0)
    assert [one["_id"] for one in found.twins] == [name for _, name in expected]
    assert found.matched == len(expected)


@pytest.mark.parametrize("within_km", [1.0, 3.0, 20.0, 150.0])
def test_coarse_places_change_no_answer_and_no_order(database: Database[dict[str, Any]], within_km: float) -> None:
    query = built(database, near=MUNICH, within_km=within_km)
    found = twins.find(Reader(database, 5_000), query, 50)
    assert query.point is not None
    away = {held["_id"]: formats.distance_m(query.point, held) for held in map(fleet.vehicle, range(fleet.VEHICLES))}
    expected = sorted((metres, name) for name, metres in away.items() if metres and metres <= within_km * 1_000)
    zero = [(0.0, name) for name, metres in away.items() if metres == 0]
    assert [one["_id"] for one in found.twins] == [name for _, name in (zero + expected)[:50]]
    assert found.matched == len(zero + expected)
    assert "search" not in found.twins[0]


@pytest.mark.parametrize("minutes", [50, 53, 101, 400])
def test_coarse_times_change_no_answer_and_no_order(database: Database[dict[str, Any]], minutes: int) -> None:
    found = twins.find(Reader(database, 5_000), built(database, silent_for=f"{minutes}m"), fleet.VEHICLES)
    silent = [number for number in range(1, fleet.VEHICLES, 50) if number >= minutes]
    assert [one["_id"] for one in found.twins] == [fleet.vehicle_id(number) for number in reversed(silent)]


COMMANDS: Final = [
    ["twins", "find"],
    ["twins", "find", "--limit", "1", "--owner", "mull", "--model", "a1", "--brand", "aurora"],
    ["twins", "find", "--owner", "nobody at all"],
    ["twins", "find", "--plate", "M-FF 12", "--finding", "low_voltage_battery"],
    ["twins", "find", "--near", MUNICH, "--where", "Speed>100", "--limit", "3"],
    ["twins", "show", "veh-00100"],
    ["twins", "show", fleet.vin(100)],
    ["twins", "show", "mff 100"],
    ["twins", "show", "veh-0010x"],
    ["twins", "show", "WFL1ZZ"],
    ["anomalies", "list"],
    ["anomalies", "list", "--status", "all", "--limit", "1", "--severity", "service+", "--since", "7d"],
    ["anomalies", "list", "--status", "all", "--detector", "station_faulted"],
    ["anomalies", "list", "--asset", "veh-00100"],
    ["customers", "show", "C00000"],
    ["customers", "show", "garcia 00003"],
    ["customers", "show", "garcia"],
    ["customers", "show", "gracia"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_command_sends_a_query_that_reads_a_whole_collection(
    database: Database[dict[str, Any]], mongodb_uri: str, command: list[str]
) -> None:
    database.command("profile", 2)
    try:
        CliRunner().invoke(_app(), [*command, "--mongodb-uri", mongodb_uri, "--database", database.name])
    finally:
        database.command("profile", 0)
    ran = list(database["system.profile"].find({"appName": "fleetfold-cloud-query"}))
    database["system.profile"].drop()
    assert ran
    for entry in ran:
        assert "COLLSCAN" not in entry["planSummary"], entry["command"]
        command_sent = entry.get("originatingCommand", entry["command"])  # of a cursor's further batches
        assert command_sent["maxTimeMS"] == 5_000


def test_the_profile_would_show_a_whole_collection_read(database: Database[dict[str, Any]]) -> None:
    database.command("profile", 2)
    list(database["twins"].find({"attributes.color": "red"}))
    database.command("profile", 0)
    summaries = [entry["planSummary"] for entry in database["system.profile"].find({"op": "query"})]
    database["system.profile"].drop()
    assert "COLLSCAN" in summaries


def _app() -> Typer:
    app = Typer()
    app.add_typer(query_cli.twins_app, name="twins")
    app.add_typer(query_cli.anomalies_app, name="anomalies")
    app.add_typer(query_cli.customers_app, name="customers")
    return app
