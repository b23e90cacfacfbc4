"""Collection rules on real brokers: published at run time, acknowledged, refused, stored, and what twins make of it."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
from confluent_kafka import Producer
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from cloud import inbox
from cloud.fold import fold
from cloud.twin import Twin
from edge.clock import SystemClock
from edge.config import EdgeKafkaSettings
from edge.rules.desk import Offer
from edge.rules_kafka import KafkaRules
from local.processes import Processes
from tests.edge_rules_world import AIR, SPEED, capture, rule
from tests.edge_world import Agent, Kafka, device, wait_until
from wire import catalogue, codec, topics
from wire.topics import Kind

TOPIC = "dt/fleet/vehicle/car-1/signals"


@pytest.fixture
def agent(processes: Processes, tmp_path: Path, fresh_mqtt: str, kafka_bootstrap_servers: str) -> Iterator[Agent]:
    """Follows rules from MQTT; not started yet."""
    with Agent(processes, tmp_path, fresh_mqtt, kafka_bootstrap_servers) as agent:
        Kafka(kafka_bootstrap_servers, agent.gateway).create_topics()
        agent.settings |= {
            "FLEETFOLD_EDGE__RULES__REMOTE": "mqtt",
            "FLEETFOLD_EDGE__RULES__POLL_INTERVAL_MS": "50",
            "FLEETFOLD_EDGE__RULES__SETTLE_S": "0",
        }
        yield agent


@pytest.fixture
def kafka(agent: Agent, kafka_bootstrap_servers: str) -> Kafka:
    return Kafka(kafka_bootstrap_servers, agent.gateway)


class Statuses:
    """What an agent says on MQTT about its rules."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []

    def wait(self, what: str, **fields: Any) -> dict[str, Any]:
        """Until the last one has these fields."""
        wait_until(lambda: bool(self.heard) and fields.items() <= self.heard[-1].items(), what=what)
        return self.heard[-1]


@contextlib.contextmanager
def statuses(mqtt_url: str, gateway: str) -> Iterator[Statuses]:
    found = Statuses()
    listener = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    listener.on_message = lambda _client, _data, message: found.heard.append(codec.decode(message.payload))
    listener.on_connect = lambda *_: listener.subscribe(topics.mqtt_rules_status_topic(gateway), 1)
    host, port = mqtt_url.removeprefix("mqtt://").split(":")
    listener.connect(host, int(port))
    listener.loop_start()
    yield found
    listener.disconnect()
    listener.loop_stop()


def a_set(version: Any, *rules: dict[str, Any]) -> bytes:
    return codec.to_json({"version": version, "rules": list(rules)})


