"""`make bench-edge`: the agent between a real mosquitto and a real Kafka broker, beside what it is measured by.

Two cores are shared by broker, agent and Kafka, so nobody publishes while the receiving side is measured: the sessions
of all receivers were filled before, with the same messages, and each is emptied in its turn. CPU time stands beside
the clock's.
"""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple

import typer
from rich.console import Console

from benchmarks import figures
from benchmarks.edge import backlog, mqtt_load, rivals, stages
from benchmarks.edge.world import CLIENT_ID, Agent, World, wait
from benchmarks.figures import Row
from local.servers.base import ServerError
from local.servers.mqtt import installed_mosquitto

LIMIT_ID: Final = "bench-limit"
_ASSETS: Final = 100
_WINDOW: Final = 65_535
_FRAME_BYTES: Final = 300
_LOOK_S: Final = 0.1
"""Fifty looks a second at an agent that drains cost it a fifth of its processor time (measured)."""


@dataclass(slots=True)
class Plan:
    """How much of everything."""

    messages: int
    paho_messages: int
    fleets: tuple[tuple[int, int], ...]
    """(devices, messages) of the agent's other runs."""
    staged: int
    backlog: int
    drains: int
    """How often the backlog is drained, each time beside produce-only."""
    rest_s: float


FULL: Final = Plan(300_000, 100_000, ((1_000, 200_000), (10_000, 100_000)), 100_000, 1_000_000, 5, 10.0)
SMOKE: Final = Plan(20_000, 5_000, (), 10_000, 100_000, 1, 2.0)


@dataclass(slots=True)
class Passage:
    """What one run of the agent from a filled session to Kafka was like."""

    per_s: float
    cpu_us: float
    rss_mb: float
    written_per_payload_byte: float
    wire_bytes: float


