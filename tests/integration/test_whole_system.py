"""The whole system as processes on real servers: what a hostile or broken device sends, and where it can be found."""

import json
import os
import random
import threading
import time
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest
from confluent_kafka import Producer

from local import apart, services, system
from local.processes import Processes
from local.servers import stack
from tests.cloud_world import frame
from tests.edge_world import device, wait_until
from wire.topics import CUSTOMER_PROFILES, dead_letter_topic

SPEED = "Vehicle.Speed"
VIN_WITH_BAD_CHECK_DIGIT = "1M8GDM9A1KP042788"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[system.System]:
    """Agent and twin service on servers of their own, shared by these tests: each speaks of another asset."""
    kind: stack.KafkaKind = "apache" if os.environ.get("FLEETFOLD_TEST_KAFKA") == "apache" else "tansu"
    if kind == "apache":
        request.getfixturevalue("apache_kafka_available")
    directory, stop = tmp_path_factory.mktemp("system"), threading.Event()
    with Processes() as owner:
        endpoints = system.start_servers(owner, directory, stack.Brokers(kind), stop)
        yield system.start_services(owner, directory, endpoints, apart.settings(), stop)


def ask(running: system.System, *words: str) -> Any:
    """`fleetfold-cloud … --json`, as staff would run it."""
    _, output = running.programs.run(services.Program("ask", (services.CLOUD, *words, "--json")))
    return json.loads(output)


def dead_letters(running: system.System, *assets: str) -> list[dict[str, Any]]:
    found = ask(running, "dlq", "list", "--limit", "1000")
    return [letter for letter in found if letter["asset_id"] in assets]


def hostile_payloads(now_ms: int, chance: random.Random) -> dict[str, list[bytes]]:
    """Payloads by the reason for which they must be refused."""
    good = frame(now_ms, {SPEED: 1}, "h", 900)
    deep: Any = 1
    for _ in range(30):
        deep = [deep]
    return {
        "not_decodable": [good[:-3], b"\xc1" + chance.randbytes(200), b"[" * 900, b'{"v":1,"ts":NaN}'],
        "too_large": [b"x" * 70_000],
        "wrong_shape": [b"{}", frame(now_ms, {SPEED: deep}, "h", 901), frame(now_ms, {SPEED: 1}, "h", -7)],
        "bad_time": [frame(-1, {SPEED: 1}), frame(1_000, {SPEED: 1}), frame(4_110_000_000_000, {SPEED: 1})],
        "clock_ahead": [frame(now_ms + 20 * 86_400_000, {SPEED: 1})],
        "rejected_samples": [
            frame(now_ms, {"Vehicle.Unheard.Of": 1}, "h", 902),
            frame(now_ms, {SPEED: "fast"}, "h", 903),
            frame(now_ms, {SPEED: float("nan")}, "h", 904),
            frame(now_ms, {SPEED: float("-inf")}, "h", 905),
            frame(now_ms, {SPEED: 10_000}, "h", 906),
        ],
    }


HOSTILE_TOPICS = {
    "dt/fleet/spaceship/car-1/signals": "bad_topic",
    "dt/fleet/vehicle/Car_1/signals": "bad_asset_id",
    f"dt/fleet/vehicle/{'x' * 10_000}/signals": "bad_asset_id",
    "dt/fleet/vehicle/-car/events": "bad_asset_id",
}


