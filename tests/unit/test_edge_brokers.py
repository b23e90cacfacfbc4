"""Several brokers, other versions of MQTT, and brokers that drop: against brokers of ours, byte by byte."""

import time
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from edge.brokers import Brokers
from edge.clock import SystemClock
from edge.config import BrokerSettings, EdgeMqttSettings, EdgeSettings
from edge.counts import Counts
from edge.inbox import Delivery, Inbox
from edge.mqtt import MqttReceiver
from tests.edge_broker import PUBACK, SUBSCRIBE, Broker, Connection
from tests.edge_world import wait_until

PUBREC, PUBCOMP, PINGREQ = 5, 7, 12
TOPIC = b"dt/fleet/vehicle/a/signals"


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as broker:
        yield broker


@pytest.fixture
def counts() -> Counts:
    return Counts()


@pytest.fixture
def receivers() -> Iterator[list[MqttReceiver]]:
    """What a test started; stopped at its end."""
    started: list[MqttReceiver] = []
    yield started
    for receiver in started:
        receiver.stop()
        assert not receiver.is_alive


def start(
    receivers: list[MqttReceiver], broker: Broker, counts: Counts, inbox: Inbox | None = None, **settings: object
) -> MqttReceiver:
    given = {"reconnect_backoff_ms_min": 10, "reconnect_backoff_ms_max": 20, "drop_counter_topic": "", **settings}
    loaded = BrokerSettings.model_validate({"url": broker.url, **given})
    inbox = Inbox(100, 1_000_000) if inbox is None else inbox
    receiver = MqttReceiver(loaded, "edge-1", SystemClock(), counts.broker("mqtt"), inbox)
    receivers.append(receiver)
    receiver.start()
    return receiver


def accept_v3(connection: Connection) -> bytes:
    """As a broker that knows only MQTT 3.1.1; returns the body of CONNECT."""
    _, connect = connection.packet()
    if connect[6] != 4:
        connection.send_raw(b"\x20\x02\x00\x01")
        connection.close()
        return connect
    connection.send_raw(b"\x20\x02\x00\x00")
    kind, subscribe = connection.packet()
    assert kind == SUBSCRIBE
    connection.send_raw(b"\x90\x05" + subscribe[:2] + b"\x01\x01\x01")
    return connect


def publish_v3(connection: Connection, message_id: int, payload: bytes) -> None:
    connection.send(0x32, len(TOPIC).to_bytes(2) + TOPIC + message_id.to_bytes(2) + payload)


def payloads(deliveries: list[Delivery]) -> list[bytes]:
    return [payload for each in deliveries for members in each.payloads.values() for payload in members]


def test_each_broker_gets_the_acknowledgements_of_its_own_messages(broker: Broker, counts: Counts) -> None:
    with Broker() as second_broker:
        settings = EdgeSettings(
            gateway="gw",
            mqtt=EdgeMqttSettings(url=broker.url, drop_counter_topic=""),
            brokers={"b": BrokerSettings(url=second_broker.url, drop_counter_topic="")},
        )
        brokers = Brokers(settings, SystemClock(), counts)
        brokers.start()
        try:
            first, second = broker.connection(), second_broker.connection()
            first.accept()
            assert not brokers.connected
            assert brokers.fault is not None
            second.accept()
            wait_until(lambda: brokers.connected and brokers.fault is None)
            first.publish(1, b"a1")
            second.publish(1, b"b1")
            second.publish(2, b"b2")
            taken: list[Delivery] = []
            while sum(each.count for each in taken) < 3:
                taken += brokers.take(10)
            assert sorted(payloads(taken)) == [b"a1", b"b1", b"b2"]
            brokers.acknowledge([each for each in taken if each.connection.broker == 1])
            assert [second.puback(), second.puback()] == [1, 2]
            assert counts.broker("mqtt").acknowledged == 0
            brokers.acknowledge([each for each in taken if each.connection.broker == 0])
            assert first.puback() == 1
            wait_until(lambda: counts.acknowledged == 3)
            assert (counts.broker("mqtt").received, counts.broker("b").received) == (1, 2)
            second.close()
            wait_until(lambda: not brokers.connected)
            assert brokers.connected_by_name == {"mqtt": True, "b": False}
            assert brokers.is_alive
        finally:
            brokers.stop()


@pytest.mark.parametrize("protocol", ["auto", "3.1.1"])
def test_a_broker_of_version_3_is_spoken_to_in_its_version(
    broker: Broker, counts: Counts, receivers: list[MqttReceiver], protocol: str
) -> None:
    receiver = start(receivers, broker, counts, protocol=protocol)
    if protocol == "auto":
        assert accept_v3(broker.connection())[6] == 5
    connection = broker.connection()
    connect = accept_v3(connection)
    assert (connect[6], connect[7] & 2) == (4, 0), "version 4, and the session is kept"
    wait_until(lambda: receiver.connected)
    publish_v3(connection, 7, b"\x00\x01")
    taken = receiver.inbox.take(10)
    assert payloads(taken) == [b"\x00\x01"]
    receiver.acknowledge(taken)
    assert connection.puback() == 7


