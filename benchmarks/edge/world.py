"""The servers of an edge benchmark, the agent as a process of its own, and what both use."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import psutil
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks import prometheus
from local import observe, ports
from local.processes import Processes
from local.servers.apache_kafka import ApacheKafka
from local.servers.base import Server
from local.servers.kafka import Tansu
from local.servers.mqtt import Mosquitto
from wire import topics

GATEWAY: Final = "bench"
CLIENT_ID: Final = f"fleetfold-edge-{GATEWAY}"
BRIDGE_TOPIC: Final = "bench.mq-bridge"
PARTITIONS: Final = 4
_POLL_S: Final = 0.02

_MOSQUITTO: Final = """\
listener {port} 127.0.0.1
allow_anonymous true
persistence false
max_queued_messages 0
max_queued_bytes 0
max_inflight_messages 0
set_tcp_nodelay true
log_dest none
"""


class BenchMosquitto(Mosquitto):
    """Queues without limit and in memory, so that no other disk than the agent's is measured."""

    def prepare(self) -> None:
        self._configuration.write_text(_MOSQUITTO.format(port=self.port))


class BenchError(Exception):
    """A measurement that did not come to its end."""


def wait(condition: Callable[[], bool], limit_s: float, what: str) -> None:
    """Poll until it holds. Raises BenchError."""
    deadline_s = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline_s:
            raise BenchError(f"not within {limit_s:.0f} s: {what}")
        time.sleep(_POLL_S)


class World:
    """Use as a context manager."""

    def __init__(self, directory: Path, kafka: str) -> None:
        self.directory = directory
        self._stack = contextlib.ExitStack()
        processes = self._stack.enter_context(Processes())
        self.processes = processes
        self.mqtt: Server = self._stack.enter_context(BenchMosquitto(processes, directory / "mqtt"))
        server = ApacheKafka if kafka == "apache" else Tansu
        self.kafka: Server = self._stack.enter_context(server(processes, directory / "kafka"))
        names = {spec.name: spec.partitions or PARTITIONS for spec in topics.KAFKA_TOPICS}
        create_topics(self.kafka.url, names | {BRIDGE_TOPIC: PARTITIONS})

    def __enter__(self) -> "World":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextlib.contextmanager
    def agent(self, spool: str, **settings: str) -> Iterator["Agent"]:
        """The agent on a spool directory, running; it answers when the block begins, and has just begun to connect."""
        agent = Agent(self, self.directory / spool, settings)
        try:
            yield agent
        finally:
            agent.child.terminate()
            if agent.child.wait(20) is None:
                agent.child.kill()


class Agent:
    """`fleetfold-edge run`."""

    def __init__(self, world: World, spool: Path, settings: dict[str, str]) -> None:
        self._port = ports.free_port()
        started_s = time.monotonic()
        environment = {
            "MQTT_URL": world.mqtt.url,
            "KAFKA_BOOTSTRAP_SERVERS": world.kafka.url,
            "FLEETFOLD_EDGE__GATEWAY": GATEWAY,
            "FLEETFOLD_EDGE__SPOOL__DIRECTORY": str(spool),
            "FLEETFOLD_EDGE__HTTP__PORT": str(self._port),
            **{f"FLEETFOLD_EDGE__{name}": value for name, value in settings.items()},
        }
        command = [sys.executable, "-m", "edge", "run"]
        self.child = world.processes.start("edge", command, spool.with_suffix(".log"), environment)
        self._process = psutil.Process(self.child.pid)
        wait(lambda: bool(self.health()) or self.child.exit_code is not None, 30, "the agent answers")
        if self.child.exit_code is not None:
            raise BenchError(f"the agent ended: {self.child.last_lines()}")
        self.start_s = time.monotonic() - started_s

    def health(self) -> dict[str, Any]:
        """`/healthz`; empty while nobody answers."""
        return dict(observe.health(self._port) or {})

    def metric(self, name: str) -> float:
        """The sum over the labels of a metric."""
        return prometheus.totals(self._port).get(f"fleetfold_edge_{name}", 0.0)

    @property
    def cpu_s(self) -> float:
        """Of all its threads, in user and system mode, since its start."""
        times = self._process.cpu_times()
        return float(times.user + times.system)

    @property
    def rss_mb(self) -> float:
        return float(self._process.memory_info().rss) / 1e6


def create_topics(bootstrap_servers: str, partitions: dict[str, int]) -> None:
    """Those that do not exist yet; visible on return."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})
    for future in admin.create_topics([NewTopic(name, count, 1) for name, count in partitions.items()]).values():
        future.result(30)
    wait(lambda: set(partitions) <= set(admin.list_topics(timeout=10).topics), 30, "topics")


def end_offsets(bootstrap_servers: str, topic: str) -> int:
    """Records in a topic."""
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": "bench", "log_level": 0})
    try:
        partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        return sum(consumer.get_watermark_offsets(each, timeout=10)[1] for each in partitions)
    finally:
        consumer.close()