@dataclass(slots=True)
class Bench:
    """One run: figures in the order they were measured."""

    world: World
    plan: Plan
    rows: list[Row] = field(default_factory=list)
    prefix: str = ""
    """Of the names of the rows."""

    def add(
        self,
        name: str,
        value: float,
        unit: str,
        reference: float | None = None,
        target: str | None = None,
        met: Callable[[float], bool] | None = None,
    ) -> None:
        """`met` judges the ratio where there is a reference, else the value."""
        judged = value / reference if reference else value
        self.rows.append(Row(self.prefix + name, value, unit, reference, target, met(judged) if met else None))

    def run(self) -> None:
        """Everything."""
        port = self.world.mqtt.port
        sessions = [LIMIT_ID, CLIENT_ID, rivals.PAHO_ID]
        if rivals.bridge_is_installed():
            sessions.append(rivals.BRIDGE_ID)
        for session in sessions:
            mqtt_load.subscribe(port, session)
        say(f"filling {len(sessions)} sessions with {self.plan.messages} messages of {_ASSETS} devices")
        mqtt_load.fill(port, mqtt_load.packets(_ASSETS, self.plan.messages))
        limit_per_s = self._limit(port)
        passage = self._agent(limit_per_s)
        self._paho(port)
        self._bridge(passage)
        for session in sessions:
            if session != CLIENT_ID:
                mqtt_load.forget(port, session)
        for devices, messages in self.plan.fleets:
            self._fleet(devices, messages)
        self._stages()
        self._backlog()
        self._rest()

    def run_short(self) -> None:
        """What another Kafka may change."""
        port = self.world.mqtt.port
        for session in (LIMIT_ID, CLIENT_ID):
            mqtt_load.subscribe(port, session)
        mqtt_load.fill(port, mqtt_load.packets(_ASSETS, self.plan.messages))
        limit_per_s = self._limit(port)
        mqtt_load.forget(port, LIMIT_ID)
        say("the agent")
        with self.world.agent("spool-first") as agent:
            passage = pass_through(agent, self.plan.messages)
        self.add("agent, end to end", passage.per_s, "msg/s", limit_per_s, "≥ 0.5", lambda ratio: ratio >= 0.5)
        self.add("agent, CPU of all threads", passage.cpu_us, "µs/msg")
        self._backlog()

    def _limit(self, port: int) -> float:
        say("receive-only")
        count = self.plan.messages
        seconds, cpu_s, _ = mqtt_load.drain(port, LIMIT_ID, count, _WINDOW)
        self.add("receive-only limit", count / seconds, "msg/s")
        self.add("receive-only limit, CPU", cpu_s / count * 1e6, "µs/msg")
        return count / seconds

    def _agent(self, limit_per_s: float) -> Passage:
        say("the agent")
        with self.world.agent("spool-first") as agent:
            passage = pass_through(agent, self.plan.messages)
        self.add("agent, end to end", passage.per_s, "msg/s", limit_per_s, "≥ 0.5", lambda ratio: ratio >= 0.5)
        self.add("agent, CPU of all threads", passage.cpu_us, "µs/msg")
        self.add("agent, messages per CPU second", 1e6 / passage.cpu_us, "msg/s", limit_per_s)
        self.add("agent, RSS", passage.rss_mb, "MB", None, "< 80", lambda value: value < 80)
        self.add("agent, written to disk per payload byte", passage.written_per_payload_byte, "B/B")
        self.add("agent, to Kafka on the wire", passage.wire_bytes, "B/msg", float(_FRAME_BYTES))
        return passage

    def _paho(self, port: int) -> None:
        say("paho alone")
        rate = rivals.paho_alone(port, self.plan.paho_messages)
        self.add("paho alone, receive only", rate.per_s, "msg/s")
        self.add("paho alone, CPU", rate.cpu_us, "µs/msg")

    def _bridge(self, passage: Passage) -> None:
        if not rivals.bridge_is_installed():
            say("mq-bridge is not installed (pip install mq-bridge): left out")
            return
        say("mq-bridge")
        rate, arrived = rivals.bridge(self.world, self.plan.messages, limit_s=40)
        self.add("mq-bridge, end to end", rate.per_s, "msg/s")
        self.add("mq-bridge, CPU", rate.cpu_us, "µs/msg")
        self.add("mq-bridge, messages delivered", arrived, "msg", float(self.plan.messages))
        self.add("agent beside mq-bridge", passage.per_s, "msg/s", rate.per_s, "≥ 3", lambda ratio: ratio >= 3)

    def _fleet(self, devices: int, messages: int) -> None:
        say(f"the agent with {devices} devices")
        mqtt_load.subscribe(self.world.mqtt.port, LIMIT_ID)
        mqtt_load.fill(self.world.mqtt.port, mqtt_load.packets(devices, messages))
        seconds, _, _ = mqtt_load.drain(self.world.mqtt.port, LIMIT_ID, messages, _WINDOW)
        mqtt_load.forget(self.world.mqtt.port, LIMIT_ID)
        with self.world.agent(f"spool-{devices}") as agent:
            passage = pass_through(agent, messages)
        self.add(f"agent, {devices} devices", passage.per_s, "msg/s", messages / seconds)
        self.add(f"agent, {devices} devices, CPU", passage.cpu_us, "µs/msg")
        self.add(f"agent, {devices} devices, RSS", passage.rss_mb, "MB", None, "< 80", lambda value: value < 80)

    def _stages(self) -> None:
        say("stages")
        found = stages.measure(self.world.directory / "spool-stages", self.world.kafka.url, _ASSETS, self.plan.staged)
        for stage, cpu_us in found.items():
            self.add(f"stage {stage}", cpu_us, "CPU µs/msg")

    def _backlog(self) -> None:
        """Of several rounds that whose ratio is in the middle: a broker on a JVM becomes faster with each."""
        say(f"a backlog of {self.plan.backlog} messages, {self.plan.drains} times")
        filled = self.world.directory / "spool-filled"
        backlog.fill(filled, _ASSETS, self.plan.backlog)
        made, messages = backlog.parcels(filled)
        rounds: list[tuple[float, Drained]] = []
        for number in range(self.plan.drains):
            spool = shutil.copytree(filled, self.world.directory / f"spool-backlog-{number}")
            os.sync()
            produce_per_s = backlog.produce_only(self.world.kafka.url, made, messages, self.plan.backlog)
            with self.world.agent(spool.name) as agent:
                rounds.append((produce_per_s, drain(agent, self.plan.backlog)))
            shutil.rmtree(spool)
        rounds.sort(key=lambda each: each[1].per_s / each[0])
        produce_per_s, drained = rounds[len(rounds) // 2]
        rss_mb = max(each.rss_mb for _, each in rounds)
        self.add("produce only, the same batches", produce_per_s, "msg/s")
        self.add("backlog, spool to Kafka", drained.per_s, "msg/s", produce_per_s, "≥ 0.8", lambda ratio: ratio >= 0.8)
        self.add("backlog, from the agent's start to the last record", drained.seconds, "s")
        self.add("backlog, RSS at most", rss_mb, "MB", None, "< 80", lambda value: value < 80)

    def _rest(self) -> None:
        say("at rest, and at 100 messages a second")
        with self.world.agent("spool-rest") as agent:
            self.add("import and start, until it answers", agent.start_s, "s", None, "< 1", lambda value: value < 1)
            wait(lambda: bool(agent.health()["mqtt_connected"]), 30, "connected")
            time.sleep(1)
            idle = share(agent, self.plan.rest_s, None)
            self.add("idle, CPU", idle, "% of a core", None, "< 0.5", lambda value: value < 0.5)
            busy = share(agent, self.plan.rest_s, lambda: mqtt_load.trickle(self.world.mqtt.port, self.plan.rest_s))
            self.add("100 msg/s, CPU", busy, "% of a core", None, "< 1", lambda value: value < 1)


def run_on_apache_kafka(directory: Path, plan: Plan, rows: list[Row]) -> None:
    """The main figures again; none where it cannot run."""
    say("Apache Kafka")
    directory.mkdir()
    try:
        with World(directory, "apache") as world:
            Bench(world, plan, rows, prefix="Apache Kafka: ").run_short()
    except ServerError as error:
        say(f"{error}: left out")


def pass_through(agent: Agent, count: int) -> Passage:
    """Wait until `count` messages are in Kafka; the clock runs from the first look that saw any."""
    before: dict[str, float] = {}
    while not before.get("received"):
        time.sleep(0.005)
        before = agent.health()
    started_s, cpu_s, rss_mb = time.monotonic(), agent.cpu_s, 0.0
    state = before
    while state["delivered"] < count:
        time.sleep(0.05)
        state, rss_mb = agent.health(), max(rss_mb, agent.rss_mb)
        if time.monotonic() - started_s > 120:
            raise TimeoutError(f"{count} messages: {state}")
    seconds, cpu_s = time.monotonic() - started_s, agent.cpu_s - cpu_s
    moved = max(1, count - before["received"])
    time.sleep(1.1)  # librdkafka tells its bytes once a second
    return Passage(
        moved / seconds,
        cpu_s / moved * 1e6,
        rss_mb,
        agent.metric("spool_written_bytes_total") / agent.metric("mqtt_received_bytes_total"),
        agent.metric("kafka_sent_bytes_total") / count,
    )


class Drained(NamedTuple):
    """How a backlog went: the rate from the first confirmation to the last, the whole with the agent's and the client's
    start, the largest RSS."""

    per_s: float
    seconds: float
    rss_mb: float


def drain(agent: Agent, count: int) -> Drained:
    """Wait until `count` messages are in Kafka."""
    rss_mb, state = 0.0, agent.health()
    begun_s, first_s, first = time.monotonic() - agent.start_s, 0.0, 0
    while state["delivered"] < count:
        time.sleep(_LOOK_S)
        state, rss_mb = agent.health(), max(rss_mb, agent.rss_mb)
        if not first and state["delivered"]:
            first_s, first = time.monotonic(), state["delivered"]
        if time.monotonic() - begun_s > 120:
            raise TimeoutError(f"{count} messages: {state}")
    ended_s = time.monotonic()
    return Drained((count - first) / (ended_s - first_s), ended_s - begun_s, rss_mb)


def share(agent: Agent, seconds: float, load: Callable[[], None] | None) -> float:
    """Percent of a core that the agent needs."""
    started_s, cpu_s = time.monotonic(), agent.cpu_s
    if load is None:
        time.sleep(seconds)
    else:
        load()
    return (agent.cpu_s - cpu_s) / (time.monotonic() - started_s) * 100


def say(what: str) -> None:
    Console(stderr=True).print(f"{time.strftime('%H:%M:%S')} {what}", highlight=False)


def main(
    kafka: Annotated[Literal["tansu", "apache"], typer.Option(help="Which Kafka to start.")] = "tansu",
    out: Annotated[Path, typer.Option(help="Where the figures go, as JSON.")] = figures.DIRECTORY / "edge.json",
    smoke: Annotated[bool, typer.Option("--smoke", help="A small run: it proves the bench, not the speed.")] = False,
) -> None:
    """Measure the edge agent on this machine."""
    if installed_mosquitto() is None:
        say("mosquitto is not installed (Debian and Ubuntu: apt-get install mosquitto): nothing measured")
        raise typer.Exit(0 if smoke else 1)
    plan, rows = SMOKE if smoke else FULL, list[Row]()
    with tempfile.TemporaryDirectory(prefix="fleetfold-bench-", ignore_cleanup_errors=True) as directory:
        try:
            with contextlib.suppress(KeyboardInterrupt):
                with World(Path(directory), kafka) as world:
                    Bench(world, plan, rows).run()
                if kafka == "tansu" and not smoke:
                    run_on_apache_kafka(Path(directory) / "apache", plan, rows)
        except ServerError as error:
            say(str(error))
            raise typer.Exit(1) from error
    figures.show(f"edge agent, {kafka}, {_FRAME_BYTES}-byte messages at QoS 1, {_ASSETS} devices", rows)
    figures.write(out, rows)


if __name__ == "__main__":
    typer.run(main)
