"""Questions and their answers on a real MongoDB; right answers are worked out from the documents themselves."""

import json
import secrets
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pymongo
import pytest
import structlog
from pymongo.database import Database
from typer import Typer
from typer.testing import CliRunner

from cloud import query_cli
from cloud.queries import formats
from cloud.queries.parsing import Point
from tests import cloud_query_fleet as fleet

Ask = Callable[..., Any]
Document = dict[str, Any]

TWINS: Final = [fleet.vehicle(n) for n in range(fleet.VEHICLES)] + [fleet.station(n) for n in range(fleet.STATIONS)]
MUNICH: Final = f"{fleet.MUNICH[0]},{fleet.MUNICH[1]}"


@pytest.fixture(scope="module")
def database(mongodb_uri: str) -> Iterator[Database[Document]]:
    """2,200 twins, read by every test here."""
    name = f"test_questions_{secrets.token_hex(6)}"
    with pymongo.MongoClient[Document](mongodb_uri) as client:
        fleet.fill(client[name])
        yield client[name]
        client.drop_database(name)


@pytest.fixture
def ask(database: Database[Document], mongodb_uri: str) -> Iterator[Ask]:
    """Runs a command; `code` is the exit code that is due."""
    app = Typer()
    app.add_typer(query_cli.twins_app, name="twins")
    app.add_typer(query_cli.anomalies_app, name="anomalies")
    app.add_typer(query_cli.customers_app, name="customers")

    def run(*arguments: str, code: int = 0, uri: str = mongodb_uri, name: str = database.name) -> Any:
        result = CliRunner().invoke(app, [*arguments, "--mongodb-uri", uri, "--database", name])
        assert result.exit_code == code, (result.output, result.exception)
        return result

    yield run
    structlog.reset_defaults()


def found(ask: Ask, *arguments: str) -> list[Document]:
    """The twins that `twins find` finds, all of them."""
    answer = json.loads(ask("twins", "find", *arguments, "--json", "--limit", "10000").stdout)
    assert answer["matched"] == answer["shown"] == len(answer["twins"])
    twins: list[Document] = answer["twins"]
    return twins


def value(twin: Document, path: str) -> Any:
    node = twin["signals"]
    for part in path.split("."):
        node = node.get(part, {})
    return node.get("value")


def metres(twin: Document) -> float:
    distance = formats.distance_m(Point(*fleet.MUNICH), twin)
    return float("inf") if distance is None else distance


