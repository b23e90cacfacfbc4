"""The agent between real servers whose wires, disk and processes fail when told to.

`make test-edge-chaos` sets the rounds: FLEETFOLD_EDGE_KILLS, FLEETFOLD_EDGE_BROKER_KILLS, FLEETFOLD_EDGE_KAFKA
(apache or tansu; only the former survives a kill) and FLEETFOLD_EDGE_SEED.
"""

import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from local import ports
from local.processes import Processes
from local.servers import apache_kafka, kafka, mqtt
from local.servers.base import Server
from tests import edge_chaos
from tests.edge_chaos import CHANNELS, Arrival, Device, Fleet, Gap
from tests.edge_world import Agent, Kafka
from tests.simulator_network import Wire

KILLS = int(os.environ.get("FLEETFOLD_EDGE_KILLS", "10"))
BROKER_KILLS = int(os.environ.get("FLEETFOLD_EDGE_BROKER_KILLS", "2"))
KAFKA = os.environ.get("FLEETFOLD_EDGE_KAFKA", "tansu")
SEED = int(os.environ.get("FLEETFOLD_EDGE_SEED") or random.randrange(2**32))
DISK_BYTES = 40_000_000


def say(text: str) -> None:
    """For people who watch, and to repeat a failure."""
    print(text, flush=True)  # noqa: T201 - as it says


class ProxiedTansu(kafka.Tansu):
    """Its clients go through a wire that can be cut."""

    wire: Wire

    def command(self) -> list[str]:
        line = super().command()
        line[line.index("--advertised-listener-url") + 1] = f"tcp://127.0.0.1:{self.wire.port}"
        return line


class ProxiedApache(apache_kafka.ApacheKafka):
    """The same; survives a kill."""

    wire: Wire

    def prepare(self) -> None:
        super().prepare()
        old, new = (f"advertised.listeners=PLAINTEXT://{ports.HOST}:{port}" for port in (self.port, self.wire.port))
        self._properties.write_text(self._properties.read_text().replace(old, new))


class World:
    """Real servers, wires between them and the agent, a disk that can be filled, and devices."""

    def __init__(
        self, agent: Agent, fleet: Fleet, broker: Server, bus: Server, wires: dict[str, Wire], disk: Path | None
    ) -> None:
        self.agent, self.fleet, self.broker, self.bus, self.wires, self.disk = agent, fleet, broker, bus, wires, disk
        self.chance = random.Random(SEED)
        self.done: Counter[str] = Counter()
        self.deaths_ms: list[float] = []
        """When the agent had been killed."""

    @property
    def look(self) -> Kafka:
        return Kafka(f"127.0.0.1:{self.wires['kafka'].port}", self.agent.gateway)

    def arrivals(self, channel: str) -> list[Arrival]:
        """In the order of each partition."""
        values = (each.value() or b"" for each in self.look.messages(f"fleet.{channel}.v1"))
        return edge_chaos.arrivals(values, self.agent.gateway)

    def gaps(self) -> set[Gap]:
        letters = [each for channel in CHANNELS for each in self.look.messages(f"fleet.{channel}.v1.dlq")]
        return edge_chaos.gaps(((each.value() or b"", each.headers() or []) for each in letters), self.agent.gateway)

    def end_agent(self) -> None:
        """Kill it; what is received from now on meets another life's memory."""
        self.agent.kill()
        self.deaths_ms.append(time.time() * 1000)

    def kill_agent(self) -> None:
        self.end_agent()
        time.sleep(self.chance.choice([0, 0, 0.1, 0.5]))
        self.agent.launch()

    def kill_broker(self) -> None:
        """Mosquitto acknowledges before it has saved: devices are silent and it has saved before it dies."""
        if self.fleet.hush(20):
            os.kill(self.broker.pid, signal.SIGUSR1)
            time.sleep(0.5)
            self.broker.kill()
            time.sleep(self.chance.uniform(0, 0.5))
            self.broker.start()
        self.fleet.speak()

    def kill_kafka(self) -> None:
        self.bus.kill()
        time.sleep(self.chance.uniform(0, 2))
        self.bus.start()

    def cut(self) -> None:
        self.chance.choice(list(self.wires.values())).cut()

    def stall(self) -> None:
        wire = self.chance.choice(list(self.wires.values()))
        wire.stop()
        time.sleep(self.chance.uniform(0.2, 4))
        wire.go_on()

    def fill_disk(self) -> None:
        assert self.disk is not None
        filler = self.disk / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(65_536))
        time.sleep(self.chance.uniform(0.2, 1.5))
        if self.chance.random() < 0.5:
            self.kill_agent()
            time.sleep(1)
        filler.unlink()

    def faults(self) -> list[Callable[[], None]]:
        """In the order in which they happen."""
        others = [self.cut, self.stall] + ([self.fill_disk] if self.disk is not None else [])
        plan: list[Callable[[], None]] = [self.kill_agent] * KILLS
        plan += [self.chance.choice(others) for _ in range(KILLS // 2)]
        plan += [self.kill_broker] * BROKER_KILLS
        plan += [self.kill_kafka] * (BROKER_KILLS if KAFKA == "apache" else 0)  # Tansu would forget everything
        self.chance.shuffle(plan)
        return plan


@contextlib.contextmanager
def opened(
    processes: Processes, directory: Path, bus: Server, small_disk: Path | None, device: type[Device], **settings: str
) -> Iterator[World]:
    """`bus` is a ProxiedTansu or ProxiedApache. Skips without mosquitto."""
    if mqtt.installed_mosquitto() is None:
        pytest.skip("needs mosquitto, which keeps sessions and queued messages")
    assert isinstance(bus, ProxiedTansu | ProxiedApache)
    kafka_url = f"127.0.0.1:{bus.wire.port}"
    with (
        mqtt.Mosquitto(processes, directory / "mqtt", ports.free_port()) as broker,
        Wire(broker.url) as wire,
        Agent(processes, directory, wire.url, kafka_url) as agent,
    ):
        if small_disk is not None:
            agent.spool = small_disk / "spool"
        agent.settings |= {
            "FLEETFOLD_EDGE__SPOOL__DIRECTORY": str(agent.spool),
            "FLEETFOLD_EDGE__SPOOL__SEGMENT_BYTES": "1048576",
            "FLEETFOLD_EDGE__SPOOL__BYTES_MAX": "30000000",
            "FLEETFOLD_EDGE__SPOOL__CHECKPOINT_INTERVAL_MS": "200",
            "FLEETFOLD_EDGE__KAFKA__STALL_TIMEOUT_MS": "5000",
            "FLEETFOLD_EDGE__MQTT__KEEPALIVE_S": "5",
            "FLEETFOLD_EDGE__UPLOAD__BACKLOG_AGE_S_MIN": "1",
            **settings,
        }
        Kafka(kafka_url, agent.gateway).create_topics()
        agent.start()
        fleet = Fleet(broker.url, 5, random.Random(SEED), rate=25, device=device)
        try:
            yield World(agent, fleet, broker, bus, {"mqtt": wire, "kafka": bus.wire}, small_disk)
        finally:
            fleet.close()


def heal(world: World) -> None:
    """Let everything work again and wait until nothing is on its way."""
    for wire in world.wires.values():
        wire.go_on()
    assert world.fleet.hush(60), "the broker takes what devices say"
    world.end_agent()
    world.agent.start()
    world.agent.wait_drained(limit_s=120)
    time.sleep(2)  # mosquitto may have more for us once its window moved on
    world.agent.wait_drained(limit_s=120)
