"""The twin service's loop on a real MongoDB, with a real Kafka where Kafka is the subject."""

import itertools
import json
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import bson
import msgpack
import pytest
from bson import json_util
from confluent_kafka import Producer
from pymongo import MongoClient

from cloud import changes, kafka, topics_admin, twin
from cloud import facts as fact_reader
from cloud.cache import Cache
from cloud.config import ConsumerSettings, FoldSettings, TopicSettings
from cloud.deadletters import Graveyard
from cloud.inbox import Record
from cloud.leaves import Leaves
from cloud.linker import Linker
from cloud.metrics import Metrics
from cloud.processor import Processor
from cloud.store import Store
from cloud.upgrades import SCHEMA_VERSION
from cloud.upkeep import Upkeep
from tests.cloud_worker import World, fact
from tests.cloud_world import NOW_MS, TOPIC_OF, frame, record

SPEED = "Vehicle.Speed"
COOLANT = "Vehicle.Powertrain.CombustionEngine.EngineCoolant.Temperature"
VIN = "1M8GDM9AXKP042788"


@pytest.fixture(scope="module")
def module_database(mongodb_uri: str) -> Iterator[str]:
    """One database for these tests: building its indexes takes longer than most of them."""
    name = f"test_fold_{secrets.token_hex(4)}"
    yield name
    with MongoClient[dict[str, Any]](mongodb_uri) as client:
        client.drop_database(name)


@pytest.fixture
def world(mongodb_uri: str, module_database: str) -> Iterator[World]:
    made = World(mongodb_uri, module_database)
    yield made
    for name in made.store.database.list_collection_names():
        made.store.database[name].delete_many({})
    made.client.close()


def hot(count: int = 6, start: int = 0) -> list[bytes]:
    """Frames of an overheating engine, a minute apart."""
    return [frame(NOW_MS + seq * 60_000, {SPEED: seq, COOLANT: 113.0}, "s", seq) for seq in range(start, start + count)]


def test_frames_become_a_readable_twin(world: World) -> None:
    latitude, longitude = "Vehicle.CurrentLocation.Latitude", "Vehicle.CurrentLocation.Longitude"
    world.fold([record("a", [frame(NOW_MS, {SPEED: 50, latitude: 48.1, longitude: 11.5}, "s", 0)])])
    twin = world.twin()
    assert twin["signals"]["Vehicle"]["Speed"]["value"] == 50.0
    assert int(twin["signals"]["Vehicle"]["Speed"]["ts"]) == NOW_MS
    assert twin["location"] == {"type": "Point", "coordinates": [11.5, 48.1]}
    assert (twin["kind"], twin["revision"], twin["counters"]["frames"]) == ("vehicle", 1, 1)


def test_a_birth_and_a_will_show_as_connection(world: World) -> None:
    birth = bytes(msgpack.packb({"v": 1, "online": True, "session": "s1", "ts": NOW_MS}))
    will = json.dumps({"v": 1, "online": False, "session": "s1"}).encode()
    world.fold([record("a", [birth], channel="connection")])
    assert world.twin()["connection"]["online"] is True
    world.fold([record("a", [will], 1, channel="connection", received_ms=[NOW_MS + 5000])])
    connection = world.twin()["connection"]
    assert (connection["online"], int(connection["since"])) == (False, NOW_MS + 5000)


def test_a_late_will_of_an_older_session_changes_nothing(world: World) -> None:
    births = [{"v": 1, "online": True, "session": f"s{n}", "ts": NOW_MS + n} for n in (1, 2)]
    will = {"v": 1, "online": False, "session": "s1"}
    payloads = [bytes(msgpack.packb(state)) for state in (*births, will)]
    world.fold([record("a", payloads, channel="connection", received_ms=[NOW_MS, NOW_MS, NOW_MS + 9000])])
    assert world.twin()["connection"]["online"] is True