def frames(count: int, first: int = 0, session: str = "s1") -> list[bytes]:
    """The speed wavers by less than 1 and jumps by 20 every ten frames; the air stays as warm as it is."""
    start_ms = int(time.time() * 1000) - 100_000
    return [
        msgpack.packb(
            {"v": 1, "session": session, "seq": seq, "ts": start_ms + seq * 100,
             "signals": {SPEED: 20.0 * (seq // 10 % 2) + seq % 3 * 0.4, AIR: 7.0}}
        )
        for seq in range(first, first + count)
    ]  # fmt: skip


def twin_of(kafka: Kafka) -> Twin:
    """What the twin service's own fold makes of all that this gateway sent."""
    twin = Twin("car-1", Kind.VEHICLE)
    for message in kafka.messages(topics.FLEET_SIGNALS):
        if message.key() != b"car-1":
            continue
        partition, offset = message.partition(), message.offset()
        assert partition is not None
        assert offset is not None
        record = inbox.Record(topics.FLEET_SIGNALS, "g", partition, offset, b"car-1", message.value(), 0)
        opened = inbox.open_record(record)
        if opened.delivery is not None and opened.delivery.gateway == kafka._gateway:
            assert opened.dead_letters == []
            fold(twin, [opened.delivery])
    return twin


CHANGES = rule("changes", deadband=1.0, snapshot_s=3600)


def test_rules_from_mqtt_are_acknowledged_reduce_what_is_sent_and_leave_no_gap_in_the_twin(
    agent: Agent, kafka: Kafka, fresh_mqtt: str
) -> None:
    agent.start()
    with statuses(fresh_mqtt, agent.gateway) as told, device(fresh_mqtt) as sender:
        told.wait("at the start", origin="none")
        sender.publish(topics.MQTT_RULES_FOR_ALL, a_set("everybody's", CHANGES), retain=True)
        told.wait("taken", origin="all", version="everybody's", stored=True)
        sent = frames(200)
        sender.publish(TOPIC, *sent)
        agent.wait_drained(200)
    twin = twin_of(kafka)
    assert (twin.counters["frames"], twin.counters["gaps"], twin.counters["rejected"]) == (200, 0, 0)
    assert twin.counters["samples"] == 20 + 1
    speed = catalogue.BY_PATH[SPEED].number
    last = msgpack.unpackb(sent[-1])["signals"][SPEED]
    assert abs(twin.signals[speed][0] - last) <= 1.0


def test_a_bad_set_is_refused_with_its_faults_and_the_old_one_stays(agent: Agent, fresh_mqtt: str) -> None:
    agent.start()
    own = topics.mqtt_rules_topic(agent.gateway)
    with statuses(fresh_mqtt, agent.gateway) as told, device(fresh_mqtt) as sender:
        sender.publish(own, a_set(1, CHANGES), retain=True)
        told.wait("taken", origin="gateway", version=1)
        sender.publish(own, a_set(2, CHANGES, capture("Vehicle.Sped > 3")), retain=True)
        wait_until(lambda: bool(told.heard[-1].get("refused")), what="refused")
        status = told.heard[-1]
        assert (status["version"], status["refused"][0]["version"]) == (1, 2)
        assert status["refused"][0]["faults"][0]["path"] == "rules[1].condition"
        assert agent.metric("rules_refused_total") == 1
        sender.publish(own, b"", retain=True)
        told.wait("withdrawn", origin="none")


def test_rules_survive_kill_9_and_a_start_at_a_broker_that_does_not_know_them(
    agent: Agent, kafka: Kafka, fresh_mqtt: str, mqtt_url: str
) -> None:
    agent.start()
    with statuses(fresh_mqtt, agent.gateway) as told, device(fresh_mqtt) as sender:
        sender.publish(topics.mqtt_rules_topic(agent.gateway), a_set(5, CHANGES), retain=True)
        told.wait("taken", version=5, stored=True)
        sender.publish(TOPIC, *frames(50))
        agent.wait_drained(50)
    agent.kill()
    agent.settings["MQTT_URL"] = mqtt_url
    agent.start()
    with statuses(mqtt_url, agent.gateway) as told, device(mqtt_url) as sender:
        told.wait("after the start", origin="gateway", version=5, stored=True)
        sender.publish(TOPIC, *frames(50, first=50))
        agent.wait_drained(50)
    twin = twin_of(kafka)
    assert (twin.counters["frames"], twin.counters["gaps"]) == (100, 0)
    assert twin.counters["samples"] == 5 + 1 + 5 + 1  # a restart begins with everything once more


def test_a_capture_brings_what_was_withheld_before_to_the_twin_service(
    agent: Agent, kafka: Kafka, fresh_mqtt: str
) -> None:
    agent.start()
    trap = capture(f"{SPEED} > 15", "fast", before_s=0.5, priority="urgent", gap_s=3600)
    with statuses(fresh_mqtt, agent.gateway) as told, device(fresh_mqtt) as sender:
        sender.publish(topics.MQTT_RULES_FOR_ALL, a_set(1, rule("quiet", "none"), trap), retain=True)
        told.wait("taken", version=1)
        sender.publish(TOPIC, *frames(30))
        agent.wait_drained(30)
    payloads = [codec.decode(entry.payload) for entry in kafka.entries()]
    made = [frame for frame in payloads if "capture" in frame]
    assert [frame["capture"] for frame in made] == ["fast"]
    assert made[0]["dt"] == [0, 100, 200, 300, 400, 500]
    twin = twin_of(kafka)
    assert (twin.counters["frames"], twin.counters["gaps"], twin.counters["samples"]) == (30, 0, 2 * 6)
    assert twin.counters["duplicates"] == 0


def test_rules_from_kafka_are_taken_acknowledged_and_withdrawn(
    agent: Agent, kafka: Kafka, kafka_bootstrap_servers: str
) -> None:
    agent.settings["FLEETFOLD_EDGE__RULES__REMOTE"] = "kafka"
    producer = Producer({"bootstrap.servers": kafka_bootstrap_servers})

    def publish(key: str, value: bytes | None) -> None:
        producer.produce(topics.GATEWAY_RULES, value, key.encode())
        assert producer.flush(20) == 0

    def status() -> dict[str, Any]:
        values = [
            codec.decode(message.value() or b"")
            for message in kafka.messages(topics.GATEWAY_RULES_STATUS)
            if message.key() == agent.gateway.encode()
        ]
        return values[-1] if values else {}

    publish("another-gateway", a_set("not mine", CHANGES))
    publish(agent.gateway, a_set("mine", CHANGES))
    agent.start()
    wait_until(lambda: status().get("version") == "mine", what="taken")
    publish(agent.gateway, b"version = [")
    wait_until(lambda: bool(status().get("refused")), what="refused")
    assert status()["version"] == "mine"
    assert agent.stop() == 0
    publish(agent.gateway, None)
    agent.start()
    wait_until(lambda: status().get("origin") == "none", what=f"withdrawn while away: {status()}")


def test_of_a_topic_that_is_not_compacted_only_the_last_set_is_heard(
    kafka_bootstrap_servers: str, kafka: Kafka, agent: Agent
) -> None:
    producer = Producer({"bootstrap.servers": kafka_bootstrap_servers})
    for version in range(3_000):
        producer.produce(topics.GATEWAY_RULES, a_set(version), agent.gateway)
        producer.poll(0)
    assert producer.flush(30) == 0
    settings = EdgeKafkaSettings(bootstrap_servers=kafka_bootstrap_servers)
    remote = KafkaRules(settings, agent.gateway, agent.gateway, SystemClock())
    heard: list[Offer] = []
    wait_until(lambda: bool(heard.extend(remote.offers()) or heard), what="rules")
    assert [offer.raw for offer in heard if offer.origin == "gateway"] == [a_set(2_999)]
    remote.close()
