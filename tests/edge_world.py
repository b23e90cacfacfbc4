"""What the agent's integration tests share: the agent as a process, a device, and a look into Kafka."""

import contextlib
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from confluent_kafka import Consumer, Message, TopicPartition
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties

from benchmarks import prometheus
from local import observe, ports
from local.processes import Child, Processes
from tests import kafka_topics
from wire import batches, topics
from wire.messages import Batch
from wire.records import DeadLetter


def wait_until(condition: Callable[[], bool], limit_s: float = 20.0, what: str = "") -> None:
    """Poll until it holds; fail when it does not in time."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {limit_s} s: {what}"
        time.sleep(0.02)


class Agent:
    """`fleetfold-edge run` with its own gateway id and spool; the same again after each `start`."""

    def __init__(self, processes: Processes, directory: Path, mqtt_url: str, kafka: str) -> None:
        self.gateway = f"gw-{secrets.token_hex(4)}"
        self.port = ports.free_port()
        self.spool = directory / "spool"
        self.log_file = directory / "agent.log"
        self.settings = {
            "MQTT_URL": mqtt_url,
            "KAFKA_BOOTSTRAP_SERVERS": kafka,
            "FLEETFOLD_EDGE__GATEWAY": self.gateway,
            "FLEETFOLD_EDGE__SPOOL__DIRECTORY": str(self.spool),
            "FLEETFOLD_EDGE__HTTP__PORT": str(self.port),
            "FLEETFOLD_EDGE__MQTT__RECONNECT_BACKOFF_MS_MIN": "50",
            "FLEETFOLD_EDGE__MQTT__RECONNECT_BACKOFF_MS_MAX": "200",
            "FLEETFOLD_EDGE__KAFKA__RECONNECT_BACKOFF_MS_MAX": "300",
            "FLEETFOLD_EDGE__STOP_TIMEOUT_MS": "3000",
        }
        self.command = [sys.executable, "-m", "edge", "run"]
        self._processes = processes
        self._child: Child | None = None

    @property
    def child(self) -> Child:
        assert self._child is not None
        return self._child

    def launch(self) -> Child:
        """Start without waiting for anything."""
        self._child = self._processes.start("edge", self.command, self.log_file, self.settings)
        return self._child

    def start(self) -> None:
        """Start and wait until it is connected to MQTT."""
        self.launch()
        wait_until(lambda: bool(self.health().get("mqtt_connected")), what=f"connected: {self.child.last_lines()}")

    def health(self) -> dict[str, Any]:
        """`/healthz`; empty while nobody answers."""
        return dict(observe.health(self.port) or {})

    def metric(self, name: str, **labels: str) -> float:
        """The value of a metric with these labels; of several the first."""
        found = prometheus.samples(self.port)
        return next(
            each.value
            for each in found
            if each.name == f"fleetfold_edge_{name}" and labels.items() <= each.labels.items()
        )

    def wait_drained(self, received: int = 0, limit_s: float = 30.0) -> None:
        """Wait until at least so many messages were received and all are in Kafka."""

        def drained() -> bool:
            state = self.health()
            return state.get("received", -1) >= received and state.get("undelivered") == 0 and state["queued"] == 0

        wait_until(drained, limit_s, f"drained: {self.health()}")

    def kill(self) -> None:
        """kill -9; nothing when it does not run."""
        if self._child is not None:
            self._child.kill()

    def __enter__(self) -> "Agent":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def stop(self) -> int | None:
        """SIGTERM; its exit code."""
        self.child.terminate()
        return self.child.wait(15)


def doctor(environment: dict[str, str], *words: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """`fleetfold-edge doctor` with this environment alone: exit code, and findings by check."""
    inherited = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME")}
    command = [sys.executable, "-m", "edge", "doctor", "--json", *words]
    done = subprocess.run(
        command, env={**inherited, **environment}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout, done.stderr
    return done.returncode, {found["check"]: found for found in json.loads(done.stdout)["findings"]}


@contextlib.contextmanager
def device(mqtt_url: str, **settings: Any) -> Iterator["Device"]:
    """A connected publisher."""
    publisher = Device(mqtt_url, **settings)
    try:
        yield publisher
    finally:
        publisher.close()


class Device:
    """Publishes with QoS 1 and knows what the broker acknowledged."""

    def __init__(self, mqtt_url: str) -> None:
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self._client.max_inflight_messages = 100
        host, port = mqtt_url.removeprefix("mqtt://").split(":")
        self._client.connect(host, int(port))
        self._client.loop_start()
        wait_until(self._client.is_connected, what="device connected")

    def publish(self, topic: str, *payloads: bytes, retain: bool = False, properties: Properties | None = None) -> None:
        """Publish and wait for the broker's acknowledgements."""
        infos = [self._client.publish(topic, each, 1, retain, properties) for each in payloads]
        for info in infos:
            info.wait_for_publish(20)
            assert info.is_published()

    def signals(self, asset_id: str, *numbers: int) -> None:
        """Signals whose payload names them."""
        self.publish(f"dt/fleet/vehicle/{asset_id}/signals", *(payload(number) for number in numbers))

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def payload(number: int) -> bytes:
    """Not a frame: the agent does not look inside."""
    return f"{number}:".encode() + b"x" * 100


