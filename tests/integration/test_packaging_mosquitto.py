"""The broker configuration of docker-compose.yml, in a real mosquitto."""

import getpass
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

CONFIGURATION = Path(__file__).parents[2] / "docker" / "mosquitto.conf"
LIMITS = Path(__file__).parents[2] / "edge" / "deploy" / "mosquitto" / "limits.d"
MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
MESSAGES = 3_000
"""More than the thousand that mosquitto keeps by default."""

pytestmark = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed: its configuration was not tried")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


class Broker:
    """A mosquitto with the configuration as it is, but for its port, its directory and its user."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        text, changed = re.subn(
            r"(?m)^listener 1883$", f"listener {self.port} 127.0.0.1", CONFIGURATION.read_text("utf-8")
        )
        assert changed == 1
        text, changed = re.subn(r"(?m)^persistence_location .*$", f"persistence_location {folder}/", text)
        assert changed == 1
        text, changed = re.subn(r"(?m)^include_dir .*$", f"include_dir {LIMITS}", text)
        assert changed == 1
        self.configuration = folder / "mosquitto.conf"
        self.configuration.write_text(f"{text}\nuser {getpass.getuser()}\n", encoding="utf-8")
        self.process = self._start()

    def _start(self) -> "subprocess.Popen[str]":
        assert MOSQUITTO is not None
        process = subprocess.Popen([MOSQUITTO, "-c", str(self.configuration)], stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                assert process.poll() is None, process.communicate()[1]
                time.sleep(0.05)
            else:
                return process
        process.kill()
        raise AssertionError(f"mosquitto does not answer: {process.communicate()[1]}")

    def kill_and_start_again(self) -> None:
        self.process.kill()
        self.process.communicate()
        self.process = self._start()

    def close(self) -> str:
        """What it had to say."""
        self.process.terminate()
        return self.process.communicate(timeout=20)[1]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    started = Broker(tmp_path)
    yield started
    if started.process.poll() is None:
        started.close()


def client(name: str) -> paho.Client:
    return paho.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=MQTTProtocolVersion.MQTTv5)


def connected(broker: Broker, made: paho.Client) -> paho.Client:
    """Connected with a session that outlives the connection."""
    ready = threading.Event()
    made.on_connect = lambda *_: ready.set()
    session = Properties(PacketTypes.CONNECT)
    session.SessionExpiryInterval = 3_600
    made.connect("127.0.0.1", broker.port, clean_start=False, properties=session)
    made.loop_start()
    assert ready.wait(20)
    return made


def disconnect(made: paho.Client) -> None:
    made.disconnect()
    made.loop_stop()


def subscribed(broker: Broker, name: str) -> None:
    """Leave a session behind that wants every signal."""
    agent = client(name)
    granted = threading.Event()
    agent.on_subscribe = lambda *_: granted.set()
    connected(broker, agent)
    agent.subscribe("dt/fleet/+/+/signals", qos=1)
    assert granted.wait(20)
    disconnect(agent)


def publish(broker: Broker, count: int) -> None:
    """Returns once the broker has acknowledged every message."""
    device = connected(broker, client("car-1"))
    sent = [device.publish("dt/fleet/vehicle/car-1/signals", str(number), qos=1) for number in range(count)]
    for message in sent:
        message.wait_for_publish(30)
        assert message.is_published()
    disconnect(device)


def received(broker: Broker, name: str, count: int) -> list[int]:
    """What waits in the session, until `count` messages are there or none comes for a while."""
    arrived: list[int] = []
    agent = client(name)
    agent.on_message = lambda _client, _data, message: arrived.append(int(message.payload))
    connected(broker, agent)
    quiet_since, seen = time.monotonic(), 0
    while len(arrived) < count and time.monotonic() - quiet_since < 5:
        if len(arrived) > seen:
            quiet_since, seen = time.monotonic(), len(arrived)
        time.sleep(0.02)
    disconnect(agent)
    return arrived


def test_it_is_accepted_without_a_complaint(broker):
    said = broker.close().replace("Warning: Mosquitto should not be run as root", "")
    assert broker.process.returncode == 0
    assert not re.search(r"(?i)error|warn|deprecat|unknown", said), said


def test_an_agent_that_was_away_gets_every_message(broker):
    subscribed(broker, "agent")
    publish(broker, MESSAGES)
    assert received(broker, "agent", MESSAGES) == list(range(MESSAGES))


def test_a_killed_broker_still_has_what_it_wrote(broker):
    """Its interval is 5 s; the default of half an hour would have written nothing."""
    subscribed(broker, "agent")
    publish(broker, 100)
    time.sleep(7)
    broker.kill_and_start_again()
    assert received(broker, "agent", 100) == list(range(100))


def test_a_message_over_the_contract_reaches_the_agent_which_can_tell_of_it(broker):
    subscribed(broker, "agent")
    device = connected(broker, client("car-1"))
    message = device.publish("dt/fleet/vehicle/car-1/signals", "1".ljust(200_000), qos=1)
    message.wait_for_publish(20)
    assert message.is_published()
    disconnect(device)
    assert received(broker, "agent", 1) == [1]