VOLTAGE: Final = "Vehicle.LowVoltageBattery.CurrentVoltage"
CASES: Final[list[tuple[list[str], Callable[[Document], bool]]]] = [
    ([], lambda twin: True),
    (["--kind", "station"], lambda twin: twin["kind"] == "station"),
    (["--model", "bolt 5"], lambda twin: twin["attributes"]["model"] == "Bolt 5"),
    (["--brand", "volt & sons"], lambda twin: twin["attributes"]["brand"] == "Volt & Sons"),
    (["--year", "2019..2020"], lambda twin: twin["attributes"].get("year") in (2019, 2020)),
    (["--year", "<2016"], lambda twin: twin["attributes"].get("year") == 2015),
    (["--owner", "C00010"], lambda twin: twin.get("owner", {}).get("customer_id") == "C00010"),
    (["--owner", "osterg"], lambda twin: twin.get("owner", {}).get("display_name", "").startswith("Øster")),
    (["--owner", "ØSTERGÅRD"], lambda twin: twin.get("owner", {}).get("display_name", "").startswith("Øster")),
    (["--owner", "garcia 0000"], lambda twin: twin.get("owner", {}).get("display_name", "").startswith("García 0000")),
    (["--vin", fleet.vin(7).lower()], lambda twin: twin["_id"] == "veh-00007"),
    (["--vin", "WFL3"], lambda twin: twin["attributes"].get("vin", "").startswith("WFL3")),
    (["--plate", "mff-12"], lambda twin: twin["attributes"].get("plate") == "M-FF 12"),
    (["--plate", "nobody 1"], lambda twin: False),
    (["--health", "critical"], lambda twin: twin["health"]["status"] == "critical"),
    (["--health", "service+"], lambda twin: twin["health"]["status"] in ("service", "critical")),
    (["--health", "ok", "--health", "watch"], lambda twin: twin["health"]["status"] in ("ok", "watch")),
    (["--finding", "station faulted"], lambda twin: twin["health"]["worst"] == "station_faulted"),
    (["--finding", "brake_pads_worn"], lambda twin: False),
    (["--where", "LowVoltageBattery.CurrentVoltage<12.2"], lambda twin: (value(twin, VOLTAGE) or 99) < 12.2),
    (
        ["--where", f"{VOLTAGE}>=13", "--where", f"{VOLTAGE}<13.2"],
        lambda twin: 13 <= (value(twin, VOLTAGE) or 0) < 13.2,
    ),
    (["--where", "Speed>120"], lambda twin: (value(twin, "Vehicle.Speed") or 0) > 120),
    (["--where", "DTCList=P0301"], lambda twin: "P0301" in (value(twin, "Vehicle.Diagnostics.DTCList") or [])),
    (
        ["--where", "DTCList!=P0301"],
        lambda twin: twin["kind"] == "vehicle" and "P0301" not in value(twin, "Vehicle.Diagnostics.DTCList"),
    ),
    (["--where", "IsMILOn=true"], lambda twin: value(twin, "Vehicle.Diagnostics.IsMILOn") is True),
    (["--where", "Powertrain.Type!=electric"], lambda twin: value(twin, "Vehicle.Powertrain.Type") == "COMBUSTION"),
    (["--where", "FirmwareVersion=2.1.0"], lambda twin: value(twin, "Station.Controller.FirmwareVersion") == "2.1.0"),
    (["--near", MUNICH, "--within-km", "20"], lambda twin: metres(twin) <= 20_000),
    (["--near", MUNICH], lambda twin: metres(twin) <= 50_000),
    (
        ["--silent-for", "2h"],
        lambda twin: twin["connection"]["last_seen"] < fleet.NOW - timedelta(hours=2),
    ),
    (["--state", "serviced"], lambda twin: twin.get("lifecycle", {}).get("state") == "serviced"),
    (
        ["--model", "a1", "--near", MUNICH, "--within-km", "30", "--where", f"{VOLTAGE}<12", "--health", "service+"],
        lambda twin: (
            twin["attributes"]["model"] == "A1" and metres(twin) <= 30_000 and (value(twin, VOLTAGE) or 99) < 12
        ),
    ),
    (
        ["--owner", "müller", "--year", "2020..", "--sort", "-odometer"],
        lambda twin: (
            twin.get("owner", {}).get("display_name", "").startswith("Müller")
            and twin["attributes"].get("year", 0) >= 2020
        ),
    ),
]


@pytest.mark.parametrize(("arguments", "matches"), CASES, ids=[" ".join(arguments) for arguments, _ in CASES])
def test_find_finds_exactly_what_matches(ask: Ask, arguments: list[str], matches: Callable[[Document], bool]) -> None:
    due = {twin["_id"] for twin in TWINS if matches(twin)}
    answer = [twin["_id"] for twin in found(ask, *arguments)]
    assert len(answer) == len(set(answer))
    assert set(answer) == due


@pytest.mark.parametrize(
    ("sort", "key"),
    [
        ("id", lambda twin: twin["_id"]),
        ("model", lambda twin: twin["attributes"]["model"]),
        ("year", lambda twin: twin["attributes"].get("year", 0)),
        ("last_seen", lambda twin: twin["connection"]["last_seen"]),
        ("health", lambda twin: ("ok", "watch", "service", "critical").index(twin["health"]["status"])),
        ("odometer", lambda twin: value(twin, "Vehicle.TraveledDistance")),
        ("Speed", lambda twin: value(twin, "Vehicle.Speed")),
    ],
)
def test_orders_rise_and_fall(ask: Ask, sort: str, key: Callable[[Document], Any]) -> None:
    rising, falling = ([key(twin) for twin in found(ask, "--sort", order)] for order in (sort, f"-{sort}"))
    assert rising == sorted(rising)
    assert falling == sorted(falling, reverse=True)
    assert len(rising) == len(falling) >= fleet.VEHICLES


def test_near_begins_with_the_nearest_and_says_how_far(ask: Ask) -> None:
    distances = [twin["distance_m"] for twin in found(ask, "--near", MUNICH, "--within-km", "40")]
    assert distances == sorted(distances)
    assert 0 == distances[0] < distances[-1] <= 40_000


def test_a_cut_answer_says_how_many_match(ask: Ask) -> None:
    assert "7 of 200 twins shown" in ask("twins", "find", "--kind", "station", "--limit", "7").stdout
    answer = json.loads(ask("twins", "find", "--near", MUNICH, "--limit", "3", "--json").stdout)
    assert (answer["shown"], len(answer["twins"])) == (3, 3)
    assert answer["matched"] == sum(metres(twin) <= 50_000 for twin in TWINS)