def test_hostile_devices_stop_nothing_and_all_they_sent_can_be_found(running: system.System) -> None:
    """Everything refused is in the dead letters with its reason, and what was good before, between and after is in
    the twin."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201 - a failure must be repeatable
    now_ms = time.time_ns() // 1_000_000
    hostile = hostile_payloads(now_ms, random.Random(seed))
    expected = sorted([reason for reason, payloads in hostile.items() for _ in payloads] + [*HOSTILE_TOPICS.values()])
    topic = "dt/fleet/vehicle/car-1/signals"
    with device(running.endpoints.mqtt_url) as sender:
        seq = 0
        for payload in [payload for payloads in hostile.values() for payload in payloads]:
            sender.publish(topic, payload, frame(now_ms + seq, {SPEED: seq}, "good", seq))
            seq += 1
        for bad_topic in HOSTILE_TOPICS:
            sender.publish(bad_topic, frame(now_ms, {SPEED: 5}, "h", 1))
        sender.publish(topic, frame(now_ms + seq, {SPEED: 77}, "good", seq))
    wait_until(lambda: speed(running, "car-1") == 77.0, 40, "the last good frame is in the twin")
    wait_until(lambda: len(dead_letters(running, "car-1", "")) >= len(expected), 30, "all dead letters are there")
    assert sorted(letter["reason"] for letter in dead_letters(running, "car-1", "")) == expected
    counters = ask(running, "twins", "show", "car-1")["twin"]["counters"]
    assert counters["frames"] == seq + 1 + len(hostile["rejected_samples"])  # these had a good envelope
    assert counters["duplicates"] == 0
    running.programs.check()


def twin(running: system.System, asset_id: str) -> dict[str, Any]:
    """The twin as `twins find` gives it; empty until there is one."""
    found = ask(running, "twins", "find", "--kind", "vehicle")["twins"]
    return next((one for one in found if one["_id"] == asset_id), {})


def speed(running: system.System, asset_id: str) -> float | None:
    value: float | None = twin(running, asset_id).get("signals", {}).get("Vehicle", {}).get("Speed", {}).get("value")
    return value


def test_sequence_jumps_and_resets_are_counted_and_lose_nothing(running: system.System) -> None:
    now_ms = time.time_ns() // 1_000_000
    topic = "dt/fleet/vehicle/car-2/signals"
    with device(running.endpoints.mqtt_url) as sender:
        sender.publish(topic, frame(now_ms - 900, {SPEED: 1}, "s", 0), frame(now_ms - 800, {SPEED: 2}, "s", 2**40))
        sender.publish(topic, frame(now_ms - 700, {SPEED: 3}, "s", 0), frame(now_ms - 600, {SPEED: 4}, "s", 1))
    wait_until(lambda: speed(running, "car-2") == 4.0, 40, "the last frame is in the twin")
    counters = ask(running, "twins", "show", "car-2")["twin"]["counters"]
    assert counters["gaps"] == 2**40 - 1 - 1  # the jump, less the one that came after the reset
    assert (counters["frames"], counters["uncertain"]) == (3, 1)


def test_bad_facts_stop_nothing_and_can_be_found(running: system.System) -> None:
    """A VIN with a wrong check digit, overlapping owners, a profile for nobody, and a good fact behind them."""
    now_ms = time.time_ns() // 1_000_000
    producer = Producer({"bootstrap.servers": running.endpoints.kafka_bootstrap_servers})

    def say(topic: str, key: str, **fields: Any) -> None:
        producer.produce(topic, key=key.encode(), value=json.dumps({"v": 1, **fields}).encode())

    built = {"asset_id": "car-3", "kind": "vehicle", "step": "built", "ts": now_ms - 9_000}
    role = {"asset_id": "car-3", "role": "owner", "recorded_ms": now_ms}
    say("vehicle.lifecycle.v1", "car-3", **built, attributes={"vin": VIN_WITH_BAD_CHECK_DIGIT})
    say("asset.roles.v1", "car-3", **role, role_id="r1", customer_id="ada", from_ms=now_ms - 8_000)
    say("asset.roles.v1", "car-3", **role, role_id="r2", customer_id="bob", from_ms=now_ms - 7_000)
    say(CUSTOMER_PROFILES, "nobody", customer_id="nobody", display_name="Nobody", updated_ms=now_ms)
    say(CUSTOMER_PROFILES, "bob", customer_id="bob", display_name="Bob", updated_ms=now_ms)
    producer.produce(CUSTOMER_PROFILES, key=b"bob", value=bytes(msgpack.packb(["not", "a", "profile"])))
    say("vehicle.lifecycle.v1", "car-3", **built, attributes={"model": "Wren"})
    producer.flush()
    producer.close()

    def linked() -> bool:
        owner = twin(running, "car-3").get("owner", {})
        return bool(owner.get("display_name") == "Bob")

    wait_until(linked, 40, "the twin shows its owner")
    shown = ask(running, "twins", "show", "car-3")["twin"]
    assert shown["owner"]["overlaps"] == 1
    assert shown["attributes"] == {"model": "Wren"}
    assert ask(running, "customers", "show", "nobody")["profile"]["display_name"] == "Nobody"
    wait_until(lambda: len(dead_letters(running, "car-3", "bob")) >= 2, 30, "dead letters are there")
    places = {(letter["topic"], letter["reason"]) for letter in dead_letters(running, "car-3", "bob")}
    assert places == {
        (dead_letter_topic("vehicle.lifecycle.v1"), "bad_vin"),
        (dead_letter_topic(CUSTOMER_PROFILES), "wrong_shape"),
    }
