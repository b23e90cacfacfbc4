"""The agent before real brokers: MQTT 3.1.1, a broker that drops, several at once of which one dies."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from local import ports
from local.processes import Processes
from local.servers import mqtt
from tests.edge_world import Agent, Kafka, device, payload, wait_until


class OldBroker(mqtt.Rumqttd):
    """Knows MQTT 3.1.1 alone."""

    def prepare(self) -> None:
        super().prepare()
        text = self._configuration.read_text()
        self._configuration.write_text(text.replace("v5.1", "v4.1").replace("v5-1", "v4-1"))

    def answers(self) -> bool:
        return mqtt.listens(ports.HOST, self.port)


class ForgetfulBroker(mqtt.Mosquitto):
    """Keeps ten messages for an absent client, and tells its counters each second."""

    def prepare(self) -> None:
        super().prepare()
        lines = self._configuration.read_text().splitlines()
        kept = [line for line in lines if not line.startswith("include_dir")]  # the limits that lose nothing
        assert len(kept) < len(lines)
        limits = ["sys_interval 1", "max_queued_messages 10", "max_inflight_messages 10"]
        self._configuration.write_text("\n".join([*kept, *limits, ""]))


class NarrowBroker(mqtt.Mosquitto):
    """Sends twenty messages without an acknowledgement, whatever a client allows: mosquitto's default."""

    def prepare(self) -> None:
        super().prepare()
        lines = self._configuration.read_text().splitlines()
        kept = [line for line in lines if not line.startswith("include_dir")]
        limits = ["max_queued_messages 0", "max_inflight_messages 20"]
        self._configuration.write_text("\n".join([*kept, *limits, ""]))


@pytest.fixture
def _mosquitto() -> None:
    if mqtt.installed_mosquitto() is None:
        pytest.skip("needs mosquitto")


@pytest.fixture
def broker(_mosquitto: None, processes: Processes, tmp_path: Path) -> Iterator[mqtt.Mosquitto]:
    with mqtt.Mosquitto(processes, tmp_path / "mosquitto", ports.free_port()) as broker:
        yield broker


def agent_at(processes: Processes, directory: Path, url: str, kafka_bootstrap_servers: str) -> Agent:
    agent = Agent(processes, directory, url, kafka_bootstrap_servers)
    Kafka(kafka_bootstrap_servers, agent.gateway).create_topics()
    return agent


def labelled(agent: Agent, name: str, broker: str) -> float:
    return agent.metric(name, broker=broker)


def test_a_session_in_3_1_1_holds_what_came_while_the_agent_was_killed(
    processes: Processes, tmp_path: Path, broker: mqtt.Mosquitto, kafka_bootstrap_servers: str
) -> None:
    with agent_at(processes, tmp_path, broker.url, kafka_bootstrap_servers) as agent, device(broker.url) as sender:
        agent.settings["FLEETFOLD_EDGE__MQTT__PROTOCOL"] = "3.1.1"
        agent.start()
        sender.signals("car-1", *range(50))
        agent.wait_drained(50)
        agent.kill()
        sender.signals("car-1", *range(50, 100))
        agent.start()
        agent.wait_drained(50)
        assert "protocol=3.1.1" in agent.log_file.read_text().replace("'", "").replace('"protocol": "', "protocol=")
        numbers = Kafka(kafka_bootstrap_servers, agent.gateway).numbers("car-1")
    assert list(dict.fromkeys(numbers)) == list(range(100))


def test_with_a_broker_that_knows_only_3_1_1_the_agent_falls_back_to_it(
    processes: Processes, tmp_path: Path, kafka_bootstrap_servers: str
) -> None:
    with (
        OldBroker(processes, tmp_path / "old", ports.free_port()) as broker,
        agent_at(processes, tmp_path, broker.url, kafka_bootstrap_servers) as agent,
    ):
        agent.settings |= {
            "FLEETFOLD_EDGE__MQTT__DROP_COUNTER_TOPIC": "",
            "FLEETFOLD_EDGE__MQTT__READ_PAUSE_MS": "0",
        }
        agent.start()
        sender = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311)
        sender.connect("127.0.0.1", broker.port)
        sender.loop_start()
        for number in range(50):
            sender.publish("dt/fleet/vehicle/car-1/signals", payload(number), 1).wait_for_publish(10)
        agent.wait_drained(50)
        sender.disconnect()
        sender.loop_stop()
        numbers = Kafka(kafka_bootstrap_servers, agent.gateway).numbers("car-1")
    assert numbers == list(range(50))