def test_a_birth_counts_though_the_devices_clock_is_behind_the_gateways(world: World) -> None:
    """A will is dated by the gateway; the next session's birth, dated by a slower clock, must not look older."""
    births = [{"v": 1, "online": True, "session": f"s{n}", "ts": NOW_MS + n} for n in (1, 2)]
    will = {"v": 1, "online": False, "session": "s1"}
    payloads = [bytes(msgpack.packb(state)) for state in (births[0], will, births[1])]
    world.fold([record("a", payloads, channel="connection", received_ms=[NOW_MS + 99_000] * 3)])
    assert (world.twin()["connection"]["online"], world.twin()["connection"]["session"]) == (True, "s2")


class Slow(Store):
    """A store whose writes take until the gate opens, and then a little longer."""

    def __init__(self, world: World) -> None:
        super().__init__(world.client, world.settings, lambda: None)
        self.gate = threading.Event()
        self.gate.set()

    def _bulk(self, collection: str, writes: Any) -> Any:
        assert self.gate.wait(20)
        time.sleep(0.05)
        return super()._bulk(collection, writes)


def test_turns_in_flight_are_committed_in_order_and_fold_each_asset_on_its_last_write(world: World) -> None:
    turns = [[record("a", hot(1), 0)], [record("a", hot(1, 1), 1), record("b", hot(1), 2)], [record("b", hot(1, 1), 3)]]
    worker = world.worker(*turns, [record("c", hot(1), 4)], at=Slow(world))
    for _ in range(4):
        worker.advance()
    committed: list[Record] = worker._source.committed  # type: ignore[attr-defined]  # the Script above
    assert [one.offset for one in committed] == [0, 1, 2, 3], "the last turn is in flight, the others are done"
    worker.settle()
    assert [one.offset for one in committed] == [0, 1, 2, 3, 4]
    assert {one["_id"]: (one["counters"]["frames"], one["revision"]) for one in world.all("twins")} == {
        "a": (2, 2),
        "b": (2, 2),
        "c": (1, 1),
    }


def test_a_turn_is_opened_and_folded_while_the_last_is_written(world: World) -> None:
    world.fold([record("a", hot(1))], [record("b", hot(1))])
    slow = Slow(world)
    worker = world.worker([record("a", hot(1, 1), 1)], [record("b", hot(1, 1), 1)], at=slow)
    slow.gate.clear()
    worker.advance()
    following = worker._open(worker._source.poll())
    worker._fold(following)
    assert world.twin("a")["counters"]["frames"] == 1, "not written yet"
    assert following.outcomes["b"].folded == 1
    slow.gate.set()
    worker.settle()
    assert world.twin("a")["counters"]["frames"] == 2


def test_a_zombie_loses_and_nothing_is_doubled(world: World) -> None:
    """Two workers hold the same partition for a moment: whoever comes second folds again on the other's result."""
    first, second = record("a", hot(3)), record("a", hot(3, 3), 1)
    zombie = world.worker([first], [second])
    zombie.turn()
    world.fold([first, second], [record("a", hot(2, 6), 2)])
    zombie.turn()
    twin = world.twin()
    assert twin["counters"]["frames"] == 8
    assert twin["signals"]["Vehicle"]["Speed"]["value"] == 7.0
    assert len(world.all("anomalies")) == 1


def test_a_finding_is_extended_while_it_lasts(world: World) -> None:
    """Also by frames that bring the detectors nothing new: its anomaly and its twin say until when."""
    world.fold([record("a", hot(4))])
    (before,) = world.all("anomalies")
    later = frame(NOW_MS + 3_600_000, {SPEED: 80}, "s", 4)
    world.fold([record("a", [later], 1)])
    (after,) = world.all("anomalies")
    assert after["status"] == "open"
    assert int(after["last"]) - int(before["last"]) > 3_000_000
    assert world.twin("a")["health"]["open"][0]["last"] == after["last"]


def test_workers_that_alternate_on_one_asset_count_each_frame_once(world: World) -> None:
    turns = [[record("a", [one], offset)] for offset, one in enumerate(hot(12))]
    workers = [world.worker(*turns[0::2]), world.worker(*turns[1::2])]
    for turn in range(12):
        workers[turn % 2].turn()
    assert world.twin()["counters"]["frames"] == 12


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


