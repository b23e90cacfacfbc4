"""The whole system on one machine, from devices to verified twins.

`_Demo.run` has the order: servers → topics → agent and twin service → people → fleet and recordings → watch
for the duration → stop the load → drain → verify → queries. Ctrl-C leaves it at any point; whatever the
point, `run` stops everything that was started.
"""

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from rich.console import Console

from local import apart, findings, observe, ports, programs, queries, services, view, waiting, watch
from local.processes import Child, Processes
from local.servers import stack
from runtime import exits

INTERRUPTED: Final = 130
"""Exit code after Ctrl-C or SIGTERM, as shells have it."""

_READY_LIMIT_S: Final = 60.0
_VERIFY_LIMIT_S: Final = 300.0
_LOAD_END_LIMIT_S: Final = 20.0


class Plan(NamedTuple):
    """What the person asked for. `duration_s` 0: until Ctrl-C, without verification."""

    fleet: services.Fleet
    duration_s: int
    recordings: Sequence[services.Recording]
    brokers: stack.Brokers
    plain: bool
    drain_limit_s: float


def run(plan: Plan, owner: Processes, directory: Path, console: Console, stop: threading.Event) -> int:
    """Run it; the exit code. Raises ServerError and programs.FailedError; stops all of `owner` in any case."""
    try:
        return _Demo(plan, owner, directory, console, stop).run()
    except waiting.InterruptedByUserError:
        return exits.OK if plan.duration_s == 0 else INTERRUPTED
    finally:
        owner.stop_all()


class _Demo:
    def __init__(self, plan: Plan, owner: Processes, directory: Path, console: Console, stop: threading.Event) -> None:
        self._plan, self._owner, self._directory = plan, owner, directory
        self._console, self._stop = console, stop
        self._began_s = time.monotonic()
        self._edge_port, self._cloud_port = ports.free_port(), ports.free_port()

    def run(self) -> int:
        endpoints = waiting.in_background(self._start_servers, self._stop, self._owner.stop_all)
        self._say(f"MQTT {endpoints.mqtt_url}  Kafka {endpoints.kafka_bootstrap_servers}")
        own = apart.settings()
        run = self._programs(endpoints, own)
        self._start_services(run, endpoints, own)
        truths, load = self._start_load(run)
        with self._watch(run, endpoints, own, truths) as seen:
            self._watch_load(run, seen, load)
            drained = seen.until_drained("draining", self._plan.drain_limit_s)
        self._say_times(seen)
        if not drained:
            self._console.print(_not_drained(seen.last, self._plan.drain_limit_s), style="bold red")
        return self._answer(run, endpoints, own, [self._truth("people"), *truths])

    def _start_servers(self) -> stack.Endpoints:
        return stack.start(self._owner, self._directory, self._plan.brokers)

    def _programs(self, endpoints: stack.Endpoints, own: apart.Settings) -> programs.Programs:
        environment = services.environment(
            endpoints.environment, self._directory / "spool", self._edge_port, self._cloud_port, own.environment
        )
        return programs.Programs(self._owner, self._directory / "logs", environment, self._stop)

    def _start_services(self, run: programs.Programs, endpoints: stack.Endpoints, own: apart.Settings) -> None:
        run.keep_up(services.AGENT)  # needs no topics yet: the spool waits
        run.must(services.CREATE_TOPICS)
        apart.skip_older_records(endpoints, own)
        run.keep_up(services.FOLD)

        def agent_subscribed() -> bool:
            run.check()
            return bool((observe.health(self._edge_port) or {}).get("mqtt_connected"))

        # Before its first subscription the broker keeps nothing for the agent.
        if not waiting.until(agent_subscribed, _READY_LIMIT_S, self._stop):
            raise programs.FailedError(f"the edge agent is not connected to MQTT after {_READY_LIMIT_S:g} s")

    def _start_load(self, run: programs.Programs) -> tuple[list[Path], list[Child]]:
        plan, truths, load = self._plan, [self._truth("fleet")], []
        self._people = run.start(services.people(plan.fleet, self._truth("people")))
        load.append(run.start(services.drive(plan.fleet, plan.duration_s, truths[0])))
        for recording in plan.recordings:
            truths.append(self._truth(recording.mapping))
            load.append(run.start(services.replay(recording, plan.fleet.speedup, plan.duration_s, truths[-1])))
        return truths, load

    def _watch(
        self, run: programs.Programs, endpoints: stack.Endpoints, own: apart.Settings, truths: list[Path]
    ) -> watch.Watch:
        fleet = self._plan.fleet
        title = f"fleetfold  {fleet.vehicles} vehicles, {fleet.stations} stations, {fleet.speedup:g}× speed"
        live = self._console.is_terminal and not self._plan.plain
        picture: view.View = view.LiveView(self._console, title) if live else view.PlainView(self._console)
        observer = observe.Observer(self._edge_port, self._cloud_port, truths)
        reader = findings.FindingsReader(endpoints.mongodb_uri, own.database)
        return watch.Watch(observer, reader, picture, self._stop, run.check)

    def _watch_load(self, run: programs.Programs, seen: watch.Watch, load: list[Child]) -> None:
        limit_s = float(self._plan.duration_s or "inf")
        seen.until("running", lambda _now: all(child.exit_code is not None for child in load), limit_s)
        for child in load:  # a simulator ends in order on SIGTERM, with its truth complete
            if child.exit_code is None:
                child.terminate()
        for child in [self._people, *load]:
            run.finish(child, _LOAD_END_LIMIT_S)

    def _answer(
        self, run: programs.Programs, endpoints: stack.Endpoints, own: apart.Settings, truths: list[Path]
    ) -> int:
        code, report = run.run(services.verify(truths), _VERIFY_LIMIT_S)
        for query in queries.ready_made(endpoints.mongodb_uri, own.database):
            self._console.print(f"\n$ {query.typed}", style="bold", markup=False, highlight=False, soft_wrap=True)
            self._console.out(run.run(query)[1].rstrip(), highlight=False)
        self._console.out(f"\n{report.rstrip()}", highlight=False)
        return exits.OK if code == 0 else exits.FAILED

    def _truth(self, name: str) -> Path:
        return self._directory / "truth" / name

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _say_times(self, seen: watch.Watch) -> None:
        if seen.first_twin_at_s is not None:
            self._say(f"first twin {seen.first_twin_at_s - self._began_s:.1f} s after the start")


def _not_drained(last: observe.Snapshot | None, limit_s: float) -> str:
    if last is None or last.edge is None or last.cloud is None:
        return f"not drained after {limit_s:g} s: the edge agent or the twin service does not answer"
    return (
        f"not drained after {limit_s:g} s: {last.sent.acknowledged} acknowledged to the devices, "
        f"{last.edge_count('received')} received by the agent, {last.edge_count('undelivered')} not yet in Kafka, "
        f"{last.cloud_count('lag_records')} records not yet folded"
    )
