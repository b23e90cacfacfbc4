"""The indexes and validators as data."""

from typing import Any

import pytest

from cloud.indexes import INDEXES, PER_COLLECTION_MAX, Index
from cloud.validators import VALIDATORS

SCHEMAS = [name for name, validator in VALIDATORS.items() if "$jsonSchema" in validator]
DRAFT_4 = {"bsonType", "enum", "required", "properties", "additionalProperties", "items"} | {
    "minItems",
    "maxItems",
    "minLength",
    "minimum",
    "pattern",
}


@pytest.mark.parametrize("collection", INDEXES)
def test_every_collection_stays_below_60_indexes(collection: str) -> None:
    assert len(INDEXES[collection]) + 1 < 60 < PER_COLLECTION_MAX


@pytest.mark.parametrize("collection", INDEXES)
def test_index_names_and_keys_are_distinct(collection: str) -> None:
    indexes = INDEXES[collection]
    assert len({index.name for index in indexes}) == len(indexes)
    assert len({index.keys for index in indexes}) == len(indexes)


def test_no_index_is_on_what_frames_change() -> None:
    fields = {str(field) for index in INDEXES["twins"] for field, _ in index.keys}
    changed = ("signals", "location", "connection.last_seen", "revision", "counters", "fold")
    assert not [field for field in fields if field.startswith(changed)]


def test_only_the_vin_is_unique() -> None:
    unique = [(name, index.name) for name, indexes in INDEXES.items() for index in indexes if index.unique]
    assert unique == [("twins", "vin")]


def test_a_partial_index_with_a_collation_says_both() -> None:
    index = Index("plate", (("plate", 1),), present="plate", collation={"locale": "en"})
    assert index.options() == {
        "partialFilterExpression": {"plate": {"$exists": True}},
        "collation": {"locale": "en"},
    }


@pytest.mark.parametrize("collection", SCHEMAS)
def test_validators_use_only_what_mongodb_knows_of_json_schema(collection: str) -> None:
    assert _keywords(VALIDATORS[collection]["$jsonSchema"]) <= DRAFT_4


@pytest.mark.parametrize("collection", SCHEMAS)
def test_required_fields_are_described(collection: str) -> None:
    schema = VALIDATORS[collection]["$jsonSchema"]
    assert set(schema["required"]) <= set(schema["properties"])


def _keywords(schema: dict[str, Any]) -> set[str]:
    found = set(schema)
    for below in schema.get("properties", {}).values():
        found |= _keywords(below)
    for keyword in ("items", "additionalProperties"):
        if keyword in schema:
            found |= _keywords(schema[keyword])
    return found
