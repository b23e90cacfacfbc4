"""The MQTT side over TLS with a client certificate."""

import ssl
from pathlib import Path

import pytest

from edge.clock import SystemClock
from edge.config import BrokerSettings
from edge.counts import BrokerCounts
from edge.inbox import Delivery, Inbox
from edge.mqtt import MqttReceiver
from tests.certificates import Authority
from tests.edge_broker import Broker
from tests.edge_world import wait_until


@pytest.fixture(scope="module")
def certificates(authority: Authority) -> Path:
    """ca.pem, and server and edge with their keys."""
    for name in ("server", "edge"):
        authority.issue(name)
    return authority.directory


def server_context(certificates: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    context.load_verify_locations(certificates / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def test_many_messages_in_one_tls_record_are_all_received_and_acknowledged(certificates: Path) -> None:
    with Broker(server_context(certificates)) as broker:
        settings = BrokerSettings(
            url=broker.url,
            drop_counter_topic="",
            ca_file=certificates / "ca.pem",
            certificate_file=certificates / "edge.pem",
            key_file=certificates / "edge.key",
        )
        receiver = MqttReceiver(settings, "edge-1", SystemClock(), BrokerCounts(), Inbox(1_000, 1_000_000))
        receiver.start()
        try:
            connection = broker.connection()
            connection.accept()
            connection.publish_together(200)
            messages: list[Delivery] = []
            while sum(delivery.count for delivery in messages) < 200:
                taken = receiver.inbox.take(10)
                assert taken, len(messages)
                messages += taken
            receiver.acknowledge(messages)
            assert [connection.puback() for _ in range(200)] == list(range(1, 201))
        finally:
            receiver.stop()


def test_a_certificate_renewed_on_disk_is_used_by_the_next_connection(certificates: Path, authority: Authority) -> None:
    with Broker(server_context(certificates)) as broker:
        authority.issue("renewed", common_name="before")
        settings = BrokerSettings(
            url=broker.url,
            drop_counter_topic="",
            ca_file=authority.ca,
            certificate_file=authority.certificate("renewed"),
            key_file=authority.key("renewed"),
            reconnect_backoff_ms_min=10,
            reconnect_backoff_ms_max=20,
        )
        receiver = MqttReceiver(settings, "edge-1", SystemClock(), BrokerCounts(), Inbox(1_000, 1_000_000))
        receiver.start()
        try:
            first = broker.connection()
            first.accept()
            assert first.common_name == "before"
            authority.issue("renewed", common_name="after")
            first.close()
            second = broker.connection()
            second.accept()
            assert second.common_name == "after"
        finally:
            receiver.stop()


# paho leaves the socket of a failed handshake to the garbage collector, which warns
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_server_of_another_authority_is_not_trusted(certificates: Path) -> None:
    with Broker(server_context(certificates)) as broker:
        settings = BrokerSettings(url=broker.url, reconnect_backoff_ms_min=10, reconnect_backoff_ms_max=20)
        receiver = MqttReceiver(settings, "edge-1", SystemClock(), BrokerCounts(), Inbox(1_000, 1_000_000))
        receiver.start()
        try:
            with pytest.raises(OSError, match=r"(?i)certificate|alert|EOF"):
                broker.connection()
            wait_until(lambda: "CERTIFICATE_VERIFY_FAILED" in (receiver.fault or ""))
            assert not receiver.connected
        finally:
            receiver.stop()