def test_copies_for_questions_are_written_only_when_what_they_copy_moved_far(world: World) -> None:
    def heard(seq: int, volts: float) -> dict[str, Any]:
        said = frame(NOW_MS + seq, {"Vehicle.LowVoltageBattery.CurrentVoltage": volts}, "s", seq)
        world.fold([record("a", [said], seq)])
        return {entry["number"]: entry["value"] for entry in world.twin("a")["search"]["values"]}

    assert heard(0, 12.6) == {6: 12.6}
    world.store.database["twins"].update_one({"_id": "a"}, {"$set": {"search.values.0.value": 12.5}})
    assert heard(1, 12.7) == {6: 12.5}, "not written again"
    assert heard(2, 11.2) == {6: 11.2}


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


def test_one_refused_document_does_not_hold_up_the_others(world: World) -> None:
    """What the server will not take goes to the dead letters with its reason; the rest of the bulk is written."""
    world.fold([record("a", hot(1)), record("b", hot(1))])
    world.store.database.command("collMod", "twins", validator={"counters.frames": {"$ne": 3}})
    world.fold([record("a", hot(2, 1), 1), record("b", hot(1, 1), 1)])
    assert world.twin("b")["counters"]["frames"] == 2
    assert world.twin("a")["counters"]["frames"] == 1
    reasons = [dict(one.headers)["dlq_reason"] for one in world.drawer.records if one.topic.endswith(".dlq")]
    assert reasons == [b"refused_by_database"]


def test_a_device_that_reset_its_sequence_is_counted_as_uncertain(world: World) -> None:
    world.fold([record("a", [frame(NOW_MS + n, {SPEED: n}, "s", n) for n in range(5)])])
    world.fold([record("a", [frame(NOW_MS + 100 + n, {SPEED: 70 + n}, "s", n) for n in range(3)], 1)])
    twin = world.twin()
    assert twin["signals"]["Vehicle"]["Speed"]["value"] == 72.0
    assert (twin["counters"]["frames"], twin["counters"]["uncertain"]) == (5, 3)


def test_a_device_without_sequence_is_counted_by_the_agents_numbers(world: World) -> None:
    payloads = [frame(NOW_MS + n, {SPEED: n}, None, None) for n in range(4)]
    sent, sent_again = record("a", payloads, 0, first_sequence=10), record("a", payloads, 1, first_sequence=10)
    world.fold([sent, sent_again])
    counters = world.twin()["counters"]
    assert (counters["frames"], counters["duplicates"], counters["gaps"]) == (4, 4, 0)


PROFILE = {"customer_id": "c1", "display_name": "Ada Lovelace", "updated_ms": NOW_MS - 5000}
ROLE = {
    "role_id": "r1",
    "asset_id": "a",
    "customer_id": "c1",
    "role": "owner",
    "from_ms": NOW_MS - 9000,
    "recorded_ms": NOW_MS,
}
BUILT = {
    "asset_id": "a",
    "kind": "vehicle",
    "step": "built",
    "ts": NOW_MS - 99_000,
    "attributes": {"vin": VIN, "model": "Wren"},
}


BOOKED = {"activity_id": "b1", "customer_id": "c1", "ts": NOW_MS - 700, "type": "booked", "via": "app", "asset_id": "a"}


def booked(offset: int = 0) -> Record:
    return fact("customer.activity.v1", "c1", BOOKED, offset)


def facts() -> dict[str, Record]:
    return {
        "profile": fact("customer.profiles.v1", "c1", PROFILE, 0),
        "role": fact("asset.roles.v1", "a", ROLE, 0),
        "step": fact("vehicle.lifecycle.v1", "a", BUILT, 0),
        "telemetry": record("a", hot(1)),
    }


@pytest.mark.parametrize("order", list(itertools.permutations(["profile", "role", "step", "telemetry"])))
def test_facts_in_any_order_link_the_same_twin(world: World, order: Sequence[str]) -> None:
    known = facts()
    world.fold(*[[known[name]] for name in order])
    twin = world.twin()
    assert (twin["owner"]["customer_id"], twin["owner"]["display_name"]) == ("c1", "Ada Lovelace")
    assert twin["attributes"] == {"vin": VIN, "model": "Wren"}
    assert twin["lifecycle"]["state"] == "built"
    assert twin["counters"]["frames"] == 1


