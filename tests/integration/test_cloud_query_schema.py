"""The schema on a real MongoDB."""

from collections.abc import Iterator
from typing import Any

import pymongo
import pytest
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError, WriteError

from cloud import schema
from cloud import twin as twins
from cloud.indexes import INDEXES, RETIRED
from cloud.validators import VALIDATORS
from tests import cloud_query_fleet
from wire.topics import Kind

LINKED = {"online": True, "session": "s", "gateway": "g", "last_seen": cloud_query_fleet.NOW}


@pytest.fixture
def database(mongodb_uri: str, mongo_database: str) -> Iterator[Database[dict[str, Any]]]:
    with pymongo.MongoClient[dict[str, Any]](mongodb_uri) as client:
        yield client[mongo_database]


def state(database: Database[dict[str, Any]]) -> dict[str, Any]:
    """Everything that `ensure` is about."""
    collections = {held["name"]: held["options"] for held in database.list_collections()}
    return {name: (held["validator"], database[name].index_information()) for name, held in collections.items()}


def test_ensure_creates_everything_and_once(database: Database[dict[str, Any]]) -> None:
    schema.ensure(database)
    created = state(database)
    assert created.keys() == VALIDATORS.keys()
    for name, indexes in INDEXES.items():
        assert created[name][1].keys() == {"_id_", *(index.name for index in indexes)}
    schema.ensure(database)
    assert state(database) == created


@pytest.mark.parametrize(
    ("collection", "name", "keys", "options"),
    [
        ("twins", "kind", [("kind", 1)], {}),
        ("twins", "vin", [("attributes.vin", 1)], {}),
        ("twins", "plate", [("attributes.plate", 1)], {}),
        ("twins", "finding", [("health.open.detector", 1), ("_id", 1)], {"sparse": True}),
        ("customers", "display_name", [("display_name", 1)], {"collation": {"locale": "en", "strength": 3}}),
    ],
)
def test_an_index_defined_otherwise_is_built_anew(
    database: Database[dict[str, Any]], collection: str, name: str, keys: list[tuple[str, int]], options: dict[str, Any]
) -> None:
    schema.ensure(database)
    wanted = state(database)
    database[collection].drop_index(name)
    database[collection].create_index(keys, name=name, **options)
    schema.ensure(database)
    assert state(database) == wanted


def test_the_same_index_under_another_name_is_left_alone(database: Database[dict[str, Any]]) -> None:
    database["twins"].create_index([("kind", 1), ("_id", 1)], name="operators_own")
    schema.ensure(database)
    names = database["twins"].index_information().keys()
    assert "operators_own" in names
    assert "kind" not in names


def test_indexes_of_others_stay(database: Database[dict[str, Any]]) -> None:
    schema.ensure(database)
    database["twins"].create_index([("attributes.color", 1)], name="color")
    schema.ensure(database)
    assert "color" in database["twins"].index_information()


def test_indexes_of_former_versions_are_dropped_and_alike_ones_of_others_stay(
    database: Database[dict[str, Any]],
) -> None:
    schema.ensure(database)
    wanted = state(database)
    database["twins"].create_indexes([index.model() for index in RETIRED["twins"]])
    schema.ensure(database)
    assert state(database) == wanted
    database["twins"].create_index([("location", "2dsphere")], name="operators_own")
    schema.ensure(database)
    assert "operators_own" in database["twins"].index_information()


def test_a_changed_validator_is_replaced(database: Database[dict[str, Any]]) -> None:
    schema.ensure(database)
    wanted = state(database)
    database.command("collMod", "twins", validator={"$jsonSchema": {"required": ["something_else"]}})
    schema.ensure(database)
    assert state(database) == wanted


def test_a_collection_that_was_there_before_gets_its_validator(database: Database[dict[str, Any]]) -> None:
    database.create_collection("twins")
    schema.ensure(database)
    with pytest.raises(WriteError):
        database["twins"].insert_one({"_id": "veh-1"})


def test_what_the_twin_service_writes_is_valid(database: Database[dict[str, Any]]) -> None:
    schema.ensure(database)
    database["twins"].insert_one(twins.new_document("veh-1", Kind.VEHICLE))
    folded = twins.from_document(twins.new_document("veh-1", Kind.VEHICLE))
    database["twins"].update_one({"_id": "veh-1"}, {"$set": twins.fold_fields(folded, 1)})
    assert database["twins"].count_documents({"revision": 1}) == 1


def test_a_fleet_is_valid(database: Database[dict[str, Any]]) -> None:
    cloud_query_fleet.fill(database)
    assert database["twins"].count_documents({}) == cloud_query_fleet.VEHICLES + cloud_query_fleet.STATIONS


@pytest.mark.parametrize(
    "fault",
    [
        {"_id": "Veh-1"},
        {"_id": "veh-1\n"},
        {"_id": 5},
        {"owner": {"customer_id": 5, "role": "owner", "since": cloud_query_fleet.NOW}},
        {"search": {"values": {}, "seen": cloud_query_fleet.NOW}},
        {"link": {"revision": -1}},
        {"attributes": {"vin": ""}},
        {"kind": "boat"},
        {"revision": "3"},
        {"revision": -1},
        {"signals": []},
        {"health": {"status": "fine", "worst": None, "open": []}},
        {"health": {"status": "ok", "worst": None, "open": [{"detector": "x"}]}},
        {"counters": 5},
        {"connection": {"online": True, "last_seen": "now", "silent": False}},
        {"connection": LINKED | {"since": 5}},
        {"connection": LINKED | {"session": None}},
        {"connection": LINKED | {"gateway": 7}},
        {"catalog": 3},
        {"health": {"status": "ok", "worst": 4, "open": []}},
        {"location": {"type": "Point", "coordinates": [11.5]}},
        {"location": {"type": "Point", "coordinates": ["11.5", 48.1]}},
        {"location": {"type": "Point", "coordinates": [48.1, 111.5]}},
        {"owner": {"customer_id": "c", "display_name": 5, "role": "owner", "since": cloud_query_fleet.NOW}},
        {"lifecycle": {"state": "built", "since": cloud_query_fleet.NOW, "steps": [{"step": "built"}]}},
    ],
)
def test_a_twin_that_cannot_be_is_refused(database: Database[dict[str, Any]], fault: dict[str, Any]) -> None:
    schema.ensure(database)
    whole = cloud_query_fleet.vehicle(1)
    database["twins"].insert_one(whole)
    with pytest.raises(WriteError) as refused:
        database["twins"].insert_one(cloud_query_fleet.vehicle(2) | fault)
    assert refused.value.code == 121


def test_one_vin_is_one_asset_and_no_vin_is_any_number(database: Database[dict[str, Any]]) -> None:
    schema.ensure(database)
    database["twins"].insert_many([cloud_query_fleet.station(1), cloud_query_fleet.station(2)])
    first, second = cloud_query_fleet.vehicle(1), cloud_query_fleet.vehicle(2)
    second["attributes"]["vin"] = first["attributes"]["vin"]
    database["twins"].insert_one(first)
    with pytest.raises(DuplicateKeyError):
        database["twins"].insert_one(second)
