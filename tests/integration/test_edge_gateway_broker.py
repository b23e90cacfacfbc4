"""The gateway's mosquitto.conf and access rules in a real mosquitto: who may say and hear what."""

import re
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.subscribeoptions import SubscribeOptions

from runtime import tls
from tests.certificates import Authority
from tests.edge_world import wait_until
from tests.gateway_broker import PASSWORDS, GatewayBroker

NOT_AUTHORIZED = 135
VERSIONS = pytest.mark.parametrize("version", [MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311])


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[GatewayBroker]:
    started = GatewayBroker(tmp_path_factory.mktemp("mosquitto"), authority)
    for asset_id in ("car-1", "car-2"):
        authority.issue(asset_id)
    yield started
    started.close()


class Client:
    """Someone at the broker: a device by its certificate, or somebody with a password."""

    def __init__(self, broker: GatewayBroker, name: str, version: MQTTProtocolVersion, client_id: str = "") -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.reasons: list[int] = []
        self.disconnected = threading.Event()
        self._subscribed: list[list[int]] = []
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=client_id or f"x-{name}", protocol=version)
        self._client.on_message = lambda _client, _data, message: self.heard.append((message.topic, message.payload))
        self._client.on_publish = lambda _client, _data, _id, reason, _properties: self.reasons.append(reason.value)
        self._client.on_subscribe = lambda _c, _d, _id, reasons, _p: self._subscribed.append([r.value for r in reasons])
        self._client.on_disconnect = lambda *_: self.disconnected.set()
        port = broker.local_port
        if name in PASSWORDS:
            self._client.username_pw_set(name, PASSWORDS[name])
        else:
            port = broker.device_port
            authority = broker.authority
            files = (authority.ca, authority.certificate(name), authority.key(name))
            self._client.tls_set_context(tls.client_context(*files))
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        wait_until(self._client.is_connected, what=f"{name} connected")

    def publish(self, topic: str, payload: bytes, retain: bool = False) -> int:
        """The reason code of the acknowledgement; 3.1.1 knows only success."""
        count = len(self.reasons)
        self._client.publish(topic, payload, 1, retain)
        wait_until(lambda: len(self.reasons) > count, what="PUBACK")
        return self.reasons[-1]

    def subscribe(self, topic: str) -> int:
        count = len(self._subscribed)
        self._client.subscribe([(topic, SubscribeOptions(qos=1))] if self._is_5 else [(topic, 1)])
        wait_until(lambda: len(self._subscribed) > count, what="SUBACK")
        return self._subscribed[-1][0]

    @property
    def _is_5(self) -> bool:
        return self._client.protocol is MQTTProtocolVersion.MQTTv5

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def clients(broker: GatewayBroker) -> Iterator["People"]:
    people = People(broker)
    yield people
    for client in people.made:
        client.close()


class People:
    def __init__(self, broker: GatewayBroker) -> None:
        self.made: list[Client] = []
        self._broker = broker

    def __call__(self, name: str, version: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv5, **more: str) -> Client:
        self.made.append(Client(self._broker, name, version, **more))
        return self.made[-1]


def test_the_configuration_is_accepted_without_a_complaint(tmp_path: Path, authority: Authority) -> None:
    broker = GatewayBroker(tmp_path, authority)
    said = re.sub(r".*(should not be run as root|peer did not return|unexpected eof|Client .* disconnected).*", "",
                  broker.close())  # fmt: skip
    assert not re.search(r"(?i)error|warn|deprecat|unknown", said), said


@VERSIONS
def test_a_device_publishes_only_as_itself(clients: People, version: MQTTProtocolVersion) -> None:
    """In 3.1.1 the broker acknowledges what it refuses: what counts is that nobody hears it."""
    agent, car = clients("fleetfold-edge"), clients("car-1", version)
    agent.subscribe("dt/fleet/#")
    agent.subscribe("state/fleet/#")
    refused = NOT_AUTHORIZED if version is MQTTProtocolVersion.MQTTv5 else 0
    for topic in (
        "dt/fleet/vehicle/car-2/signals",
        "dt/fleet/vehicle/car-2/events",
        "state/fleet/vehicle/car-2/connection",
        "dt/fleet/vehicle/car-1/other",
        "dt/fleet/vehicle/car-1/signals/more",
        "cmd/fleet/vehicle/car-2/unlock/req",
        "cmd/fleet/vehicle/car-1/unlock/req",
    ):
        assert car.publish(topic, b"forged") == refused, topic
    for topic in ("dt/fleet/vehicle/car-1/signals", "state/fleet/station/car-1/connection"):
        assert car.publish(topic, b"true") in (0, 16)
    wait_until(lambda: len(agent.heard) == 2, what=f"heard {agent.heard}")
    assert {payload for _, payload in agent.heard} == {b"true"}


@VERSIONS
def test_a_device_hears_its_own_commands_and_nothing_else(clients: People, version: MQTTProtocolVersion) -> None:
    operator, car = clients("fleetfold-operator"), clients("car-1", version)
    for topic in ("cmd/fleet/vehicle/car-1/+/req", "cmd/fleet/#", "dt/#", "state/#", "#"):
        car.subscribe(topic)
    other = clients("car-2")
    other.publish("dt/fleet/vehicle/car-2/signals", b"private")
    for asset_id in ("car-2", "car-1"):
        assert operator.publish(f"cmd/fleet/vehicle/{asset_id}/lock/req", asset_id.encode()) in (0, 16)
    wait_until(lambda: len(car.heard) > 0, what="command")
    assert {payload for _, payload in car.heard} == {b"car-1"}


def test_only_operators_send_commands(clients: People) -> None:
    assert clients("fleetfold-edge").publish("cmd/fleet/vehicle/car-1/unlock/req", b"x") == NOT_AUTHORIZED
    assert clients("fleetfold-operator").publish("dt/fleet/vehicle/car-1/signals", b"x") == NOT_AUTHORIZED


def test_no_device_pushes_another_out_by_taking_its_client_id(clients: People) -> None:
    first = clients("car-1", client_id="car-1")
    clients("car-2", client_id="car-1")
    assert not first.disconnected.wait(1.0)
    clients("car-1", client_id="something-else")
    assert first.disconnected.wait(10), "its own second connection does: the client id is the user name"


def test_a_device_without_a_certificate_is_not_let_in(broker: GatewayBroker, authority: Authority) -> None:
    context = tls.client_context(authority.ca, None, None)
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.tls_set_context(context)
    accepted = threading.Event()
    client.on_connect = lambda *_: accepted.set()
    try:
        client.connect("127.0.0.1", broker.device_port)
        client.loop_start()
        assert not accepted.wait(1.0)
    except ssl.SSLError:
        pass
    finally:
        client.loop_stop()


def test_nobody_without_a_password_is_let_in_on_loopback(broker: GatewayBroker) -> None:
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    answers: list[int] = []
    client.on_connect = lambda _client, _data, _flags, reason, _properties: answers.append(reason.value)
    client.connect("127.0.0.1", broker.local_port)
    client.loop_start()
    wait_until(lambda: bool(answers), what="CONNACK")
    client.loop_stop()
    assert answers[0] == NOT_AUTHORIZED