def test_what_a_customer_did_is_kept_once(world: World) -> None:
    world.fold([booked()], [booked(), booked(1)])
    (kept,) = world.all("activities")
    assert (kept["_id"], kept["customer_id"], kept["type"], kept["asset_id"]) == ("b1", "c1", "booked", "a")


def test_an_erased_customer_leaves_no_name_behind(world: World) -> None:
    world.fold([*facts().values(), booked()])
    assert len(world.all("activities")) == 1
    world.fold([fact("customer.profiles.v1", "c1", None, 1)])
    assert world.all("customers") == world.all("activities") == []
    assert world.twin()["owner"]["display_name"] is None


def test_what_an_erased_customer_did_before_is_not_stored_when_it_comes_late(world: World) -> None:
    """In the same poll, in a later one, and again; who comes back is known again from then on."""
    world.fold([booked(), fact("customer.profiles.v1", "c1", None, 1)], [booked(1)], [booked()])
    assert world.all("activities") == []
    assert [one["_id"] for one in world.all("erasures")] == ["c1"]
    back = BOOKED | {"activity_id": "b2", "ts": NOW_MS + 1}
    world.fold([fact("customer.profiles.v1", "c1", PROFILE, 2), fact("customer.activity.v1", "c1", back, 2)])
    assert [one["_id"] for one in world.all("activities")] == ["b2"]


def test_the_owner_changes_when_the_clock_says_so(world: World) -> None:
    later = ROLE | {"role_id": "r2", "customer_id": "c2", "from_ms": NOW_MS + 60_000}
    ended = ROLE | {"to_ms": NOW_MS + 60_000, "recorded_ms": NOW_MS + 1}
    known = facts()
    changes = [fact("asset.roles.v1", "a", later, 1), fact("asset.roles.v1", "a", ended, 2)]
    world.fold([known["telemetry"], known["role"], *changes])
    assert world.twin()["owner"]["customer_id"] == "c1"
    sweeper = Linker(world.store, lambda: world.now_ms)
    sweeper.sweep()
    world.now_ms = NOW_MS + 61_000
    assert sweeper.sweep() == 1
    assert world.twin()["owner"]["customer_id"] == "c2"


def test_overlapping_owners_are_shown_as_overlapping(world: World) -> None:
    other = ROLE | {"role_id": "r2", "customer_id": "c2", "from_ms": NOW_MS - 1000}
    world.fold([facts()["telemetry"], facts()["role"], fact("asset.roles.v1", "a", other, 1)])
    assert world.twin()["owner"]["customer_id"] == "c2"
    assert world.twin()["owner"]["overlaps"] == 1


BAD_FACTS: list[tuple[str, str, dict[str, Any], bytes]] = [
    ("vehicle.lifecycle.v1", "a", BUILT | {"attributes": {"vin": "1M8GDM9A1KP042788"}}, b"bad_vin"),
    ("asset.roles.v1", "a", ROLE | {"to_ms": NOW_MS - 10_000}, b"bad_period"),
    ("asset.roles.v1", "b", ROLE, b"wrong_asset"),
    ("customer.profiles.v1", "c1", {"customer_id": "c1"}, b"wrong_shape"),
    ("customer.profiles.v1", "c1", PROFILE | {"updated_ms": -4}, b"wrong_shape"),
    ("customer.activity.v1", "c2", BOOKED, b"wrong_asset"),
    ("customer.activity.v1", "c1", BOOKED | {"type": "stared"}, b"wrong_shape"),
]


@pytest.mark.parametrize(("topic", "key", "value", "reason"), BAD_FACTS)
def test_a_bad_fact_becomes_a_dead_letter_and_the_next_is_applied(
    world: World, topic: str, key: str, value: dict[str, Any], reason: bytes
) -> None:
    world.fold([facts()["telemetry"], fact(topic, key, value, 7), facts()["step"]])
    (letter,) = [one for one in world.drawer.records if one.topic.endswith(".dlq")]
    assert letter.topic == f"{topic}.dlq"
    assert dict(letter.headers)["dlq_reason"] == reason
    assert dict(letter.headers)["dlq_origin"] == f"{topic}/0/7".encode()
    assert world.twin()["attributes"]["vin"] == VIN