class Entry(NamedTuple):
    """A payload as it lies in Kafka."""

    asset_id: str
    epoch: str
    sequence: int
    payload: bytes


class Kafka:
    """Reads what one gateway produced, from the beginning of each topic."""

    def __init__(self, bootstrap_servers: str, gateway: str) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._gateway = gateway

    def create_topics(self) -> None:
        """Those of the contract that do not exist yet."""
        kafka_topics.create(self._bootstrap_servers, {spec.name: spec.partitions or 4 for spec in topics.KAFKA_TOPICS})

    def messages(self, topic: str) -> list[Message]:
        """All records of a topic."""
        consumer = Consumer(
            {"bootstrap.servers": self._bootstrap_servers, "group.id": "look", "log_level": 0,
             "enable.auto.commit": False, "isolation.level": "read_uncommitted"}
        )  # fmt: skip
        try:
            partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
            bounds = {p: consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=10) for p in partitions}
            ends = {p: end for p, (_, end) in bounds.items()}
            left = {p: end for p, (begin, end) in bounds.items() if begin < end}  # other tests may have deleted some
            consumer.assign([TopicPartition(topic, p, begin) for p, (begin, _) in bounds.items()])
            found: list[Message] = []
            deadline = time.monotonic() + 20
            # Tansu may name an end before the last batch's: what it has is read until nothing comes any more.
            while ((several := consumer.consume(500, 0.3)) or left) and time.monotonic() < deadline:
                for message in several:
                    assert message.error() is None
                    found.append(message)
                    partition, offset = message.partition(), message.offset()
                    assert partition is not None
                    assert offset is not None
                    if offset + 1 >= ends[partition]:
                        left.pop(partition, None)
            assert not left, f"{topic} not read to its end"
            return found
        finally:
            consumer.close()

    def batches(self, topic: str = topics.FLEET_SIGNALS) -> list[Batch]:
        """Batches of this gateway, in order per partition."""
        decoded = [batches.decode(message.value() or b"") for message in self.messages(topic)]
        return [batch for batch in decoded if isinstance(batch, Batch) and batch.gateway == self._gateway]

    def entries(self, topic: str = topics.FLEET_SIGNALS) -> list[Entry]:
        """Payloads of this gateway, in order per asset."""
        return [
            Entry(batch.asset_id, batch.epoch, batch.first_sequence + offset, each)
            for batch in self.batches(topic)
            for offset, each in zip(batch.sequence_offsets, batch.payloads, strict=True)
        ]

    def numbers(self, asset_id: str, topic: str = topics.FLEET_SIGNALS) -> list[int]:
        """What `payload` was made of, in order of arrival."""
        return [int(entry.payload.split(b":")[0]) for entry in self.entries(topic) if entry.asset_id == asset_id]

    def letters(self, topic: str = topics.FLEET_SIGNALS) -> list[DeadLetter]:
        """Dead letters of this gateway."""
        read = [
            DeadLetter.read(message.value(), message.headers() or [])
            for message in self.messages(topics.dead_letter_topic(topic))
        ]
        return [letter for letter in read if self._gateway in letter.origin]
