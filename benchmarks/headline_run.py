"""One headline run, start to end: servers, services, fleet; measure; drain; verify. Real programs, each a process."""

import json
import math
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import pymongo

from benchmarks import headline_plan, headline_watch, prometheus
from benchmarks.headline_plan import Plan
from benchmarks.headline_watch import Age, Moment, Stale, Watcher
from local import apart, observe, programs, system, waiting
from local.processes import Child, Processes
from runtime import exits

IN_BROKER: Final = "MQTT broker"
IN_SPOOL: Final = "agent's spool"
IN_KAFKA: Final = "Kafka"
"""Hops where messages wait; in Kafka counted as records, each with one or more messages of an asset."""

_DRAIN_LIMIT_S: Final = 300.0
_VERIFY_LIMIT_S: Final = 600.0
_STILL_S: Final = 2.0
_END_LIMIT_S: Final = 300.0


def _metrics(*ports: int) -> dict[str, float]:
    """Of services that may be away for a moment: empty then."""
    try:
        return prometheus.totals(*ports)
    except OSError:
        return {}


class FellBehindError(Exception):
    """The run was given up, since the machine clearly does not keep up: `age_s` is how old twins typically are."""

    def __init__(self, age_s: float) -> None:
        super().__init__("given up, age of twins")
        self.age_s = age_s


class Outcome(NamedTuple):
    """What was measured, and what the oracle says."""

    plan: Plan
    moments: list[Moment]
    ages: list[Age]
    stale: list[Stale]
    simulator: dict[str, Any]
    """The simulator's own summary, for all of its run."""
    drained_s: float | None
    """After the fleet's last message; None: not within the limit."""
    verdict: dict[str, Any]
    verify_s: float


def run(
    plan: Plan, directory: Path, stop: threading.Event, say: Callable[[str], None], age_s_max: float = math.inf
) -> Outcome:
    """Do it. Raises what `local.system` raises, and InterruptedByUserError; leaves no process behind.

    FellBehindError when twins are typically older than `age_s_max` when they are seen.
    """
    with Processes() as owner:
        own = apart.settings()
        own = own._replace(environment={**own.environment, **plan.system, **plan.fleet})
        endpoints = system.start_servers(owner, directory, plan.brokers, stop)
        say("MQTT, Kafka and MongoDB are up")
        running = system.start_services(owner, directory, endpoints, own, stop)
        client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(endpoints.mongodb_uri)
        with client:
            return _Run(plan, owner, running, client, directory / "truth", stop, say).go(age_s_max)