def test_a_vin_belongs_to_one_asset_only(world: World) -> None:
    thief = fact("vehicle.lifecycle.v1", "b", BUILT | {"asset_id": "b"}, 1)
    world.fold([facts()["step"], record("b", hot(1))], [thief], [record("b", hot(1, 1), 1)])
    assert "vin" not in world.twin("b").get("attributes", {})
    assert world.twin("b")["counters"]["frames"] == 2
    (letter,) = [one for one in world.drawer.records if one.topic.endswith(".dlq")]
    assert VIN.encode() not in b"".join(value for _, value in letter.headers)


def test_a_silent_asset_is_marked_until_it_speaks(world: World) -> None:
    settings = FoldSettings(silent_after_s=60)
    upkeep = Upkeep(settings, world.store, Linker(world.store, lambda: world.now_ms), Metrics())
    world.fold([record("a", hot(1))])
    upkeep.mark_silent()
    assert world.twin()["connection"]["silent"] is True
    soon = time.time_ns() // 1_000_000
    world.fold([record("a", [frame(soon, {SPEED: 1}, "t", 0)], 1, received_ms=[soon])])
    upkeep.mark_silent()
    assert world.twin()["connection"]["silent"] is False


def test_what_is_folded_late_makes_nobody_less_silent(world: World) -> None:
    """A worker that is behind writes on: the mark stays, and costs no write of its twin."""
    turns = [[record("a", [frame(NOW_MS + seq, {SPEED: 1}, "s", seq)], seq)] for seq in range(3)]
    birth = bytes(msgpack.packb({"v": 1, "online": True, "session": "s", "ts": NOW_MS}))
    turns[2].append(record("a", [birth], channel="connection"))
    worker = world.worker(*turns)
    upkeep = Upkeep(FoldSettings(silent_after_s=60), world.store, Linker(world.store, lambda: world.now_ms), Metrics())
    for seq in range(3):
        worker.turn()
        assert world.twin()["connection"].get("silent", False) is (seq > 0)
        upkeep.mark_silent()
        twin = world.twin()
        assert (twin["connection"]["silent"], twin["counters"]["frames"], twin["revision"]) == (True, seq + 1, seq + 1)


POISON: list[tuple[bytes, bytes]] = [
    (b"", b"not_decodable"),
    (b"\x81", b"not_decodable"),
    (b"{" * 50, b"not_decodable"),
    (b"\x91" * 3000, b"not_decodable"),
    (bytes(range(256)), b"not_decodable"),
    (b"[1]", b"not_decodable"),
    (b"{}", b"wrong_shape"),
    (frame(-5, {SPEED: 1}), b"bad_time"),
    (frame(1000, {SPEED: 1}), b"bad_time"),
    (frame(4_200_000_000_000, {SPEED: 1}), b"bad_time"),
    (frame(NOW_MS + 10 * 86_400_000, {SPEED: 1}), b"clock_ahead"),
    (frame(NOW_MS, {SPEED: 1}, "s", -1), b"wrong_shape"),
    (frame(NOW_MS, {SPEED: [[[[[[[[[[1]]]]]]]]]]}), b"wrong_shape"),
    (frame(NOW_MS, {SPEED: float("nan")}, "p1"), b"rejected_samples"),
    (frame(NOW_MS, {SPEED: float("inf")}, "p2"), b"rejected_samples"),
    (frame(NOW_MS, {SPEED: "fast"}, "p3"), b"rejected_samples"),
    (frame(NOW_MS, {SPEED: 9000}, "p4"), b"rejected_samples"),
    (frame(NOW_MS, {"Vehicle.Wings": 1}, "p5"), b"rejected_samples"),
    (frame(NOW_MS, {"Station.EVSE.Power": 1}, "p6"), b"rejected_samples"),
    (b'{"v":1,"ts":1700000000000,"signals":{"Vehicle.Speed":NaN}}', b"not_decodable"),
    (b"x" * 70_000, b"too_large"),
]


