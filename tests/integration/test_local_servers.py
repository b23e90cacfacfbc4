"""Each server starts, answers real clients, survives what it should and leaves nothing behind."""

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pymongo
import pytest
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from local import ports
from local.processes import Processes, marked
from local.servers import kafka, mongo, mqtt, named, stack
from local.servers.base import Server, ServerError

Make = Callable[[Processes, Path], Server]

SERVERS = [
    pytest.param(
        mqtt.Mosquitto,
        marks=pytest.mark.skipif(mqtt.installed_mosquitto() is None, reason="mosquitto is not installed"),
    ),
    mqtt.Rumqttd,
    kafka.Tansu,
    mongo.Mongod,
]


@pytest.mark.parametrize("make", SERVERS)
def test_a_server_answers_after_start_and_is_gone_after_stop(make: Make, processes: Processes, tmp_path: Path) -> None:
    server = make(processes, tmp_path)
    with server:
        assert server.answers()
        assert psutil.Process(server.pid).is_running()
        pid = server.pid
    assert not server.answers()
    assert not psutil.pid_exists(pid)


@pytest.mark.parametrize("make", SERVERS)
def test_a_server_listens_on_loopback_only(make: Make, processes: Processes, tmp_path: Path) -> None:
    with make(processes, tmp_path) as server:
        listening = [c for c in psutil.Process(server.pid).net_connections("inet") if c.status == psutil.CONN_LISTEN]
        assert listening
        assert {connection.laddr[0] for connection in listening} == {"127.0.0.1"}


@pytest.mark.parametrize("make", SERVERS)
def test_a_killed_server_starts_again_at_the_same_address(make: Make, processes: Processes, tmp_path: Path) -> None:
    with make(processes, tmp_path) as server:
        url, pid = server.url, server.pid
        server.kill()
        assert not server.answers()
        server.start()
        assert server.answers()
        assert (server.url, server.pid) != (url, pid)
        assert server.url == url


def test_a_server_whose_port_is_taken_moves_to_another(processes: Processes, tmp_path: Path) -> None:
    server = kafka.Tansu(processes, tmp_path)
    with socket.create_server(("127.0.0.1", server.port)) as taken, server:
        assert server.port != taken.getsockname()[1]
        assert server.answers()


@pytest.mark.parametrize("make", SERVERS)
def test_another_server_on_the_port_is_not_taken_for_our_own(make: Make, processes: Processes, tmp_path: Path) -> None:
    with make(processes, tmp_path / "first") as first:
        second = make(processes, tmp_path / "second")
        second.port = first.port
        second.start()
        assert second.port != first.port
        assert second.pid != first.pid
        assert first.answers()
        second.stop()


@pytest.mark.parametrize("make", SERVERS)
def test_a_server_that_does_not_come_up_says_why(make: type[Server], processes: Processes, tmp_path: Path) -> None:
    taken = socket.create_server(("127.0.0.1", 0))
    with taken, pytest.raises(ServerError, match=rf"(?s){make.name} ended with exit code.*in use"):
        make(processes, tmp_path, taken.getsockname()[1]).start()


@pytest.mark.parametrize("make", SERVERS[:2])
def test_mqtt_5_messages_arrive_with_their_content_type(make: Make, processes: Processes, tmp_path: Path) -> None:
    with make(processes, tmp_path) as server:
        got: list[tuple[bytes, str]] = []
        client = _connected(server, "servers-test")
        client.on_message = lambda _client, _data, message: got.append(
            (message.payload, getattr(message.properties, "ContentType", ""))
        )
        client.subscribe("servers-test/+", qos=1)
        properties = Properties(PacketTypes.PUBLISH)
        properties.ContentType = "application/msgpack"
        client.publish("servers-test/a", b"x", qos=1, properties=properties).wait_for_publish(5)
        _until(lambda: bool(got))
        client.disconnect()
        client.loop_stop()
    assert got == [(b"x", "application/msgpack")]


def test_mongodb_has_transactions(mongodb_uri: str, mongo_database: str) -> None:
    with pymongo.MongoClient[dict[str, Any]](mongodb_uri) as client, client.start_session() as session:
        twins = client[mongo_database].twins
        with session.start_transaction():
            twins.insert_one({"_id": "a"}, session=session)
            session.abort_transaction()
        assert twins.count_documents({}) == 0


def test_mongodb_keeps_acknowledged_writes_through_a_kill(processes: Processes, tmp_path: Path) -> None:
    with mongo.Mongod(processes, tmp_path) as server:
        with pymongo.MongoClient[dict[str, Any]](server.url, w="majority") as client:
            client.fleet.twins.insert_one({"_id": "a"})
        server.kill()
        server.start()
        with pymongo.MongoClient[dict[str, Any]](server.url) as client:
            assert client.fleet.twins.count_documents({}) == 1


@pytest.mark.skipif(mqtt.installed_mosquitto() is None, reason="mosquitto is not installed")
def test_mosquitto_keeps_every_message_queued_for_an_absent_client_through_a_stop(
    processes: Processes, tmp_path: Path
) -> None:
    with mqtt.Mosquitto(processes, tmp_path) as server:
        absent = _connected(server, "absent", session_expiry_s=3600)
        absent.subscribe("queue", qos=1)
        _settle(absent)
        absent.disconnect()
        absent.loop_stop()
        sender = _connected(server, "sender")
        for number in range(3_000):  # three times the default limit of mosquitto
            message = sender.publish("queue", str(number).encode(), qos=1)
        message.wait_for_publish(20)
        sender.disconnect()
        sender.loop_stop()
        server.stop()
        server.start()
        got: list[bytes] = []
        absent = _connected(server, "absent", session_expiry_s=3600, got=got)
        _until(lambda: len(got) >= 3_000)
        absent.disconnect()
        absent.loop_stop()
    assert got == [str(number).encode() for number in range(3_000)]


def test_all_servers_start_side_by_side_and_tell_their_addresses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (named.MQTT_URL, named.KAFKA_BOOTSTRAP_SERVERS, named.MONGODB_URI):
        monkeypatch.delenv(name, raising=False)
    with Processes() as owner:
        endpoints = stack.start(owner, tmp_path, stack.Brokers())
        for name, value in endpoints.environment.items():
            monkeypatch.setenv(name, value)
        assert (named.mqtt_url(), named.kafka_bootstrap_servers(), named.mongodb_uri()) == endpoints[:3]


def test_one_server_that_does_not_answer_stops_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (named.KAFKA_BOOTSTRAP_SERVERS, named.MONGODB_URI):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(named.MQTT_URL, f"mqtt://127.0.0.1:{ports.free_port()}")
    owner = Processes()
    with pytest.raises(named.UnreachableError):
        stack.start(owner, tmp_path, stack.Brokers())
    assert marked(owner.mark) == []
    with pytest.raises(ServerError, match="stopping"):
        kafka.Tansu(owner, tmp_path).start()


def _connected(
    server: Server, client_id: str, session_expiry_s: int = 0, got: list[bytes] | None = None
) -> paho.Client:
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=paho.MQTTv5)
    client.on_message = lambda _client, _data, message: None if got is None else got.append(message.payload)
    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = session_expiry_s
    host, port = server.url.removeprefix("mqtt://").split(":")
    client.connect(host, int(port), clean_start=False, properties=properties)
    client.loop_start()
    _until(client.is_connected)
    return client


def _settle(client: paho.Client) -> None:
    """Return when everything sent so far was answered."""
    client.publish("settle", qos=1).wait_for_publish(10)


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "waited 20 s"
        time.sleep(0.01)