def test_nothing_found_is_an_answer(ask: Ask) -> None:
    assert ask("twins", "find", "--vin", "ZZZ").stdout == "no twins match\n"
    assert json.loads(ask("twins", "find", "--vin", "ZZZ", "--json").stdout)["twins"] == []


def test_an_unknown_model_lists_the_models_that_exist(ask: Ask) -> None:
    result = ask("twins", "find", "--model", "gulf", code=2)
    assert "there are: A1, A3, Bolt 5, C-Cross, Pillar 22" in result.stderr
    assert result.stdout == ""


def test_an_unknown_finding_lists_every_detector_even_those_that_never_raised(ask: Ask) -> None:
    text = ask("twins", "find", "--finding", "flat", code=2).stderr
    assert "brake_pads_worn" in text
    assert "station_faulted" in text


def test_an_unknown_owner_offers_similar_names(ask: Ask) -> None:
    assert "García" in ask("twins", "find", "--owner", "Garcio", code=2).stderr


def test_a_signal_without_an_index_is_noted_on_stderr_only(ask: Ask) -> None:
    result = ask("twins", "find", "--where", "Speed>120", "--limit", "1")
    assert len(result.stderr.splitlines()) == 1
    assert "no index of its own" in result.stderr
    assert "index" not in result.stdout


@pytest.mark.parametrize("limit", ["0", "10001"])
def test_limits_have_limits(ask: Ask, limit: str) -> None:
    ask("twins", "find", "--limit", limit, code=2)


def test_json_leaves_out_bookkeeping_and_has_iso_times(ask: Ask) -> None:
    (twin,) = found(ask, "--plate", "M-FF 100")
    assert twin.keys() == TWINS[100].keys() - {"fold", "link"}
    assert twin["connection"]["last_seen"].endswith(".000Z")


@pytest.mark.parametrize("key", ["veh-00100", fleet.vin(100), fleet.vin(100).lower(), "M-FF 100", "mff100"])
def test_show_takes_asset_vin_and_plate(ask: Ask, key: str) -> None:
    shown = json.loads(ask("twins", "show", key, "--json").stdout)
    assert shown["twin"]["_id"] == "veh-00100"
    assert shown["consents"] == {"email": True, "phone": False}
    assert [event["seq"] for event in shown["events"]] == [7, 6, 5, 4, 3]


def test_show_prints_what_staff_need(ask: Ask) -> None:
    text = ask("twins", "show", "veh-00100").stdout
    assert max(map(len, text.splitlines())) <= 100
    for part in (
        "Østergård 00050",
        "yes: email; no: phone",
        "11.4 V",
        "critical",
        "delivered",
        "P0307",
        fleet.vin(100),
    ):
        assert part in text


@pytest.mark.parametrize(
    ("key", "near"), [("veh-0010x", "veh-00100"), ("WFL7ZZZ", "WFL7ZZZ1"), ("m-ff 19999", "M-FF 1999")]
)
def test_show_of_nothing_names_what_is_near(ask: Ask, key: str, near: str) -> None:
    result = ask("twins", "show", key, code=1)
    assert near in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("key", ["", " ", "-", "$ne", '{"$gt": ""}', "\x00", "é" * 5_000])
def test_strange_keys_show_nothing(ask: Ask, key: str) -> None:
    ask("twins", "show", key, code=1)
    ask("customers", "show", key, code=1)


def test_two_assets_with_one_plate_are_both_named(ask: Ask, mongodb_uri: str, mongo_database: str) -> None:
    with pymongo.MongoClient[Document](mongodb_uri) as client:
        twins = [fleet.vehicle(1), fleet.vehicle(2)]
        for twin in twins:
            twin["attributes"]["plate"] = "M-XY 1"
        client[mongo_database]["twins"].insert_many(twins)
    text = ask("twins", "show", "mxy1", code=1, name=mongo_database).stderr
    assert "veh-00001" in text
    assert "veh-00002" in text


def test_anomalies_are_listed_by_what_was_asked(ask: Ask) -> None:
    def ids(*arguments: str) -> set[str]:
        listed = json.loads(ask("anomalies", "list", *arguments, "--limit", "1000", "--json").stdout)
        assert listed["matched"] == len(listed["anomalies"])
        return {anomaly["asset_id"] for anomaly in listed["anomalies"]}

    vehicles = {fleet.vehicle_id(number) for number in range(0, fleet.VEHICLES, 100)}
    stations = {fleet.station_id(number) for number in range(0, fleet.STATIONS, 50)}
    assert ids() == ids("--status", "all") == ids("--since", "6h") == vehicles | stations
    assert ids("--severity", "critical") == ids("--detector", "low_voltage_battery") == vehicles
    assert ids("--severity", "service+") == vehicles | stations
    assert ids("--asset", "veh-00100") == {"veh-00100"}
    assert ids("--since", "4h") == ids("--status", "resolved") == ids("--detector", "brake pads worn") == set()


