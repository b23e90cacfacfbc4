"""The agent while brokers, the agent itself or the disk fail."""

import os
import random
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.processes import Processes
from local.servers import kafka as kafka_servers
from local.servers import mqtt as mqtt_servers
from tests.edge_world import Agent, Entry, Kafka, device, payload, wait_until


@pytest.fixture
def agent(processes: Processes, tmp_path: Path, fresh_mqtt: str, kafka_bootstrap_servers: str) -> Iterator[Agent]:
    """Not started yet."""
    with Agent(processes, tmp_path, fresh_mqtt, kafka_bootstrap_servers) as agent:
        Kafka(kafka_bootstrap_servers, agent.gateway).create_topics()
        yield agent


@pytest.fixture
def kafka(agent: Agent, kafka_bootstrap_servers: str) -> Kafka:
    return Kafka(kafka_bootstrap_servers, agent.gateway)


def first_arrivals(entries: list[Entry], asset_id: str) -> list[int]:
    """Numbers in order of their first arrival."""
    numbers = [int(entry.payload.split(b":")[0]) for entry in entries if entry.asset_id == asset_id]
    return list(dict.fromkeys(numbers))


def test_what_is_received_while_kafka_is_away_arrives_once_it_is_there(
    processes: Processes, tmp_path: Path, fresh_mqtt: str, free_port: int
) -> None:
    server = kafka_servers.Tansu(processes, tmp_path / "kafka", free_port)
    with Agent(processes, tmp_path, fresh_mqtt, server.url) as agent:
        agent.start()
        with device(fresh_mqtt) as sender:
            sender.signals("car-1", *range(300))
            wait_until(lambda: agent.health()["acknowledged"] == 300, what="acknowledged without Kafka")
            assert agent.health()["undelivered"] == 300
            assert agent.health()["healthy"]
            with server:
                kafka = Kafka(server.url, agent.gateway)
                kafka.create_topics()
                sender.signals("car-1", *range(300, 400))
                agent.wait_drained(400, limit_s=60)
                assert kafka.numbers("car-1") == list(range(400))


def test_an_agent_killed_again_and_again_loses_nothing_and_keeps_the_order(
    agent: Agent, kafka: Kafka, fresh_mqtt: str
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201 - a failure must be repeatable
    chance = random.Random(seed)
    count = 3_000
    agent.start()

    def publish() -> None:
        with device(fresh_mqtt) as sender:
            for first in range(0, count, 20):
                for asset in range(3):
                    sender.signals(f"car-{asset}", *range(first, first + 20))

    publisher = threading.Thread(target=publish)
    publisher.start()
    for _ in range(4):
        publisher.join(chance.uniform(0.1, 0.8))
        agent.kill()
        agent.start()
    publisher.join()
    agent.wait_drained()
    entries = kafka.entries()
    for asset in range(3):
        assert first_arrivals(entries, f"car-{asset}") == list(range(count))
    named: dict[tuple[str, int], bytes] = {}
    for entry in entries:
        assert named.setdefault((entry.epoch, entry.sequence), entry.payload) == entry.payload
    assert len({entry.epoch for entry in entries}) == 1


def test_the_agent_comes_back_after_the_mqtt_broker_did(
    processes: Processes, tmp_path: Path, kafka_bootstrap_servers: str
) -> None:
    choice = mqtt_servers.choice_of(os.environ.get("FLEETFOLD_TEST_MQTT", "auto"))
    with (
        mqtt_servers.broker(processes, tmp_path / "mqtt", choice) as broker,
        Agent(processes, tmp_path, broker.url, kafka_bootstrap_servers) as agent,
    ):
        kafka = Kafka(kafka_bootstrap_servers, agent.gateway)
        kafka.create_topics()
        agent.start()
        with device(broker.url) as sender:
            sender.signals("car-1", 0)
        agent.wait_drained(1)
        broker.kill()
        wait_until(lambda: not agent.health()["mqtt_connected"], what="sees that the broker is gone")
        assert not agent.health()["healthy"]
        broker.start()
        wait_until(lambda: bool(agent.health()["mqtt_connected"]), what="connected again")
        with device(broker.url) as sender:
            sender.signals("car-1", 1)
        agent.wait_drained(2)
        assert first_arrivals(kafka.entries(), "car-1") == [0, 1]


def test_kafka_that_forgets_everything_gets_what_comes_after(
    processes: Processes, tmp_path: Path, fresh_mqtt: str, free_port: int
) -> None:
    server = kafka_servers.Tansu(processes, tmp_path / "kafka", free_port)
    with server, Agent(processes, tmp_path, fresh_mqtt, server.url) as agent, device(fresh_mqtt) as sender:
        kafka = Kafka(server.url, agent.gateway)
        kafka.create_topics()
        agent.settings["FLEETFOLD_EDGE__KAFKA__STALL_TIMEOUT_MS"] = "2000"
        agent.start()
        sender.signals("car-1", *range(50))
        agent.wait_drained(50)
        server.kill()
        sender.signals("car-1", *range(50, 100))
        server.start()
        kafka.create_topics()
        agent.wait_drained(100, limit_s=60)
        assert first_arrivals(kafka.entries(), "car-1") == list(range(50, 100))


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mount") is None, reason="needs root to mount a small tmpfs")
def test_a_full_disk_stops_acknowledging_and_nothing_is_lost(
    agent: Agent, kafka: Kafka, fresh_mqtt: str, tmp_path: Path, free_port: int
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if os.system(f"mount -t tmpfs -o size=1m tmpfs {small} 2>/dev/null") != 0:
        pytest.skip("cannot mount a tmpfs here")
    try:
        filler = small / "filler"
        filler.write_bytes(b"x" * 900_000)
        agent.settings["FLEETFOLD_EDGE__SPOOL__DIRECTORY"] = str(small / "spool")
        agent.start()
        with device(fresh_mqtt) as sender:
            sender.signals("car-1", *range(1_500))
            wait_until(lambda: any("disk" in why for why in agent.health()["reasons"]), what="unhealthy")
            assert agent.health()["acknowledged"] < 1_500
            filler.unlink()
            agent.wait_drained(1_500)
        assert agent.health()["healthy"]
        assert [entry.payload for entry in kafka.entries()] == [payload(number) for number in range(1_500)]
        assert agent.stop() == 0
    finally:
        agent.kill()
        os.system(f"umount {small}")
