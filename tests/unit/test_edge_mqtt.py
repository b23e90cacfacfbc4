"""The MQTT side against a broker of ours that speaks byte by byte, so that it can misbehave."""

import struct
from collections.abc import Callable, Iterator

import pytest

from edge.clock import SystemClock
from edge.config import BrokerSettings
from edge.counts import Counts
from edge.inbox import Delivery, Inbox
from edge.mqtt import MqttReceiver
from tests.edge_broker import DISCONNECT, REFUSED, Broker
from tests.edge_world import wait_until


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as broker:
        yield broker


@pytest.fixture
def counts() -> Counts:
    return Counts()


@pytest.fixture
def receiver(broker: Broker, counts: Counts) -> Iterator[MqttReceiver]:
    settings = BrokerSettings(
        url=broker.url,
        reconnect_backoff_ms_min=10,
        reconnect_backoff_ms_max=50,
        receive_maximum=7,
        session_expiry_s=77,
        drop_counter_topic="",
    )
    receiver = MqttReceiver(settings, "edge-1", SystemClock(), counts.broker("mqtt"), Inbox(100, 1_000_000))
    receiver.start()
    yield receiver
    receiver.stop()
    assert not receiver.is_alive


def take(receiver: MqttReceiver, count: int = 1) -> list[Delivery]:
    deliveries: list[Delivery] = []
    while sum(delivery.count for delivery in deliveries) < count:
        taken = receiver.inbox.take(10)
        assert taken
        deliveries += taken
    return deliveries


def payloads(deliveries: list[Delivery]) -> list[bytes]:
    return [payload for each in deliveries for members in each.payloads.values() for payload in members]


def test_the_session_is_persistent_and_the_window_is_told(broker: Broker, receiver: MqttReceiver) -> None:
    connect = broker.connection().accept()
    assert connect[2:6] == b"MQTT"
    assert connect[6] == 5
    assert connect[7] & 0x02 == 0, "clean start"
    assert b"\x11" + (77).to_bytes(4, "big") in connect, "session expiry"
    assert b"\x21" + (7).to_bytes(2, "big") in connect, "receive maximum"
    assert connect.endswith(b"\x00\x06edge-1")
    wait_until(lambda: receiver.connected)


def test_acknowledgements_are_sent_in_the_order_given(broker: Broker, receiver: MqttReceiver) -> None:
    connection = broker.connection()
    connection.accept()
    for message_id in (5, 3, 9):
        connection.publish(message_id, b"x")
    messages = take(receiver, 3)
    receiver.acknowledge(messages)
    assert [connection.puback() for _ in range(3)] == [5, 3, 9]


def test_an_acknowledgement_never_crosses_to_another_connection(
    broker: Broker, receiver: MqttReceiver, counts: Counts
) -> None:
    first = broker.connection()
    first.accept()
    first.publish(1, b"old")
    old = take(receiver)
    first.close()
    second = broker.connection()
    second.accept(session_present=False)
    second.publish(1, b"new")
    new = take(receiver)
    assert [payloads(new), new[0].pubacks] == [[b"new"], [b"\0\1"]]
    receiver.acknowledge(old)
    wait_until(lambda: counts.acknowledgements_dropped == 1)
    assert counts.acknowledged == 0
    assert counts.sessions_lost == 1
    receiver.acknowledge(new)
    assert second.puback() == 1
    assert counts.acknowledged == 1


def test_topics_that_cannot_be_decoded_are_handed_on_and_can_be_acknowledged(
    broker: Broker, receiver: MqttReceiver
) -> None:
    connection = broker.connection()
    connection.accept()
    connection.publish(1, b"a", topic=b"dt/fleet/vehicle/\xff\xfe/signals")
    connection.publish(2, b"b", topic=b"dt/fleet/vehicle/a\0b/signals")
    connection.publish(3, b"c")
    messages = take(receiver, 3)
    assert payloads(messages) == [b"a", b"b", b"c"]
    receiver.acknowledge(messages)
    assert [connection.puback() for _ in range(3)] == [1, 2, 3]


def test_a_packet_with_broken_properties_is_handed_on_and_can_be_acknowledged(
    broker: Broker, receiver: MqttReceiver
) -> None:
    connection = broker.connection()
    connection.accept()
    topic = b"dt/fleet/vehicle/a/signals"
    connection.send(0x32, struct.pack(">H", len(topic)) + topic + b"\x00\x04" + b"\x03\xee\xee\xee" + b"payload")
    connection.publish(5, b"next")
    messages = take(receiver, 2)
    (odd,) = [odd for each in messages for odd in each.odd]
    assert odd.malformed is not None
    assert odd.payload.endswith(b"payload")
    assert payloads(messages) == [b"next"]
    receiver.acknowledge(messages)
    assert [connection.puback() for _ in range(2)] == [4, 5]


@pytest.mark.parametrize(
    "garbage", [b"\xf0\x00", b"\x32\x01\x00", b"\x30\xff\xff\xff\xff\xff", b"\x20\x01\x00", b"\x90\x00"]
)
def test_garbage_from_the_broker_leads_to_a_new_connection(
    broker: Broker, receiver: MqttReceiver, garbage: bytes
) -> None:
    connection = broker.connection()
    connection.accept()
    connection.send_raw(garbage)
    connection.close()
    again = broker.connection()
    again.accept()
    again.publish(1, b"works")
    assert payloads(take(receiver)) == [b"works"]


def test_an_exception_in_a_callback_is_counted_and_the_thread_goes_on(
    broker: Broker, receiver: MqttReceiver, counts: Counts, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = broker.connection()
    connection.accept()
    wait_until(lambda: receiver.connected)
    put: Callable[[Delivery], bool] = receiver.inbox.put

    def failing(delivery: Delivery) -> bool:
        monkeypatch.setattr(receiver.inbox, "put", put)
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(receiver.inbox, "put", failing)
    connection.publish(1, b"x")
    again = broker.connection()
    assert receiver.fault == "RuntimeError: a fault of ours"
    assert counts.mqtt_errors == 1
    again.accept(session_present=True)
    again.publish(1, b"x")
    assert payloads(take(receiver)) == [b"x"]
    wait_until(lambda: receiver.fault is None)


def test_a_refusal_is_told_and_tried_again(broker: Broker, receiver: MqttReceiver) -> None:
    broker.connection().accept(reason=REFUSED)
    again = broker.connection()
    assert receiver.fault == "broker refuses: Not authorized"
    assert not receiver.connected
    again.accept()
    wait_until(lambda: receiver.connected)


def test_a_refused_subscription_is_told(broker: Broker, receiver: MqttReceiver) -> None:
    broker.connection().accept(granted=b"\x01\x87\x01")
    wait_until(lambda: "subscription" in (receiver.fault or ""))
    assert receiver.fault == "broker refuses subscription to dt/fleet/+/+/events: Not authorized"
    assert not receiver.connected


def test_a_stop_sends_what_is_to_be_acknowledged_and_parts_in_order(broker: Broker, receiver: MqttReceiver) -> None:
    connection = broker.connection()
    connection.accept()
    connection.publish(6, b"x")
    receiver.acknowledge(take(receiver))
    receiver.stop()
    assert connection.puback() == 6
    assert connection.packet()[0] == DISCONNECT
