"""What people see."""

import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console, RenderableType

from cloud.queries import formats, render
from cloud.queries.parsing import Point
from tests import cloud_query_fleet
from wire import catalogue

NOW = cloud_query_fleet.NOW
VOLTAGE = catalogue.BY_PATH["Vehicle.LowVoltageBattery.CurrentVoltage"]
LEFT = catalogue.BY_PATH["Vehicle.Chassis.Axle.Row1.Wheel.Left.Tire.Pressure"]
RIGHT = catalogue.BY_PATH["Vehicle.Chassis.Axle.Row1.Wheel.Right.Tire.Pressure"]
STALE = timedelta(minutes=15)


def printed(content: RenderableType) -> str:
    out = io.StringIO()
    Console(file=out, width=render.WIDTH, highlight=False, markup=False, emoji=False).print(content)
    return out.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (3_599, "59 min"),
        (7_200, "2 h"),
        (172_799, "47 h"),
        (172_800, "2 d"),
        (-5, "5 s"),
        (-7_200, "2 h ahead"),
    ],
)
def test_ages_have_the_largest_telling_unit(seconds: int, text: str) -> None:
    assert formats.age(NOW - timedelta(seconds=seconds), NOW) == text


def test_an_asset_that_was_never_heard_of_is_never_seen() -> None:
    assert formats.age(None, NOW) == formats.age(datetime.fromtimestamp(0, UTC), NOW) == "never"


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (12.199999809, "V", "12.2 V"),
        (True, "", "yes"),
        (80, "percent", "80 %"),
        ([], "", "none"),
        (["P0301", "P0420"], "", "P0301, P0420"),
        ({"testFailed": True}, "", "testFailed yes"),
        ("OFF", "", "OFF"),
    ],
)
def test_values_have_their_unit(value: Any, unit: str, text: str) -> None:
    assert formats.value(value, unit) == text


def test_a_stale_value_shows_its_age_and_a_fresh_one_does_not() -> None:
    held = cloud_query_fleet.twin("veh-1", "vehicle", signals=cloud_query_fleet.tree({VOLTAGE.path: 12.5}, NOW))
    assert formats.leaf(held, VOLTAGE.path, NOW + STALE, STALE) == "12.5 V"
    assert formats.leaf(held, VOLTAGE.path, NOW + timedelta(hours=3), STALE) == "12.5 V (3 h old)"
    assert formats.leaf(held, LEFT.path, NOW, STALE) == "–"


def test_a_silent_asset_is_never_just_ok() -> None:
    held = cloud_query_fleet.twin("veh-1", "vehicle")
    assert render.health(held).plain == "ok"
    held["connection"]["silent"] = True
    assert render.health(held).plain == "silent, last known ok"


def test_signals_with_the_same_end_have_different_headings() -> None:
    held = cloud_query_fleet.vehicle(3)
    heading = printed(render.found([held], [LEFT, RIGHT], None, NOW, STALE))
    assert "Left.Tire" in heading
    assert "Right.Tire" in heading


def test_a_line_of_the_answer_fits_100_columns_and_keeps_its_values() -> None:
    text = printed(render.found([cloud_query_fleet.vehicle(100)], [VOLTAGE], Point(48.137, 11.575), NOW, STALE))
    assert max(map(len, text.splitlines())) <= 100
    for part in ("veh-00100", "M-FF 100", "Østergård", "critical", "voltage battery", "11.4 V", "CurrentVoltage"):
        assert part in text


def test_text_from_outside_is_neither_markup_nor_a_terminal_command() -> None:
    held = cloud_query_fleet.vehicle(3)
    held["owner"]["display_name"] = "[red]\x1b[31mEve\x07"
    text = printed(render.found([held], [], None, NOW, STALE))
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "[red]�[31mEve�" in text


def test_show_has_owner_consent_findings_signals_with_age_life_and_events() -> None:
    held, profile = cloud_query_fleet.vehicle(100), cloud_query_fleet.customer(50)
    text = printed(render.twin(held, profile, [cloud_query_fleet.event("veh-00100", 3)], NOW + timedelta(hours=1)))
    for part in ("Østergård 00050", "yes: email; no: phone", "critical", "battery on veh-00100", "11.4 V"):
        assert part in text
    for part in ("delivered", "Munich", "12 km", "code: P0303", "Vehicle.LowVoltageBattery.CurrentVoltage", "gw-1"):
        assert part in text


def test_a_twin_that_nothing_is_known_of_can_be_shown() -> None:
    bare = {"_id": "veh-9", "kind": "vehicle", "schema_version": 1, "revision": 0, "link": {"revision": 0}}
    bare |= {"counters": {}, "health": {"status": "ok", "worst": None, "open": []}}
    text = printed(render.twin(bare, None, [], NOW))
    assert "never heard of" in text
    assert "nobody known" in text
    assert "never" in printed(render.found([bare], [VOLTAGE], Point(0, 0), NOW, STALE))


@pytest.mark.parametrize(
    ("profile", "text"),
    [(None, "unknown: no profile"), ({}, "no: no consent given"), ({"consents": {"sms": False}}, "no: sms")],
)
def test_contact_is_allowed_only_by_a_consent(profile: dict[str, Any] | None, text: str) -> None:
    assert formats.contact(profile) == text


def test_json_has_iso_times_and_text_as_it_is() -> None:
    document = {"at": datetime(2026, 5, 4, 12, 0, 0, 5000, tzinfo=UTC), "name": "Müller"}
    text = formats.as_json(document)
    assert "Müller" in text
    assert json.loads(text)["at"] == "2026-05-04T12:00:00.005Z"


def test_distance_is_along_the_surface() -> None:
    berlin = {"location": {"type": "Point", "coordinates": [13.4050, 52.5200]}}
    # Munich to Berlin, city centres: 504 km by any great-circle calculator
    assert formats.distance_m(Point(48.1372, 11.5756), berlin) == pytest.approx(504_500, rel=0.005)
