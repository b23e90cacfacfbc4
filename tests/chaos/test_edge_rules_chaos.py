"""Collection rules that change while everything fails: what they keep is in Kafka, and what was acknowledged counts.

Rules come as retained messages or from a compacted topic, some faulty, some withdrawn again, with a kill -9 of the
agent close behind; disks run full. Whatever happens, twins stay within deadband and snapshot interval, captures are
whole and nothing else of their signals is sent, no frame is missing or out of order.
"""

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from local.processes import Processes
from local.servers.base import Server
from tests import edge_chaos, edge_chaos_world
from tests.edge_chaos_world import BROKER_KILLS, KAFKA, KILLS, SEED, World, heal, say
from tests.edge_rules_oracle import Driver, Oracle, Reign, Rules
from tests.edge_world import wait_until
from wire import topics

ROUNDS = max(3, KILLS // 4)
SETTLE_S = 5
FAULTY = b'{"version": "faulty", "rules": [{"name": "x", "kind": "vehicle", "mode": "capture", "condition": "1 +"}]}'

pytestmark = pytest.mark.timeout(7200)


class Told(NamedTuple):
    """A status, and when it was heard. `is_new`: not what the broker kept."""

    at_ms: float
    status: dict[str, Any]
    is_new: bool

    @property
    def version(self) -> int | None:
        """Of the set in force; None: none."""
        version: int | None = self.status.get("version")
        return version


class Operator(Protocol):
    """Publishes rules and hears which count."""

    told: list[Told]

    def publish(self, document: bytes) -> None:
        """Replace the rules; empty: withdraw them."""

    def close(self) -> None:
        """Hear no more."""


class MqttOperator:
    """By retained messages."""

    def __init__(self, url: str, gateway: str) -> None:
        self.told: list[Told] = []
        self._rules, self._status = f"cmd/gateway/{gateway}/rules", f"state/gateway/{gateway}/rules"
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
        self._client.on_message = self._on_message
        self._client.on_connect = lambda *_: self._client.subscribe(self._status, 1)
        self._client.reconnect_delay_set(0.1, 0.5)
        parts = urlsplit(url)
        self._client.connect(parts.hostname or "", parts.port or 1883)
        self._client.loop_start()

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        self.told.append(Told(time.time() * 1000, json.loads(message.payload), not message.retain))

    def publish(self, document: bytes) -> None:
        self._client.publish(self._rules, document, 1, retain=True).wait_for_publish(60)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


class KafkaOperator:
    """By a topic that is not compacted yet: each start of the agent reads all sets there ever were."""

    def __init__(self, bootstrap_servers: str, gateway: str) -> None:
        self.told: list[Told] = []
        self._gateway = gateway
        common = {"bootstrap.servers": bootstrap_servers, "log_level": 0, "reconnect.backoff.max.ms": 500}
        self._producer = Producer({**common, "acks": "all", "enable.idempotence": True})
        self._consumer = Consumer({**common, "group.id": f"operator-{gateway}", "enable.auto.commit": False})
        found = self._consumer.list_topics(topics.GATEWAY_RULES_STATUS, timeout=10).topics
        partitions = found[topics.GATEWAY_RULES_STATUS].partitions
        self._consumer.assign([TopicPartition(topics.GATEWAY_RULES_STATUS, each, 0) for each in partitions])
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        while not self._ends.is_set():
            message = self._consumer.poll(0.1)
            if message is not None and not message.error() and message.key() == self._gateway.encode():
                self.told.append(Told(time.time() * 1000, json.loads(message.value() or b""), is_new=True))

    def publish(self, document: bytes) -> None:
        self._producer.produce(topics.GATEWAY_RULES, document or None, self._gateway.encode())
        assert self._producer.flush(60) == 0

    def close(self) -> None:
        self._ends.set()
        self._thread.join()
        self._consumer.close()


def wait_told(operator: Operator, version: int | None, refused: bool = False) -> None:
    """Until this version is acknowledged, and stored."""

    def told() -> bool:
        last = operator.told[-1] if operator.told else None
        is_it = last is not None and last.version == version and last.status["stored"]
        return last is not None and is_it and bool(last.status.get("refused")) is refused

    wait_until(told, 150, f"version {version}: {operator.told[-3:]}")


@pytest.fixture(params=["mqtt", "kafka"])
def remote(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def world(processes: Processes, tmp_path: Path, bus: Server, small_disk: Path | None, remote: str) -> Iterator[World]:
    settings = {
        "FLEETFOLD_EDGE__RULES__REMOTE": remote,
        "FLEETFOLD_EDGE__RULES__POLL_INTERVAL_MS": "500",
        "FLEETFOLD_EDGE__RULES__SETTLE_S": str(SETTLE_S),
    }
    with edge_chaos_world.opened(processes, tmp_path, bus, small_disk, Driver, **settings) as world:
        yield world


@pytest.fixture
def operator(world: World, remote: str) -> Iterator[Operator]:
    gateway = world.agent.gateway
    operator: Operator = (
        MqttOperator(world.broker.url, gateway)
        if remote == "mqtt"
        else KafkaOperator(f"127.0.0.1:{world.wires['kafka'].port}", gateway)
    )
    yield operator
    operator.close()


class Story:
    """What was published when. `reigns` for the oracle; the last one is open."""

    def __init__(self, world: World, operator: Operator) -> None:
        self.world, self.operator, self.chance = world, operator, world.chance
        self.version: int | None = None
        self.reigns = [Reign(None, 0, float("inf"))]
        self.wrongly_told: list[str] = []
        self._numbers = itertools.count(1)
        self._seen = 0
        wait_told(operator, None)

    def change(self) -> None:
        """Publish something, kill the agent close behind or not, and wait until it says what counts now."""
        is_first = len(self.reigns) == 1
        weights = (1, 0, 0) if is_first else (7, 2, 1 if self.version is None else 3)
        kind = self.chance.choices(["rules", "faulty", "withdrawn"], weights)[0]
        self.watch_told()
        published_ms = time.time() * 1000
        old = self.version
        rules = None
        if kind == "rules":
            rules, self.version = Rules.some(self.chance), next(self._numbers)
            self.operator.publish(rules.document(self.version))
        elif kind == "faulty":
            self.operator.publish(FAULTY)
        else:
            self.version = None
            self.operator.publish(b"")
        for _ in range(self.chance.choice([0, 1, 1, 2])):
            time.sleep(self.chance.uniform(0, 1.2))
            self.world.kill_agent()
            self.world.done["kill behind a change"] += 1
        wait_told(self.operator, self.version, refused=kind == "faulty")
        self.world.done[kind] += 1
        if kind != "faulty" and (rules is not None or old is not None):
            self.reigns[-1] = self.reigns[-1]._replace(until_ms=time.time() * 1000)
            self.reigns.append(Reign(rules, published_ms, float("inf")))
        self._seen = len(self.operator.told)

    def watch_told(self) -> None:
        """Since a set was acknowledged no other may be told, whoever was killed since."""
        for told in self.operator.told[self._seen :]:
            if told.is_new and told.version != self.version:
                self.wrongly_told.append(f"{self.version} was acknowledged, then {told}")
        self._seen = len(self.operator.told)

    def faults(self) -> list[Callable[[], None]]:
        """Of one reign."""
        world = self.world
        kinds = [world.kill_agent, world.kill_agent, world.cut, world.stall]
        kinds += [world.fill_disk] * (world.disk is not None)
        return [self.chance.choice(kinds) for _ in range(self.chance.randint(1, 3))]


def test_what_rules_keep_comes_through_and_an_acknowledged_version_survives_kill_9(
    world: World, operator: Operator
) -> None:
    say(f"\nseed {SEED}: FLEETFOLD_EDGE_SEED={SEED} plans the same faults")
    started_s = time.monotonic()
    story = Story(world, operator)
    rare = [world.kill_broker] * (BROKER_KILLS // 2) + [world.kill_kafka] * (KAFKA == "apache" and BROKER_KILLS // 2)
    rare_rounds = dict(zip(world.chance.sample(range(ROUNDS), min(ROUNDS, len(rare))), rare, strict=False))
    for number in range(ROUNDS):
        story.change()
        for fault in [*story.faults(), *([rare_rounds[number]] if number in rare_rounds else [])]:
            time.sleep(world.chance.uniform(0.1, 1.5))
            fault()
            world.done[fault.__name__] += 1
        time.sleep(SETTLE_S + world.chance.uniform(1, 4))
        if number % 5 == 4:
            say(f"{number + 1} of {ROUNDS} rounds, {time.monotonic() - started_s:.0f} s")
    heal(world)
    story.watch_told()
    judge(world, story)
    say(f"{dict(world.done)} in {time.monotonic() - started_s:.0f} s")
    assert world.agent.metric("rules_failures_total") == 0
    assert world.agent.stop() == 0


def judge(world: World, story: Story) -> None:
    oracle = Oracle(story.reigns, world.deaths_ms)
    signals = world.arrivals("signals")
    frames: list[edge_chaos.Arrival] = []
    for car in world.fleet.devices:
        assert isinstance(car, Driver)
        frames += oracle.judge(car, [each for each in signals if each.asset_id == car.asset_id])
    lost = world.gaps()
    by_channel = {"signals": frames, "events": world.arrivals("events")}
    verdict = edge_chaos.judge(world.fleet.devices, by_channel, lost)
    found = oracle.found
    say(f"{verdict}; {found}; {len(story.reigns)} sets; gap records: {sorted(lost)}")
    assert not verdict.faults, "\n".join(verdict.faults[:20])
    assert verdict.named_lost == 0, "there was room"
    assert not found.faults, "\n".join(found.faults[:20])
    assert not story.wrongly_told, "\n".join(story.wrongly_told[:5])
    assert found.sure_frames > found.frames / 5
    assert found.speeds_withheld > 0, "the rules reduce"
    assert found.captured > 0
