"""The whole system on one machine, from devices to verified twins.

`_Demo.run` has the order: system → people, fleet and recordings → watch for the duration → stop the load →
drain → verify → queries. Ctrl-C leaves it at any point; whatever the point, `run` stops everything that was
started.
"""

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from rich.console import Console

from local import apart, claims, findings, observe, programs, queries, services, system, view, waiting, watch
from local.processes import Child, Processes
from local.servers import stack
from runtime import exits

INTERRUPTED: Final = 130
"""Exit code after Ctrl-C or SIGTERM, as shells have it."""

_VERIFY_LIMIT_S: Final = 300.0
_LOAD_END_LIMIT_S: Final = 45.0


class Plan(NamedTuple):
    """What the person asked for. `duration_s` 0: until Ctrl-C, without verification."""

    fleet: services.Fleet
    duration_s: int
    recordings: Sequence[services.Recording]
    brokers: stack.Brokers
    plain: bool
    drain_limit_s: float


class _Load(NamedTuple):
    """What speaks to the system: processes and where each writes its truth."""

    people: Child
    senders: list[Child]
    truths: list[Path]


def run(plan: Plan, owner: Processes, directory: Path, console: Console, stop: threading.Event) -> int:
    """Run it; the exit code. Raises ServerError and programs.FailedError; stops all of `owner` in any case."""
    try:
        with claims.brokers():
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
        self._complaints: list[str] = []

    def run(self) -> int:
        running = self._start()
        try:
            load = self._start_load(running)
            with self._watch(running, load) as seen:
                self._watch_load(seen, load)
                drained = seen.until_drained("draining", self._plan.drain_limit_s)
            self._say_how_it_went(seen, drained)
            return self._answer(running, load)
        finally:
            running.programs.stop()  # the last they write would make the database anew
            apart.drop_database(running.endpoints, running.own)

    def _start(self) -> system.System:
        endpoints = system.start_servers(self._owner, self._directory, self._plan.brokers, self._stop)
        self._say(f"MQTT {endpoints.mqtt_url}  Kafka {endpoints.kafka_bootstrap_servers}")
        return system.start_services(self._owner, self._directory, endpoints, apart.settings(), self._stop)

    def _start_load(self, running: system.System) -> _Load:
        plan, truth, start = self._plan, self._directory / "truth", running.programs.start
        people = start(services.people(plan.fleet, plan.recordings, truth / "people"))
        senders, truths = [start(services.drive(plan.fleet, plan.duration_s, truth / "fleet"))], [truth / "fleet"]
        for recording in plan.recordings:
            truths.append(truth / recording.mapping)
            senders.append(start(services.replay(recording, plan.duration_s, truths[-1])))
        return _Load(people, senders, truths)

    def _watch(self, running: system.System, load: _Load) -> watch.Watch:
        fleet = self._plan.fleet
        title = f"fleetfold  {fleet.vehicles} vehicles, {fleet.stations} stations, {fleet.speedup:g}× speed"
        live = self._console.is_terminal and not self._plan.plain
        picture: view.View = view.LiveView(self._console, title) if live else view.PlainView(self._console)
        observer = observe.Observer(running.edge_port, running.cloud_ports, load.truths)
        reader = findings.FindingsReader(running.endpoints.mongodb_uri, running.own.database)
        return watch.Watch(observer, reader, picture, self._stop, running.programs.check)

    def _watch_load(self, seen: watch.Watch, load: _Load) -> None:
        limit_s = float(self._plan.duration_s or "inf")
        seen.until("running", lambda _now: _ended(load.senders), limit_s)
        for child in load.senders:  # a simulator ends in order on SIGTERM, with its truth complete
            if child.exit_code is None:
                child.terminate()
        everyone = [load.people, *load.senders]
        if not seen.until("stopping the load", lambda _now: _ended(everyone), _LOAD_END_LIMIT_S):
            raise programs.FailedError(f"the load does not end {_LOAD_END_LIMIT_S:g} s after it was told to")
        for child in everyone:
            if child.exit_code == exits.FAILED:  # not everything was acknowledged: the verification knows what
                self._complaints.append(f"{child.name} ended with exit code 1:\n{child.last_lines()}")
            elif child.exit_code != exits.OK:
                raise programs.FailedError(
                    f"{child.name} ended with exit code {child.exit_code}:\n{child.last_lines()}"
                )

    def _answer(self, running: system.System, load: _Load) -> int:
        truths = [self._directory / "truth" / "people", *load.truths]
        code, report = running.programs.run(services.verify(truths), _VERIFY_LIMIT_S)
        for query in queries.ready_made(running.endpoints.mongodb_uri, running.own.database):
            self._console.print(f"\n$ {query.typed}", style="bold", markup=False, highlight=False, soft_wrap=True)
            self._console.out(running.programs.run(query)[1].rstrip(), highlight=False)
        self._console.out(f"\n{report.rstrip()}", highlight=False)
        return exits.OK if code == 0 and not self._complaints else exits.FAILED

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _say_how_it_went(self, seen: watch.Watch, drained: bool) -> None:
        if seen.first_twin_at_s is not None:
            self._say(f"first twin {seen.first_twin_at_s - self._began_s:.1f} s after the start")
        if not drained:
            self._complaints.append(_not_drained(seen.last, self._plan.drain_limit_s))
        for complaint in self._complaints:
            self._say(complaint)


def _ended(children: Sequence[Child]) -> bool:
    return all(child.exit_code is not None for child in children)


def _not_drained(last: observe.Snapshot | None, limit_s: float) -> str:
    if last is None or last.edge is None or last.cloud is None:
        return f"not drained after {limit_s:g} s: the edge agent or the twin service does not answer"
    return (
        f"not drained after {limit_s:g} s: {last.sent.acknowledged} acknowledged to the devices, "
        f"{last.edge_count('received')} received by the agent, {last.edge_count('undelivered')} not yet in Kafka, "
        f"{last.cloud_count('lag_records')} records not yet folded"
    )
