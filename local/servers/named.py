"""Servers that the environment names: used as they are, never started, stopped or configured by us."""

import os
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from local.servers import kafka, mongo, mqtt
from local.servers.base import ServerError

MQTT_URL: Final = "MQTT_URL"
KAFKA_BOOTSTRAP_SERVERS: Final = "KAFKA_BOOTSTRAP_SERVERS"
MONGODB_URI: Final = "MONGODB_URI"


class UnreachableError(ServerError):
    """A named server gives no answer. The message never repeats a URI, which may hold credentials."""


def mqtt_url() -> str | None:
    """The MQTT broker that the environment names, if any. Raises UnreachableError."""
    return _checked(MQTT_URL, _mqtt_answers)


def kafka_bootstrap_servers() -> str | None:
    """The Kafka brokers that the environment names, if any. Raises UnreachableError."""
    return _checked(KAFKA_BOOTSTRAP_SERVERS, kafka.answers)


def mongodb_uri() -> str | None:
    """The MongoDB that the environment names, if any. Raises UnreachableError."""
    return _checked(MONGODB_URI, mongo.answers)


def _checked(name: str, answers: Callable[[str], bool]) -> str | None:
    value = os.environ.get(name)
    if not value:
        return None
    if not answers(value):
        raise UnreachableError(f"{name} is set, but no server answers there")
    return value


def _mqtt_answers(url: str) -> bool:
    """A TLS listener is only connected to by the services, which have its certificates."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        return False
    if parts.scheme == "mqtts":
        return mqtt.listens(parts.hostname or "", port or 8883)
    return mqtt.answers(parts.hostname or "", port or 1883)
