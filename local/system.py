"""The system without its devices: servers, topics, edge agent, twin service."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from local import apart, observe, ports, programs, services, waiting
from local.processes import Processes
from local.servers import stack

_READY_LIMIT_S: Final = 60.0


class System(NamedTuple):
    """A running system. `own` is what keeps it apart from other users of named servers."""

    endpoints: stack.Endpoints
    own: apart.Settings
    programs: programs.Programs
    edge_port: int
    cloud_ports: Sequence[int]
    """Of the twin service's workers."""


def start_servers(owner: Processes, directory: Path, brokers: stack.Brokers, stop: threading.Event) -> stack.Endpoints:
    """Start what the environment does not name. Raises ServerError and InterruptedByUserError."""
    return waiting.in_background(lambda: stack.start(owner, directory, brokers), stop, owner.stop_all)


def start_services(
    owner: Processes, directory: Path, endpoints: stack.Endpoints, own: apart.Settings, stop: threading.Event
) -> System:
    """Create the topics, start agent and twin service; returns when the agent is subscribed and devices may speak.

    Raises programs.FailedError, ServerError and InterruptedByUserError.
    """
    edge_port, cloud_ports = ports.free_port(), ports.free_ports(services.workers(own.environment))
    environment = services.environment(
        endpoints.environment, directory / "spool", edge_port, cloud_ports[0], own.environment
    )
    run = programs.Programs(owner, directory / "logs", environment, stop)
    run.keep_up(services.AGENT)  # needs no topics yet: its spool waits for them
    run.must(services.CREATE_TOPICS)
    apart.skip_older_records(endpoints, own, stop)
    run.keep_up(services.FOLD)

    def agent_subscribed() -> bool:
        run.check()
        return bool((observe.health(edge_port) or {}).get("mqtt_connected"))

    # Before its first subscription the MQTT broker keeps nothing for the agent.
    if not waiting.until(agent_subscribed, _READY_LIMIT_S, stop):
        raise programs.FailedError(f"the edge agent is not connected to MQTT after {_READY_LIMIT_S:g} s")
    return System(endpoints, own, run, edge_port, cloud_ports)
