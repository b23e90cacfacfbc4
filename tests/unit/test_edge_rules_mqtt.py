"""Rules over MQTT against a broker that speaks byte by byte."""

from edge.config import EdgeMqttSettings
from edge.rules.desk import Offer
from edge.rules_mqtt import MqttRules
from tests.edge_broker import CONNECT, PUBACK, PUBLISH, SUBSCRIBE, Broker
from tests.edge_world import wait_until


def test_a_broker_that_knows_only_3_1_1_is_spoken_to_in_3_1_1_and_the_rules_arrive() -> None:
    with Broker() as broker:
        rules = MqttRules(EdgeMqttSettings(url=broker.url), "agent", "gw-7")
        rules.start()
        first = broker.connection()
        kind, connect = first.packet()
        assert (kind, connect[6]) == (CONNECT, 5)
        first.send(0x20, b"\0\1")  # [MQTT 3.1.1, 3.2.2.3] unacceptable protocol version
        wait_until(lambda: rules._is_refused_v5)
        assert rules.offers() == []
        second = broker.connection()
        _, connect = second.packet()
        assert connect[6] == 4
        assert b"agent-rules" in connect
        second.send(0x20, b"\0\0")
        kind, subscribe = second.packet()
        assert kind == SUBSCRIBE
        second.send(0x90, subscribe[:2] + b"\1\1")
        topic = b"cmd/gateways/rules"
        second.send(0x31, bytes([0, len(topic)]) + topic + b"version = 1")
        found: list[Offer] = []
        wait_until(lambda: bool(found.extend(rules.offers()) or found))
        assert found == [Offer("all", b"version = 1")]
        rules.close()


def test_a_withdrawal_is_acknowledged_once_it_is_stored_and_on_its_own_connection() -> None:
    """A broker keeps no empty message: acknowledged and forgotten, the old rules would count for ever."""
    topic = b"cmd/gateways/rules"
    withdrawal = bytes([0, len(topic)]) + topic + b"\0\7"
    with Broker() as broker:
        rules = MqttRules(EdgeMqttSettings(url=broker.url, protocol="3.1.1"), "agent", "gw-7")
        rules.start()
        for stored_late in (True, False):
            connection = broker.connection()
            connection.packet()
            connection.send(0x20, b"\1\0")
            _, subscribe = connection.packet()
            connection.send(0x90, subscribe[:2] + b"\1\1")
            connection.send(0x32, withdrawal)
            found: list[Offer] = []
            wait_until(lambda found=found: bool(found.extend(rules.offers()) or found))
            assert found == [Offer("all", None)]
            if stored_late:
                connection.close()
            else:
                rules.publish(b"{}")  # goes first: nothing was acknowledged before
                assert connection.packet()[0] == PUBLISH
                rules.stored()
                assert connection.packet() == (PUBACK, b"\0\7")
        rules.close()
