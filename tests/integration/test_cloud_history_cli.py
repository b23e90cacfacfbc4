"""`history show` and `history signals` on a real MongoDB: the answers are what counting by hand gives."""

import csv
import io
import json
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pymongo
import pytest
import structlog
from typer import Typer
from typer.testing import CliRunner

from cloud import history_cli
from cloud.config import HistorySettings
from cloud.history import collect, documents, schema
from cloud.history.documents import HOUR_MS
from tests.cloud_world import frame, record
from wire import catalogue

Ask = Callable[..., Any]
START_MS = 1_767_225_600_000  # 2026-01-01T00:00Z
SPEED, MOVING, STATE = "Vehicle.Speed", "Vehicle.IsMoving", "Vehicle.LowVoltageSystemState"
SAMPLES = {START_MS + step * 7_000: float(step * 37 % 120) for step in range(1_500)}
DAY = ("--from", "2026-01-01", "--to", "2026-01-02")


@pytest.fixture(scope="module")
def ask(mongodb_uri: str) -> Iterator[Ask]:
    """A car with almost three hours of samples: the first is merged, the second both merged and in pieces."""
    name = f"test_history_{secrets.token_hex(6)}"
    records = [
        record(
            "car",
            [frame(ts, {SPEED: speed, MOVING: speed > 0, STATE: "ON" if speed > 60 else "START"}, "s", seq)],
            seq,
            received_ms=[ts],
        )
        for seq, (ts, speed) in enumerate(SAMPLES.items())
    ]
    kept = frozenset(catalogue.BY_NUMBER)
    pieces = [piece for start in range(0, 1_500, 40) for piece in collect.pieces(records[start : start + 50], kept, 0)]
    hour = START_MS // HOUR_MS
    of_hour = [[one for one in pieces if int(one["hour"]) == (hour + n) * HOUR_MS] for n in range(3)]
    merged = [one for n in (0, 1) for one in documents.buckets("car", hour + n, documents.all_samples(of_hour[n]))]
    with pymongo.MongoClient[dict[str, Any]](mongodb_uri) as client:
        schema.ensure(client[name], HistorySettings(retention_days={"driving": 3_650, "condition": 3_650}))  # type: ignore[arg-type]  # as in a file
        client[name]["history"].insert_many(merged + of_hour[1][::2] + of_hour[2])
        client[name]["twins"].insert_one(
            {"_id": "car", "kind": "vehicle", "attributes": {"vin": "1M8GDM9AXKP042788", "plate": "M-FF 12"}}
        )
        app = Typer()
        app.add_typer(history_cli.history_app, name="history")

        def run(*arguments: str, code: int = 0) -> Any:
            result = CliRunner().invoke(app, ["history", *arguments, "--mongodb-uri", mongodb_uri, "--database", name])
            assert result.exit_code == code, (result.output, result.exception)
            return result

        yield run
        client.drop_database(name)