@pytest.mark.usefixtures("_mosquitto")
def test_what_mosquitto_says_that_it_dropped_is_counted(
    processes: Processes, tmp_path: Path, kafka_bootstrap_servers: str
) -> None:
    with (
        ForgetfulBroker(processes, tmp_path / "forgetful", ports.free_port()) as broker,
        agent_at(processes, tmp_path, broker.url, kafka_bootstrap_servers) as agent,
        device(broker.url) as sender,
    ):
        agent.settings["FLEETFOLD_EDGE__MQTT__READ_PAUSE_MS"] = "0"
        agent.settings["FLEETFOLD_EDGE__BATCH__BATCH_AGE_MS_MAX"] = "0"
        agent.start()
        absent = paho.Client(CallbackAPIVersion.VERSION2, "absent", clean_session=False)
        subscribed = threading.Event()
        absent.on_connect = lambda client, *_: client.subscribe("dt/fleet/vehicle/car-1/signals", 1)
        absent.on_subscribe = lambda *_: subscribed.set()
        absent.connect(ports.HOST, broker.port)
        absent.loop_start()
        assert subscribed.wait(10)
        absent.disconnect()
        absent.loop_stop()
        assert labelled(agent, "broker_dropped_total", "mqtt") == 0
        for number in range(60):  # one by one, so that only the absent one's queue is too short
            sender.signals("car-1", number)
            agent.wait_drained(number + 1)
            if number == 19:
                time.sleep(2.5)  # what it dropped until the agent hears of it first, ten or none, is not counted
        wait_until(lambda: labelled(agent, "broker_dropped_total", "mqtt") in (40, 50), what="drops counted")
        assert "mqtt_broker_dropped" in agent.log_file.read_text()
        assert Kafka(kafka_bootstrap_servers, agent.gateway).numbers("car-1") == list(range(60))


def test_of_two_brokers_one_may_die_and_come_back_and_the_other_notices_nothing(
    processes: Processes, tmp_path: Path, broker: mqtt.Mosquitto, kafka_bootstrap_servers: str
) -> None:
    with (
        mqtt.Mosquitto(processes, tmp_path / "second", ports.free_port()) as second,
        agent_at(processes, tmp_path, broker.url, kafka_bootstrap_servers) as agent,
        device(broker.url) as sender,
        device(second.url) as other,
    ):
        agent.settings |= {
            "FLEETFOLD_EDGE__BROKERS__SITE_B__URL": second.url,
            "FLEETFOLD_EDGE__BROKERS__SITE_B__RECONNECT_BACKOFF_MS_MIN": "50",
            "FLEETFOLD_EDGE__BROKERS__SITE_B__RECONNECT_BACKOFF_MS_MAX": "200",
        }
        agent.start()
        other.signals("car-b", *range(20))
        sender.signals("car-a", *range(20))
        agent.wait_drained(40)
        agent.kill()
        other.signals("car-b", *range(20, 40))
        os.kill(second.pid, signal.SIGUSR1)  # it saves what it acknowledged
        wait_until(lambda: any((tmp_path / "second").glob("*.db")), what="saved")
        second.kill()
        agent.launch()
        wait_until(lambda: agent.health().get("reasons") is not None, what="answers")
        sender.signals("car-a", *range(20, 120))
        agent.wait_drained(100)
        assert not agent.health()["healthy"]
        assert "site_b" in str(agent.health()["reasons"])
        assert labelled(agent, "broker_connected", "mqtt") == 1
        assert labelled(agent, "broker_connected", "site_b") == 0
        second.start()
        agent.wait_drained(120)
        wait_until(lambda: bool(agent.health().get("healthy")), what=f"healthy: {agent.health()}")
        kafka = Kafka(kafka_bootstrap_servers, agent.gateway)
        assert list(dict.fromkeys(kafka.numbers("car-a"))) == list(range(120))
        assert list(dict.fromkeys(kafka.numbers("car-b"))) == list(range(40))


@pytest.mark.usefixtures("_mosquitto")
def test_a_broker_with_a_narrow_window_is_not_held_up_by_the_pauses_between_reads(
    processes: Processes, tmp_path: Path, kafka_bootstrap_servers: str
) -> None:
    """Five times twenty messages a second would take 30 s."""
    with (
        NarrowBroker(processes, tmp_path / "narrow", ports.free_port()) as broker,
        agent_at(processes, tmp_path, broker.url, kafka_bootstrap_servers) as agent,
        device(broker.url) as sender,
    ):
        agent.start()
        agent.kill()
        sender.signals("car-1", *range(3_000))
        agent.start()
        started_s = time.monotonic()
        agent.wait_drained(3_000, limit_s=60)
        assert time.monotonic() - started_s < 15
