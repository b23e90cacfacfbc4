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

from local.processes import Processes
from local.servers import kafka, mongo, mqtt
from local.servers.base import Server, ServerError

Make = Callable[[Processes, Path], Server]


@pytest.mark.parametrize("make", [mqtt.Rumqttd, kafka.Tansu, mongo.Mongod])
def test_a_server_answers_after_start_and_is_gone_after_stop(make: Make, processes: Processes, tmp_path: Path) -> None:
    server = make(processes, tmp_path)
    with server:
        assert server.answers()
        assert psutil.Process(server.pid).is_running()
        pid = server.pid
    assert not server.answers()
    assert not psutil.pid_exists(pid)


@pytest.mark.parametrize("make", [mqtt.Rumqttd, kafka.Tansu, mongo.Mongod])
def test_a_server_listens_on_loopback_only(make: Make, processes: Processes, tmp_path: Path) -> None:
    with make(processes, tmp_path) as server:
        listening = [c for c in psutil.Process(server.pid).net_connections("inet") if c.status == psutil.CONN_LISTEN]
        assert listening
        assert {connection.laddr[0] for connection in listening} == {"127.0.0.1"}


@pytest.mark.parametrize("make", [mqtt.Rumqttd, kafka.Tansu, mongo.Mongod])
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


def test_a_server_that_does_not_come_up_says_why_with_its_last_lines(processes: Processes, tmp_path: Path) -> None:
    taken = socket.create_server(("127.0.0.1", 0))
    with taken, pytest.raises(ServerError, match=r"(?s)tansu ended with exit code.*in use"):
        kafka.Tansu(processes, tmp_path, port=taken.getsockname()[1]).start()


def test_mqtt_5_messages_arrive_with_their_content_type(mqtt_url: str) -> None:
    host, port = mqtt_url.removeprefix("mqtt://").split(":")
    got: list[paho.MQTTMessage] = []
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="servers-test", protocol=paho.MQTTv5)
    client.on_message = lambda _client, _data, message: got.append(message)
    client.connect(host, int(port))
    client.loop_start()
    client.subscribe("servers-test/+", qos=1)
    properties = paho.Properties(paho.PacketTypes.PUBLISH)
    properties.ContentType = "application/msgpack"
    client.publish("servers-test/a", b"x", qos=1, properties=properties).wait_for_publish(5)
    deadline = time.monotonic() + 10
    while not got and time.monotonic() < deadline:
        time.sleep(0.01)
    client.disconnect()
    client.loop_stop()
    assert [(message.payload, message.properties.ContentType) for message in got] == [(b"x", "application/msgpack")]


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