def test_poison_is_buried_with_its_bytes_and_the_next_message_is_folded(world: World) -> None:
    payloads = [payload for payload, _ in POISON]
    good = frame(NOW_MS + 1, {SPEED: 42}, "good", 0)
    world.fold([record("a", [*payloads, good], 3), Record(TOPIC_OF["signals"], "g1", 0, 4, b"a", b"junk", NOW_MS)])
    letters = {dict(one.headers)["dlq_origin"].decode(): one for one in world.drawer.records}
    for index, (payload, reason) in enumerate(POISON):
        letter = letters[f"fleet.signals.v1/0/3/{index}"]
        assert (letter.value, dict(letter.headers)["dlq_reason"]) == (payload, reason)
    assert letters["fleet.signals.v1/0/4"].value == b"junk"
    twin = world.twin()
    assert twin["signals"]["Vehicle"]["Speed"]["value"] == 42.0
    assert twin["counters"]["rejected"] == len(POISON)


def test_records_on_kafka_become_twins_and_dead_letters_can_be_read_back(world: World, fresh_kafka: str) -> None:
    """End to end on brokers: topics created, records folded, offsets committed, a second worker goes on from there."""
    settings = ConsumerSettings(bootstrap_servers=fresh_kafka)
    results = topics_admin.create(settings, TopicSettings(partitions=3))
    assert {result.outcome for result in results} == {"created"}
    assert {result.outcome for result in topics_admin.create(settings, TopicSettings())} == {"exists"}
    producer = Producer({"bootstrap.servers": fresh_kafka, "partitioner": "murmur2_random"})
    for name in ("a", "b", "c"):
        made = record(name, hot(3))
        producer.produce(made.topic, key=made.key, value=made.value)
    producer.produce(TOPIC_OF["signals"], key=b"d", value=b"not a batch")
    producer.flush()
    for expected, more in ((3, b""), (4, record("a", hot(1, 3), 9).value or b"")):
        if more:
            producer.produce(TOPIC_OF["signals"], key=b"a", value=more)
            producer.flush()
        source, outlet = kafka.Source(settings), kafka.Outlet(settings, lambda: None)
        linker = Linker(world.store, lambda: world.now_ms)
        worker = Processor(source, outlet, world.store, linker, Cache(10), Metrics())
        deadline = time.monotonic() + 40
        twins = world.store.database["twins"]
        while twins.count_documents({}) < 3 or world.twin("a")["counters"]["frames"] < expected:
            worker.turn()
            assert time.monotonic() < deadline
        source.close()
    assert {one["_id"]: one["counters"]["frames"] for one in world.all("twins")} == {"a": 4, "b": 3, "c": 3}
    assert all(one["counters"]["duplicates"] == 0 for one in world.all("twins"))
    with Graveyard(settings) as graveyard:
        (buried,) = graveyard.scan()
    assert (buried.letter.value, buried.letter.reason) == (b"not a batch", "not_decodable")


def test_nothing_is_lost_while_the_database_is_away(world: World) -> None:
    """A write that cannot reach the server waits, keeps its place in the group, and is done when it is back."""
    waits: list[int] = []
    dead: MongoClient[dict[str, Any]] = MongoClient("mongodb://127.0.0.1:1", serverSelectionTimeoutMS=50)
    patient = Store(world.client, world.settings, lambda: None)
    alive = patient.database

    def waiting() -> None:
        waits.append(1)
        if len(waits) == 3:
            patient.database = alive

    patient._while_waiting = waiting
    patient.database = dead.get_database(world.settings.database)
    worker = world.worker([record("a", hot(2))], at=patient)
    worker.turn()
    dead.close()
    assert len(waits) == 3
    assert world.twin()["counters"]["frames"] == 2


