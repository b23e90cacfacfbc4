"""All servers together: those that the environment names, the rest started side by side."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Literal, NamedTuple

from local import processes
from local.servers import apache_kafka, kafka, mongo, mqtt, named
from local.servers.base import Server

KafkaKind = Literal["tansu", "apache"]

_FOR_RUMQTTD: Final = {
    "FLEETFOLD_EDGE__MQTT__DROP_COUNTER_TOPIC": "",  # it breaks the connection of who asks for its counters
    "FLEETFOLD_EDGE__MQTT__READ_PAUSE_MS": "0",  # it sends 100 unacknowledged messages and waits: 500/s with the pause
}


class Endpoints(NamedTuple):
    """Where the servers answer."""

    mqtt_url: str
    kafka_bootstrap_servers: str
    mongodb_uri: str
    is_rumqttd: bool = False
    """Whether the MQTT broker is one that the agent must be gentle with."""

    @property
    def environment(self) -> dict[str, str]:
        """What every fleetfold process understands."""
        answers = {
            named.MQTT_URL: self.mqtt_url,
            named.KAFKA_BOOTSTRAP_SERVERS: self.kafka_bootstrap_servers,
            named.MONGODB_URI: self.mongodb_uri,
        }
        return {**answers, **_FOR_RUMQTTD} if self.is_rumqttd else answers


def kafka_server(owner: processes.Processes, directory: Path, kind: KafkaKind) -> Server:
    """The Kafka broker of `kind`, not started yet."""
    if kind == "apache":
        return apache_kafka.ApacheKafka(owner, directory)
    return kafka.Tansu(owner, directory)


class Brokers(NamedTuple):
    """Which brokers to start where the environment names none."""

    kafka_kind: KafkaKind = "tansu"
    mqtt_choice: mqtt.Choice = "auto"


def start(owner: processes.Processes, directory: Path, brokers: Brokers) -> Endpoints:
    """Start what the environment does not name, side by side.

    Raises ServerError when one does not come up; `owner` has then stopped the others.
    """
    pool = ThreadPoolExecutor(thread_name_prefix="start")
    try:
        mqtt_url = pool.submit(
            _url, named.mqtt_url, lambda: mqtt.broker(owner, directory / "mqtt", brokers.mqtt_choice)
        )
        bootstrap = pool.submit(
            _url, named.kafka_bootstrap_servers, lambda: kafka_server(owner, directory / "kafka", brokers.kafka_kind)
        )
        uri = pool.submit(_url, named.mongodb_uri, lambda: mongo.Mongod(owner, directory / "mongodb"))
        is_rumqttd = not os.environ.get(named.MQTT_URL) and mqtt.chosen(brokers.mqtt_choice) == "rumqttd"
        return Endpoints(mqtt_url.result(), bootstrap.result(), uri.result(), is_rumqttd)
    except BaseException:
        owner.stop_all()  # ends the waiting of the other threads
        raise
    finally:
        pool.shutdown()


def _url(from_environment: Callable[[], str | None], server: Callable[[], Server]) -> str:
    return from_environment() or server().start().url