def test_anomalies_print_a_table_and_how_many(ask: Ask) -> None:
    text = ask("anomalies", "list", "--limit", "5").stdout
    assert "5 of 24 anomalies shown" in text
    assert "low voltage battery" in text or "station faulted" in text
    assert ask("anomalies", "list", "--status", "resolved").stdout == "no anomalies match\n"
    assert "there are: open, acknowledged" in ask("anomalies", "list", "--status", "odd", code=2).stderr


def test_a_customer_is_shown_with_assets_now_and_before(ask: Ask) -> None:
    shown = json.loads(ask("customers", "show", "C00000", "--json").stdout)
    assert shown["profile"]["display_name"] == "Müller 00000"
    assert {period["role"]["asset_id"] for period in shown["held"]} == {"veh-00000", "veh-00001"}
    assert len(shown["before"]) == 998  # of the latest 1,000 periods
    assert shown["cut"]
    assert all(period["twin"]["health"]["status"] for period in shown["held"])


def test_a_customer_is_found_by_name_and_shown_for_people(ask: Ask) -> None:
    text = ask("customers", "show", "ostergard 00050").stdout
    for part in ("C00050", "c50@example.com", "yes: email; no: phone", "veh-00100", "low voltage battery"):
        assert part in text


def test_a_customer_is_shown_with_the_latest_activities(ask: Ask) -> None:
    text = ask("customers", "show", "C00050").stdout
    assert "latest activities" in text
    assert "WO-1 " in text
    shown = json.loads(ask("customers", "show", "C00050", "--json").stdout)
    assert [each["reference"] for each in shown["activities"]] == [f"WO-{days}" for days in range(1, 11)]
    assert "latest activities" not in ask("customers", "show", "C00051").stdout


def test_a_name_of_several_customers_lists_them(ask: Ask) -> None:
    text = ask("customers", "show", "garc", code=1).stderr
    assert "C00003 García 00003" in text


def test_roles_without_a_profile_still_show_a_customer(ask: Ask, mongodb_uri: str, mongo_database: str) -> None:
    with pymongo.MongoClient[Document](mongodb_uri) as client:
        client[mongo_database]["asset_roles"].insert_many(fleet.roles(9))
    text = ask("customers", "show", "C00004", name=mongo_database).stdout
    assert "no twin yet" in text
    assert "not received, or erased" in text


def test_a_query_that_takes_too_long_says_so(ask: Ask) -> None:
    slow = [word for bound in range(100) for word in ("--where", f"Speed>{-bound / 100}")]
    assert "took longer than 1ms" in ask("twins", "find", *slow, "--sort", "Speed", "--max-time", "1ms", code=3).stderr


def test_a_database_that_is_away_is_told_from_a_wrong_address(ask: Ask, free_port: int, tmp_path: Path) -> None:
    file = tmp_path / "cloud.toml"
    file.write_text("[mongo]\ntimeout_ms = 300\n[fold]\ncached_twins_max = 1\n")
    away = ask("twins", "find", "--config", str(file), code=3, uri=f"mongodb://user:secret@127.0.0.1:{free_port}")
    assert "does not answer" in away.stderr
    wrong = ask("twins", "find", code=2, uri="mongo://user:secret@nowhere")
    assert "secret" not in away.output + wrong.output
    ask("twins", "find", code=2, name="no.such$name")
    ask("twins", "find", "--config", str(tmp_path / "none.toml"), code=2)
    ask("twins", "find", "--max-time", "soon", code=2)
    ask("twins", "find", "--max-time", "2h", code=2)


def test_an_empty_database_answers_too(ask: Ask, mongo_database: str) -> None:
    assert ask("twins", "find", name=mongo_database).stdout == "no twins match\n"
    assert "none is known yet" in ask("twins", "find", "--model", "x", code=2, name=mongo_database).stderr
    ask("twins", "show", "veh-1", code=1, name=mongo_database)
    ask("customers", "show", "C1", code=1, name=mongo_database)
    ask("anomalies", "list", name=mongo_database)
