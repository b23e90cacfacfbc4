"""What devices say, folded into twins by the service's loop on a real MongoDB."""

import json
import time
from typing import Any

import msgpack

from cloud.config import FoldSettings
from cloud.linker import Linker
from cloud.metrics import Metrics
from cloud.upkeep import Upkeep
from tests.cloud_story import SPEED, hot
from tests.cloud_worker import World
from tests.cloud_world import NOW_MS, frame, record


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


def test_copies_for_questions_are_written_only_when_what_they_copy_moved_far(world: World) -> None:
    def heard(seq: int, volts: float) -> dict[str, Any]:
        said = frame(NOW_MS + seq, {"Vehicle.LowVoltageBattery.CurrentVoltage": volts}, "s", seq)
        world.fold([record("a", [said], seq)])
        return {entry["number"]: entry["value"] for entry in world.twin("a")["search"]["values"]}

    assert heard(0, 12.6) == {6: 12.6}
    world.store.database["twins"].update_one({"_id": "a"}, {"$set": {"search.values.0.value": 12.5}})
    assert heard(1, 12.7) == {6: 12.5}, "not written again"
    assert heard(2, 11.2) == {6: 11.2}


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
