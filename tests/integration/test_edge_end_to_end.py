"""The agent as a process between a real MQTT broker and a real Kafka broker."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from local.processes import Processes
from tests.edge_world import Agent, Kafka, device, payload, wait_until
from wire import limits, topics
from wire.malformed import Reason
from wire.topics import Channel, Kind, mqtt_topic


@pytest.fixture
def agent(processes: Processes, tmp_path: Path, fresh_mqtt: str, kafka_bootstrap_servers: str) -> Iterator[Agent]:
    """Not started yet."""
    with Agent(processes, tmp_path, fresh_mqtt, kafka_bootstrap_servers) as agent:
        Kafka(kafka_bootstrap_servers, agent.gateway).create_topics()
        yield agent


@pytest.fixture
def kafka(agent: Agent, kafka_bootstrap_servers: str) -> Kafka:
    return Kafka(kafka_bootstrap_servers, agent.gateway)


def test_messages_of_several_assets_arrive_once_and_in_order(agent: Agent, kafka: Kafka, fresh_mqtt: str) -> None:
    agent.start()
    with device(fresh_mqtt) as sender:
        for number in range(100):
            for asset in range(5):
                sender.signals(f"car-{asset}", number)
        sender.publish(mqtt_topic(Kind.STATION, "post-1", Channel.EVENTS), b"0:event")
        sender.publish(mqtt_topic(Kind.VEHICLE, "car-1", Channel.CONNECTION), b"0:birth", retain=True)
    agent.wait_drained(502)
    for asset in range(5):
        assert kafka.numbers(f"car-{asset}") == list(range(100))
    assert [entry[0] for entry in kafka.entries(topics.FLEET_EVENTS)] == ["post-1"]
    assert [entry[3] for entry in kafka.entries(topics.FLEET_CONNECTIONS)] == [b"0:birth"]
    assert agent.stop() == 0


def test_a_batch_says_where_it_comes_from(agent: Agent, kafka: Kafka, fresh_mqtt: str) -> None:
    agent.start()
    with device(fresh_mqtt) as sender:
        sender.signals("car-7", 1)
    agent.wait_drained(1)
    (batch,) = kafka.batches()
    (message,) = [each for each in kafka.messages(topics.FLEET_SIGNALS) if agent.gateway.encode() in each.value()]
    headers = dict(message.headers() or [])
    assert (batch.kind, batch.asset_id, batch.channel) == (Kind.VEHICLE, "car-7", Channel.SIGNALS)
    assert message.key() == b"car-7"
    assert headers["ce_id"] == f"{agent.gateway}/{batch.epoch}/{batch.first_sequence}".encode()
    assert headers["ce_type"] == b"org.fleetfold.signals.batch.v1"
    assert headers["ce_source"] == f"/gateways/{agent.gateway}".encode()
    assert abs(batch.received_ms[0] - time.time() * 1000) < 60_000


def test_messages_published_while_the_agent_is_down_arrive(agent: Agent, kafka: Kafka, fresh_mqtt: str) -> None:
    agent.start()
    with device(fresh_mqtt) as sender:
        sender.signals("car-1", 0)
        agent.wait_drained(1)
        assert agent.stop() == 0
        sender.signals("car-1", *range(1, 50))
        agent.start()
        agent.wait_drained(49)
    assert kafka.numbers("car-1") == list(range(50))


def test_births_that_the_broker_retained_before_are_received(agent: Agent, kafka: Kafka, fresh_mqtt: str) -> None:
    with device(fresh_mqtt) as sender:
        for asset in range(3):
            sender.publish(mqtt_topic(Kind.VEHICLE, f"car-{asset}", Channel.CONNECTION), b"birth", retain=True)
    agent.start()
    agent.wait_drained(3)
    assert {entry.asset_id for entry in kafka.entries(topics.FLEET_CONNECTIONS)} == {"car-0", "car-1", "car-2"}


def test_a_cleared_retained_message_is_no_dead_letter(agent: Agent, kafka: Kafka, fresh_mqtt: str) -> None:
    agent.start()
    with device(fresh_mqtt) as sender:
        sender.publish(mqtt_topic(Kind.VEHICLE, "car-1", Channel.CONNECTION), b"", retain=True)
        sender.signals("car-1", 1)
    agent.wait_drained(2)
    assert agent.metric("mqtt_messages_cleared_total") == 1
    assert kafka.letters(topics.FLEET_CONNECTIONS) == []


def test_bad_messages_become_dead_letters_and_the_next_one_passes(agent: Agent, kafka: Kafka, fresh_mqtt: str) -> None:
    agent.start()
    bad = {
        "dt/fleet/spaceship/x/signals": (b"one", Reason.BAD_TOPIC),
        "dt/fleet/vehicle/UPPER/signals": (b"two", Reason.BAD_ASSET_ID),
        f"dt/fleet/vehicle/{'a' * 10_000}/signals": (b"three", Reason.BAD_ASSET_ID),
        "dt/fleet/vehicle//signals": (b"four", Reason.BAD_ASSET_ID),
        "dt/fleet/vehicle/car-1/signals": (b"y" * (limits.PAYLOAD_BYTES_MAX + 1), Reason.TOO_LARGE),
        "dt/fleet/vehicle/car-2/signals": (b"z" * 500_000, Reason.TOO_LARGE),
        "dt/fleet/vehicle/car-3/signals": (b"", Reason.NOT_DECODABLE),
    }
    with device(fresh_mqtt) as sender:
        for topic, (content, _) in bad.items():
            sender.publish(topic, content)
        sender.signals("car-1", 5)
    agent.wait_drained(len(bad) + 1)
    letters = kafka.letters()
    assert sorted((letter.value, letter.reason) for letter in letters) == sorted(bad.values())
    assert len({letter.origin for letter in letters}) == len(bad)
    assert all(len(letter.origin) < 500 for letter in letters)
    assert {letter.asset_id for letter in letters} == {"", "car-1", "car-2", "car-3"}
    assert kafka.numbers("car-1") == [5]


def test_a_packet_that_the_client_library_cannot_decode_arrives(agent: Agent, kafka: Kafka, fresh_mqtt: str) -> None:
    """paho refuses U+FEFF in a property, which MQTT allows; the agent reads messages itself."""
    agent.start()
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call] # paho has no types there
    properties.ResponseTopic = "answer/\ufeff"
    with device(fresh_mqtt) as sender:
        sender.publish("dt/fleet/vehicle/car-1/signals", payload(0), properties=properties)
        sender.signals("car-1", 1)
    agent.wait_drained(2)
    assert kafka.numbers("car-1") == [0, 1]
    assert agent.metric("mqtt_connections_total") == 1


def test_a_second_agent_on_the_same_spool_ends_with_a_clear_error(agent: Agent, tmp_path: Path) -> None:
    agent.start()
    second = subprocess.run(
        [sys.executable, "-m", "edge", "run"],
        env={"PATH": "", "FLEETFOLD_EDGE__SPOOL__DIRECTORY": str(agent.spool)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert second.returncode == 1
    assert second.stderr.splitlines()[-1] == f"{agent.spool} is in use by another agent, process {agent.child.pid}"


def test_without_kafka_a_stop_is_quick_and_the_spool_keeps_everything(
    agent: Agent, kafka: Kafka, fresh_mqtt: str, kafka_bootstrap_servers: str, free_port: int
) -> None:
    agent.settings["KAFKA_BOOTSTRAP_SERVERS"] = f"127.0.0.1:{free_port}"
    agent.settings["FLEETFOLD_EDGE__STOP_TIMEOUT_MS"] = "300"
    agent.start()
    with device(fresh_mqtt) as sender:
        sender.signals("car-1", *range(20))
    wait_until(lambda: agent.health()["acknowledged"] == 20, what="acknowledged without Kafka")
    assert agent.health()["undelivered"] == 20
    started = time.monotonic()
    assert agent.stop() == 0
    assert time.monotonic() - started < 5
    agent.settings["KAFKA_BOOTSTRAP_SERVERS"] = kafka_bootstrap_servers
    agent.start()
    agent.wait_drained()
    assert kafka.numbers("car-1") == list(range(20))
    assert [entry.payload for entry in kafka.entries()] == [payload(number) for number in range(20)]


def test_an_idle_agent_hardly_wakes(agent: Agent) -> None:
    """Measured: 16 wakes a second are 0.15 % of a core. Counted, since this machine may be busy."""
    agent.start()
    process = psutil.Process(agent.child.pid)
    time.sleep(1.5)  # what the start set in motion

    def wakes() -> int:
        tasks = Path(f"/proc/{process.pid}/task").glob("*/status")
        lines = [line for task in tasks for line in task.read_text().splitlines()]
        return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))

    before = wakes()
    time.sleep(3)
    assert wakes() - before < 30 * 3
