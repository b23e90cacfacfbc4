"""The MQTT side over TLS with a client certificate."""

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from edge.clock import SystemClock
from edge.config import EdgeMqttSettings
from edge.counts import Counts
from edge.inbox import Received
from edge.mqtt import MqttReceiver
from tests.edge_broker import Broker
from tests.edge_world import wait_until


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ca.pem, and server and edge with their keys."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("needs the openssl program to make certificates")
    directory = tmp_path_factory.mktemp("certificates")

    def openssl(*words: str) -> None:
        subprocess.run([program, *words], cwd=directory, check=True, capture_output=True, timeout=60)

    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl("req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=ca")
    for name in ("server", "edge"):
        extensions = directory / f"{name}.ext"
        extensions.write_text("subjectAltName = IP:127.0.0.1\n")
        openssl("req", *new_key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        openssl(
            "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-out", f"{name}.pem", "-days", "2", "-extfile", extensions.name,
        )  # fmt: skip
    return directory


def server_context(certificates: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    context.load_verify_locations(certificates / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def test_many_messages_in_one_tls_record_are_all_received_and_acknowledged(certificates: Path) -> None:
    with Broker(server_context(certificates)) as broker:
        settings = EdgeMqttSettings(
            url=broker.url,
            ca_file=certificates / "ca.pem",
            certificate_file=certificates / "edge.pem",
            key_file=certificates / "edge.key",
        )
        receiver = MqttReceiver(settings, "edge-1", SystemClock(), Counts())
        receiver.start()
        try:
            connection = broker.connection()
            connection.accept()
            connection.publish_together(200)
            messages: list[Received] = []
            while len(messages) < 200:
                taken = receiver.take(10)
                assert taken, len(messages)
                messages += taken
            receiver.acknowledge(messages)
            assert [connection.puback() for _ in range(200)] == list(range(1, 201))
        finally:
            receiver.stop()


# paho leaves the socket of a failed handshake to the garbage collector, which warns
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_server_of_another_authority_is_not_trusted(certificates: Path) -> None:
    with Broker(server_context(certificates)) as broker:
        settings = EdgeMqttSettings(url=broker.url, reconnect_backoff_ms_min=10, reconnect_backoff_ms_max=20)
        receiver = MqttReceiver(settings, "edge-1", SystemClock(), Counts())
        receiver.start()
        try:
            with pytest.raises(OSError, match=r"(?i)certificate|alert|EOF"):
                broker.connection()
            wait_until(lambda: "CERTIFICATE_VERIFY_FAILED" in (receiver.fault or ""))
            assert not receiver.connected
        finally:
            receiver.stop()
