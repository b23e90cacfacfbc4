"""What cannot be used, and what the database will not take: dead letters with reason and bytes, the rest goes on."""

import bson
import msgpack
import pytest

from cloud import changes, twin
from cloud import facts as fact_reader
from cloud.inbox import Record
from cloud.leaves import Leaves
from cloud.linker import Linker
from cloud.store import Store
from tests.cloud_story import BUILT, SPEED, VIN, facts, hot
from tests.cloud_worker import World, fact
from tests.cloud_world import NOW_MS, TOPIC_OF, frame, record


def test_one_refused_document_does_not_hold_up_the_others(world: World) -> None:
    """What the server will not take goes to the dead letters with its reason; the rest of the bulk is written."""
    world.fold([record("a", hot(1)), record("b", hot(1))])
    world.store.database.command("collMod", "twins", validator={"counters.frames": {"$ne": 3}})
    world.fold([record("a", hot(2, 1), 1), record("b", hot(1, 1), 1)])
    assert world.twin("b")["counters"]["frames"] == 2
    assert world.twin("a")["counters"]["frames"] == 1
    (letter,) = [dict(one.headers) for one in world.drawer.records if one.topic.endswith(".dlq")]
    assert letter["dlq_reason"] == b"refused_by_database"
    assert b"Document failed validation" in letter["dlq_detail"], "the server's own words"


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


STRANGER = frame(NOW_MS + 1, {"Station.EVSE.Power": 1}, "other", 0)


@pytest.mark.parametrize("cached", [True, False])
def test_what_is_said_for_an_asset_of_another_kind_is_not_folded_into_it(world: World, cached: bool) -> None:
    """Whether its twin is in memory, read, or new in the same turn."""
    worker = world.worker([record("a", hot(1)), record("new", hot(1))])
    worker.turn()
    strangers = [
        record("a", [STRANGER], 1, kind="station", partition=7),
        record("new", hot(1, 1), 1),
        record("new", [STRANGER], 2, kind="station"),
    ]
    worker = worker if cached else world.worker()
    world.scripts[-1].turns.append(strangers)
    worker.turn()
    for asset_id, frames in (("a", 1), ("new", 2)):
        twin = world.twin(asset_id)
        assert (twin["kind"], twin["counters"]["frames"], twin["counters"]["rejected"]) == ("vehicle", frames, 0)
        assert "Station" not in twin["signals"]
    letters = [dict(one.headers) for one in world.drawer.records if one.topic.endswith(".dlq")]
    assert [one["dlq_reason"] for one in letters] == [b"wrong_asset"] * 2
    assert letters[0]["dlq_origin"] == b"fleet.signals.v1/7/1"


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
    """Its records go to the dead letters with size and limit; it stays as it was, in memory as well, and the others are
    written."""
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
    world.scripts[-1].turns.append([record("a", hot(1, 2), 2)])
    worker.turn()
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


def test_a_twin_that_grows_at_once_counts_in_memory_as_what_it_is(world: World) -> None:
    """Not only when it is next measured: else so much more would be kept than is allowed, of a whole fleet."""
    worker = world.worker([record("a", hot(1))])
    worker.turn()
    small = worker._cache.size_bytes
    long = frame(NOW_MS + 9, {"Vehicle.Diagnostics.DTCList": [f"{number:0200}" for number in range(250)]}, "s", 1)
    world.scripts[-1].turns.append([record("a", [long], 1)])
    worker.turn()
    assert worker._cache.size_bytes > small + 50_000


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
