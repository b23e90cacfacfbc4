"""Documents of other versions: older ones are upgraded, newer ones left alone."""

from pathlib import Path

from bson import json_util

from cloud.config import FoldSettings
from cloud.linker import Linker
from cloud.metrics import Metrics
from cloud.upgrades import SCHEMA_VERSION
from cloud.upkeep import Upkeep
from tests.cloud_story import SPEED, facts, hot
from tests.cloud_worker import World
from tests.cloud_world import NOW_MS, frame, record


def test_a_document_of_a_newer_version_is_left_alone(world: World) -> None:
    world.fold([record("a", hot(1))])
    world.store.database["twins"].update_one({"_id": "a"}, {"$set": {"schema_version": 99}})
    before = world.twin()
    known = facts()
    world.fold([record("a", hot(1, 1), 1), record("b", hot(1)), known["role"], known["step"], known["profile"]])
    Upkeep(FoldSettings(silent_after_s=1), world.store, Linker(world.store, lambda: 0), Metrics()).mark_silent()
    assert world.twin() == before
    assert world.twin("b")["counters"]["frames"] == 1
    letters = [(one.topic, dict(one.headers)["dlq_reason"]) for one in world.drawer.records]
    assert letters == [("fleet.signals.v1.dlq", b"newer_schema"), ("vehicle.lifecycle.v1.dlq", b"newer_schema")]


def test_older_documents_are_upgraded_at_start_though_nobody_is_heard_of_any_more(world: World) -> None:
    """Silence, places and values of before are found by copies that those documents did not have."""
    for version in range(1, SCHEMA_VERSION):
        held = json_util.loads((Path(__file__).parents[1] / "documents" / f"twin_v{version}.json").read_text())
        world.store.database["twins"].insert_one(held | {"_id": f"car-{version}"})
    assert world.store.upgrade_twins() == SCHEMA_VERSION - 1
    assert world.store.upgrade_twins() == 0
    for version in range(1, SCHEMA_VERSION):
        twin = world.twin(f"car-{version}")
        assert twin["schema_version"] == SCHEMA_VERSION
        assert twin["search"]["place"] == twin["location"]
        assert twin["search"]["seen"] == twin["connection"]["last_seen"]


def test_an_older_document_is_upgraded_when_it_is_touched(world: World) -> None:
    """A document that version 1 wrote, in the database: the next frame brings it to today's layout, with its counts."""
    document = json_util.loads((Path(__file__).parents[1] / "documents" / "twin_v1.json").read_text())
    world.store.database["twins"].insert_one(document)
    seen = record("car-7", [frame(NOW_MS, {SPEED: 1}, "boot1", 0)], 18, partition=3, generation="x2Yz")
    fresh = record("car-7", [frame(NOW_MS + 500_000, {SPEED: 80}, "boot1", 8)], 19, partition=3, generation="x2Yz")
    world.fold([seen, fresh])
    twin = world.twin("car-7")
    assert twin["schema_version"] == SCHEMA_VERSION
    assert ["fleet.signals.v1", "x2Yz", 3, 19] in twin["fold"]["positions"]
    assert twin["counters"] == {**document["counters"], "frames": 8, "samples": 26}
    (held,), (shown,) = document["health"]["open"], twin["health"]["open"]
    assert shown["anomaly_id"] == held["anomaly_id"]