def test_a_broker_that_just_hangs_up_is_tried_in_the_other_version(
    broker: Broker, counts: Counts, receivers: list[MqttReceiver]
) -> None:
    receiver = start(receivers, broker, counts)
    versions = []
    for _ in range(4):
        connection = broker.connection()
        _, connect = connection.packet()
        versions.append(connect[6])
        if connect[6] == 4:
            connection.send_raw(b"\x20\x02\x00\x00")
            _, subscribe = connection.packet()
            connection.send_raw(b"\x90\x05" + subscribe[:2] + b"\x01\x01\x01")
        else:
            connection.close()
    assert versions == [5, 5, 5, 4]
    wait_until(lambda: receiver.connected)


def test_who_insists_on_version_5_gets_no_other(broker: Broker, counts: Counts, receivers: list[MqttReceiver]) -> None:
    receiver = start(receivers, broker, counts, protocol="5")
    assert [accept_v3(broker.connection())[6] for _ in range(4)] == [5, 5, 5, 5]
    wait_until(lambda: receiver.fault == "broker refuses: Unsupported protocol version")


def test_quality_of_service_2_is_received_once_it_is_durable(
    broker: Broker, counts: Counts, receivers: list[MqttReceiver]
) -> None:
    receiver = start(receivers, broker, counts, qos=2)
    connection = broker.connection()
    connection.accept(granted=b"\2\2\2")
    connection.send(0x34, len(TOPIC).to_bytes(2) + TOPIC + b"\x00\x09\x00once")
    taken = receiver.inbox.take(10)
    assert payloads(taken) == [b"once"]
    receiver.acknowledge(taken)
    assert connection.packet() == (PUBREC, b"\0\x09")
    connection.send(0x62, b"\0\x09")
    assert connection.packet() == (PUBCOMP, b"\0\x09")


def test_what_a_broker_says_it_dropped_is_counted_and_logged(
    broker: Broker, counts: Counts, receivers: list[MqttReceiver]
) -> None:
    topic = b"$SYS/broker/publish/messages/dropped"
    with capture_logs() as logs:
        receiver = start(receivers, broker, counts, drop_counter_topic=topic.decode())
        connection = broker.connection()
        connection.accept()
        kind, subscribe = connection.packet()
        assert (kind, topic in subscribe) == (SUBSCRIBE, True)
        connection.send(0x90, subscribe[:2] + b"\0\x87")  # a refusal of this one is no fault
        wait_until(lambda: receiver.connected)
        for value in (b"40", b"40", b"47", b"nonsense", b"3"):
            connection.send(0x30, len(topic).to_bytes(2) + topic + b"\0" + value)
        wait_until(lambda: counts.broker("mqtt").dropped == 10)
    assert [log["messages"] for log in logs if log["event"] == "mqtt_broker_dropped"] == [7, 3]
    assert counts.broker("mqtt").received == 0


def test_a_full_inbox_stops_reading_and_the_connection_lives_on(
    broker: Broker, counts: Counts, receivers: list[MqttReceiver]
) -> None:
    inbox = Inbox(2, 1_000_000)
    receiver = start(receivers, broker, counts, inbox, keepalive_s=1)
    connection = broker.connection()
    connection.accept()
    wait_until(lambda: receiver.connected)
    connection.publish(1, b"1")
    connection.publish(2, b"2")
    wait_until(lambda: inbox.is_full)
    connection.publish(3, b"3")
    for _ in range(2):  # longer than the keepalive: without reading, nobody answers a ping
        assert connection.packet()[0] == PINGREQ
    time.sleep(0.2)
    assert len(inbox) == 2
    assert receiver.connected
    assert payloads(inbox.take(0)) == [b"1", b"2"]
    assert payloads(inbox.take(10)) == [b"3"]
    assert receiver.connected
    assert counts.broker("mqtt").connections == 1


def test_the_acknowledgements_of_a_chunk_leave_in_one_piece_in_order(
    broker: Broker, counts: Counts, receivers: list[MqttReceiver]
) -> None:
    receiver = start(receivers, broker, counts, Inbox(1_000, 1_000_000))
    connection = broker.connection()
    connection.accept()
    connection.publish_together(500)
    taken: list[Delivery] = []
    while sum(each.count for each in taken) < 500:
        taken += receiver.inbox.take(10)
    receiver.acknowledge(taken)
    assert [connection.packet() for _ in range(500)] == [(PUBACK, n.to_bytes(2)) for n in range(1, 501)]