class _Run:
    def __init__(
        self,
        plan: Plan,
        owner: Processes,
        running: system.System,
        client: "pymongo.MongoClient[dict[str, Any]]",
        truth: Path,
        stop: threading.Event,
        say: Callable[[str], None],
    ) -> None:
        self._plan, self._owner, self._running = plan, owner, running
        self._client, self._truth = client, truth
        self._stop, self._say = stop, say
        self._used: tuple[float, dict[str, float]] = (time.monotonic(), {})
        twins = client[running.own.database]["twins"]
        self._watcher = Watcher(lambda: owner.running, self._hops, twins, plan.interval_s)

    def go(self, age_s_max: float) -> Outcome:
        plan = self._plan
        fleet = self._running.programs.start(plan.drive(str(self._truth)))
        self._say(f"{plan.vehicles:,} vehicles switch on in {plan.ramp_s} s")
        self._wait_while(fleet, plan.warm_up_s, "switching on")
        self._watcher.begin()
        try:
            self._wait_while(fleet, plan.duration_s, "measuring", age_s_max)
        finally:
            self._watcher.end()
        ended_s = self._end(fleet)
        drained_s = self._drain(ended_s)
        self._say("verifying")
        began_s = time.monotonic()
        code, output = self._running.programs.run(headline_plan.verify(str(self._truth)), _VERIFY_LIMIT_S)
        if code not in (exits.OK, exits.FAILED):
            raise programs.FailedError(f"the oracle ended with exit code {code}:\n{output[-2_000:]}")
        verify_s = time.monotonic() - began_s
        watcher = self._watcher
        return Outcome(
            plan=plan,
            moments=watcher.moments,
            ages=watcher.ages,
            stale=watcher.stale,
            simulator=json.loads(fleet.log_file.read_text().strip().splitlines()[-1]),
            drained_s=drained_s,
            verdict=json.loads(output.strip().splitlines()[-1]),
            verify_s=verify_s,
        )

    def _hops(self) -> dict[str, float]:
        """Counters of the hops, since the start, and what waits there now."""
        edge = _metrics(self._running.edge_port)
        cloud = _metrics(*self._running.cloud_ports)
        network = self._client.admin.command("serverStatus")["network"]
        sent = json.loads((self._truth / "progress.json").read_text())
        return {
            "sent_frames": sent["frames"],
            "sent_bytes": sent["sent_bytes"],
            "mqtt_payload_bytes": edge.get("fleetfold_edge_mqtt_received_bytes_total", 0.0),
            "spool_bytes": edge.get("fleetfold_edge_spool_written_bytes_total", 0.0),
            "kafka_bytes": edge.get("fleetfold_edge_kafka_sent_bytes_total", 0.0),
            "mongodb_bytes": float(network["bytesIn"]),
            "folded": cloud.get("fleetfold_cloud_messages_folded_total", 0.0),
            IN_BROKER: max(0.0, sent["acknowledged"] - edge.get("fleetfold_edge_mqtt_messages_received_total", 0.0)),
            IN_SPOOL: edge.get("fleetfold_edge_spool_records_undelivered", 0.0),
            IN_KAFKA: cloud.get("fleetfold_cloud_lag_records", 0.0),
        }

    def _wait_while(self, fleet: Child, seconds: float, what: str, age_s_max: float = math.inf) -> None:
        """Tell how it goes every few seconds. Raises FailedError when a process is gone, and FellBehindError."""
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0:
            waiting.pause(self._stop, min(10.0, left_s))
            self._running.programs.check()
            if fleet.exit_code is not None:
                raise programs.FailedError(f"the fleet ended with exit code {fleet.exit_code}:\n{fleet.last_lines()}")
            self._tell(what)
            if age_s_max < math.inf and (age_s := self._watcher.typical_age_s()) > age_s_max:
                raise FellBehindError(age_s)

    def _tell(self, what: str) -> None:
        now, before = self._snapshot(), self._used
        self._used = (now.at_s, {name: use.cpu_s for name, use in headline_watch.uses(self._owner.running).items()})
        passed_s = now.at_s - before[0]
        cores = {name: (cpu_s - before[1].get(name, 0.0)) / passed_s for name, cpu_s in self._used[1].items()}
        self._say(
            f"{what}: {now.sent.acknowledged:,} acknowledged to devices, {now.edge_count('undelivered'):,} in the "
            f"agent's spool, {now.cloud_count('lag_records'):,} records not yet folded; cores: "
            + ", ".join(f"{name} {share:.2f}" for name, share in cores.items())
        )

    def _end(self, fleet: Child) -> float:
        """The fleet says goodbye; when it was done."""
        if not waiting.until(lambda: fleet.exit_code is not None, _END_LIMIT_S, self._stop):
            raise programs.FailedError("the fleet does not end")
        return time.monotonic()

    def _drain(self, since_s: float) -> float | None:
        still_since_s: float | None = None
        while time.monotonic() < since_s + _DRAIN_LIMIT_S:
            self._running.programs.check()
            now = self._snapshot()
            if not now.drained:
                still_since_s = None
            elif still_since_s is None:
                still_since_s = now.at_s
            elif now.at_s - still_since_s >= _STILL_S:
                return still_since_s - since_s
            waiting.pause(self._stop, 0.5)
        return None

    def _snapshot(self) -> observe.Snapshot:
        return observe.Observer(self._running.edge_port, self._running.cloud_ports, [self._truth]).snapshot()
