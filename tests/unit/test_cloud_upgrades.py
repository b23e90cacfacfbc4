"""Documents of older versions are brought to today's layout; newer ones are left alone."""

from pathlib import Path
from typing import Any

import pytest
from bson import json_util
from bson.codec_options import DatetimeConversion
from msgspec.structs import replace

from cloud import fold, twin, upgrades
from cloud.twin import Position
from cloud.upgrades import SCHEMA_VERSION, NewerSchemaError
from tests.cloud_world import NOW_MS, delivery, frame

AS_MS = json_util.CANONICAL_JSON_OPTIONS.with_options(datetime_conversion=DatetimeConversion.DATETIME_MS)
DOCUMENTS = Path(__file__).parents[1] / "documents"


def older(version: int) -> dict[str, Any]:
    """A twin as that version of the service wrote it."""
    document: dict[str, Any] = json_util.loads((DOCUMENTS / f"twin_v{version}.json").read_text(), json_options=AS_MS)
    return document


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION))
def test_a_document_of_each_older_version_is_read_and_written_in_todays_layout(version: int) -> None:
    document = older(version)
    assert document["schema_version"] == version
    asset = twin.from_document(document)
    written = twin.fold_fields(asset, 4)
    assert written["schema_version"] == SCHEMA_VERSION
    for kept in ("signals", "counters", "health", "location"):
        assert written[kept] == document[kept]
    connection = {name: value for name, value in document["connection"].items() if name != "silent"}
    assert written["connection"] == connection | {"software": ""}
    assert twin.fold_fields(twin.from_document({**document, **written}), 4) == written


def test_there_is_a_step_and_a_real_document_for_every_older_version() -> None:
    assert list(upgrades.STEPS) == list(range(1, SCHEMA_VERSION))
    assert {path.name for path in DOCUMENTS.glob("twin_v*.json")} == {f"twin_v{at}.json" for at in upgrades.STEPS}


def test_a_twin_of_version_1_knows_what_it_has_seen() -> None:
    """Its positions and windows are still the keys to effectively once."""
    asset = twin.from_document(older(1))
    assert asset.positions["fleet.signals.v1", 3] == Position("x2Yz", 3, 18)
    replayed = delivery(
        "car-7", [frame(NOW_MS, {"Vehicle.Speed": 1.0}, "boot1", 5)], 18, partition=3, generation="x2Yz"
    )
    resent = replace(replayed, position=Position("x2Yz", 3, 19))
    again = replace(resent, position=Position("x2Yz", 3, 20))
    outcome = fold.fold(asset, [replayed, resent, again])
    assert (outcome.replayed, outcome.folded, outcome.duplicates) == (1, 1, 1)
    assert asset.counters["gaps"] == 1


def test_a_newer_document_is_refused_with_what_to_do() -> None:
    with pytest.raises(NewerSchemaError, match=r"car-7 has schema_version 99.*update it.*dlq replay"):
        twin.from_document(older(1) | {"schema_version": 99})


def test_a_document_with_a_signal_that_the_catalogue_does_not_know_is_left_alone() -> None:
    """A newer worker's catalogue may be larger; a write of this one would drop what it does not know."""
    document = older(2)
    document["signals"]["Vehicle"]["Cabin"] = {"Mood": {"value": 1.0, "ts": NOW_MS}}
    with pytest.raises(NewerSchemaError, match=r"car-7 has the signal …Cabin.*update it.*dlq replay"):
        twin.from_document(document)