def test_an_event_that_the_database_refuses_becomes_a_dead_letter_and_its_twin_is_written(world: World) -> None:
    """With the server's reason, and under the name of the message, so that a replay brings it again."""
    trips = []
    for seq in range(3):
        trip = {
            "v": 1,
            "type": "trip",
            "ts": NOW_MS,
            "session": "s",
            "seq": seq,
            "trip_id": f"t{seq}",
            "distance_m": 1.0,
        }
        trips.append(bytes(msgpack.packb(trip | {"started_ms": NOW_MS, "ended_ms": NOW_MS + 1})))
    validator = world.store.database["events"].options()["validator"]
    world.store.database.command("collMod", "events", validator={"seq": {"$ne": 1}})
    try:
        world.fold([record("a", trips, 4, channel="events", first_sequence=70)])
    finally:
        world.store.database.command("collMod", "events", validator=validator)
    assert [event["seq"] for event in world.all("events")] == [0, 2]
    assert world.twin()["counters"]["events"] == 3
    (letter,) = [one for one in world.drawer.records if one.topic.endswith(".dlq")]
    headers = dict(letter.headers)
    assert (letter.value, headers["dlq_reason"]) == (trips[1], b"refused_by_database")
    assert headers["dlq_source"] == b"mqtt:dt/fleet/vehicle/a/events#gw/e1/71"
    world.fold([record("a", [trips[1]], 5, channel="events", first_sequence=71, replay="values")])
    assert [event["seq"] for event in world.all("events")] == [0, 1, 2]
    assert world.twin()["counters"]["events"] == 3


def test_a_twin_that_grows_is_stopped_long_before_the_databases_limit(world: World) -> None:
    """Its records go to the dead letters with size and limit; it stays as it was, and the others are written."""
    codes = "Vehicle.Diagnostics.DTCList"
    world.fold([record("a", hot(1)), record("b", hot(1))])
    small = Store(world.client, world.settings, lambda: None, twin_bytes_max=20_000)
    long = frame(NOW_MS + 1, {codes: ["P0" * 500] * 40}, "s", 1)
    worker = world.worker([record("a", [long], 1), record("b", hot(1, 1), 1)], at=small)
    worker.turn()
    assert (world.twin("a")["counters"]["frames"], world.twin("b")["counters"]["frames"]) == (1, 2)
    (letter,) = [dict(one.headers) for one in world.drawer.records if one.topic.endswith(".dlq")]
    assert letter["dlq_reason"] == b"too_large"
    assert b"fold.twin_bytes_max is 20000" in letter["dlq_detail"]
    assert small.largest_twin_bytes > 20_000
    world.fold([record("a", hot(1, 2), 2)])
    assert world.twin("a")["counters"]["frames"] == 2


def test_a_life_that_grows_is_stopped_too(world: World) -> None:
    small = Store(world.client, world.settings, lambda: None, twin_bytes_max=20_000)
    linker = Linker(small, lambda: NOW_MS)
    steps = [
        fact("vehicle.lifecycle.v1", "a", {**BUILT, "step": "serviced", "ts": NOW_MS + n, "place": "x" * 1000}, n)
        for n in range(30)
    ]
    letters = [letter for step in [facts()["step"], *steps] for letter in linker.apply(fact_reader.read([step]))]
    assert {letter.reason for letter in letters} == {"too_large"}
    kept = world.twin()["lifecycle"]["steps"]
    assert len(kept) + len(letters) == 31
    assert 15 < len(kept) < 20
    assert world.twin()["attributes"]["vin"] == VIN


def test_the_size_of_a_twin_is_not_underestimated(world: World) -> None:
    """The sum of what its parts may hold is never less than what is written."""
    lost = [frame(NOW_MS + seq, {SPEED: 1}, f"s{session}", seq) for session in range(24) for seq in range(0, 80, 2)]
    world.fold([record("a", hot(6))], [record("a", lost, 1)])
    document = world.twin()
    asset = twin.from_document(document)
    fields = twin.fold_fields(asset, asset.revision)
    assert len(asset.windows) == 24
    assert len(bson.encode(fields)) <= changes.of(asset, Leaves()).size_bytes < 2 * len(bson.encode(fields)) + 4_000


def test_an_asset_whose_document_cannot_be_made_is_not_dropped_in_silence(world: World) -> None:
    """Its records go to the dead letters with the server's reason; the others are written."""
    validator = world.store.database["twins"].options()["validator"]
    world.store.database.command("collMod", "twins", validator={"_id": {"$ne": "a"}})
    try:
        world.fold([record("a", hot(2)), record("b", hot(2))])
    finally:
        world.store.database.command("collMod", "twins", validator=validator)
    assert [one["_id"] for one in world.all("twins")] == ["b"]
    (letter,) = [dict(one.headers) for one in world.drawer.records if one.topic.endswith(".dlq")]
    assert (letter["dlq_reason"], letter["ce_subject"]) == (b"refused_by_database", b"a")