@pytest.fixture(autouse=True)
def _logs() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def by_hand(every_ms: int) -> dict[int, list[float]]:
    steps: dict[int, list[float]] = {}
    for ts, speed in SAMPLES.items():
        steps.setdefault(ts // every_ms * every_ms, []).append(speed)
    return steps


@pytest.mark.parametrize(("every", "every_ms"), [("5min", 300_000), ("7m", 420_000), ("1d", 86_400_000)])
def test_steps_are_what_counting_by_hand_gives(ask: Ask, every: str, every_ms: int) -> None:
    answer = json.loads(ask("show", "car", "Speed", *DAY, "--every", every, "--json").stdout)
    assert (answer["asset_id"], answer["signal"], answer["unit"]) == ("car", SPEED, "km/h")
    expected = by_hand(every_ms)
    assert [row["samples"] for row in answer["steps"]] == [len(values) for values in expected.values()]
    for row, values in zip(answer["steps"], expected.values(), strict=True):
        assert (row["min"], row["max"], row["last"]) == (min(values), max(values), values[-1])
        assert row["mean"] == pytest.approx(sum(values) / len(values))


def test_raw_samples_are_those_that_were_sent_each_once(ask: Ask) -> None:
    rows = list(csv.DictReader(io.StringIO(ask("show", "car", "Speed", *DAY, "--raw", "--csv").stdout)))
    assert [float(row["value"]) for row in rows] == list(SAMPLES.values())
    assert rows[1]["ts"] == "2026-01-01T00:00:07.000Z"


def test_a_range_ends_before_its_end(ask: Ask) -> None:
    span = ("--from", "2026-01-01T00:00:07Z", "--to", "2026-01-01T00:00:21Z")
    answer = json.loads(ask("show", "car", "Speed", *span, "--raw", "--json").stdout)
    assert [row["value"] for row in answer["samples"]] == [SAMPLES[START_MS + 7_000], SAMPLES[START_MS + 14_000]]


def test_truths_and_texts_have_a_last_value(ask: Ask) -> None:
    moving = json.loads(ask("show", "car", "IsMoving", *DAY, "--every", "1d", "--json").stdout)["steps"]
    assert moving[0]["last"] is True
    state = json.loads(ask("show", "car", "LowVoltageSystemState", *DAY, "--every", "1d", "--json").stdout)["steps"]
    assert state[0] == {"ts": "2026-01-01T00:00:00.000Z", "last": "START", "samples": 1_500}


def test_a_person_sees_a_line_and_a_table(ask: Ask) -> None:
    shown = ask("show", "M-FF12", "speed", *DAY, "--every", "1h").stdout.splitlines()
    assert shown[0] == "car  Vehicle.Speed in km/h"
    assert set(shown[1]) <= set("▁▂▃▄▅▆▇█")
    assert shown[2].split() == ["time", "min", "mean", "max", "last", "samples"]
    assert len(shown) == 3 + 3


def test_the_signals_that_there_are_with_their_spans(ask: Ask) -> None:
    rows = json.loads(ask("signals", "1M8GDM9AXKP042788", "--json").stdout)["signals"]
    assert {row["signal"] for row in rows} == {SPEED, MOVING, STATE}
    last = START_MS + 1_499 * 7_000
    for row in rows:
        assert row["samples"] >= 1_500
        assert row["from"] == "2026-01-01T00:00:00.000Z"
        assert row["to"] == f"2026-01-01T02:54:{(last // 1000) % 60:02}.000Z"
    assert "Vehicle.IsMoving" in ask("signals", "car").stdout
    later = json.loads(ask("signals", "car", "--from", "2026-01-02", "--json").stdout)
    assert later["signals"] == []


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("show", "car", "Speeed", *DAY), "no signal 'Speeed'"),
        (("show", "car", "Speed", "--from", "last week"), "--from: 'last week' is no time such as"),
        (("show", "car", "Speed", "--from", "-2x"), "--from: '-2x'"),
        (("show", "car", "Speed", "--from", "2026-01-02", "--to", "2026-01-01"), "is not before --to"),
        (("show", "car", "Speed", *DAY, "--every", "0s"), "--every: '0s' is no duration"),
        (("show", "car", "Speed", "--from", "2001-01-01", "--every", "1s"), "at most 100000"),
    ],
)
def test_what_cannot_be_asked_explains_itself(ask: Ask, arguments: tuple[str, ...], text: str) -> None:
    assert text in ask(*arguments, code=2).output


def test_an_unknown_asset_is_named_with_similar_ones(ask: Ask) -> None:
    assert "perhaps one of:" in ask("show", "cat", "Speed", *DAY, code=1).output


def test_nothing_in_a_range_says_where_to_look(ask: Ask) -> None:
    result = ask("show", "car", "Speed", "--from", "2026-03-01", "--to", "2026-03-02")
    assert "no samples; `history signals car` says what there is" in result.output
