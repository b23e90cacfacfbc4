"""Runs the agent: its parts, the work beside the loop, and what others ask it."""

import contextlib
import gc
import threading
from collections.abc import Callable
from typing import Final, Self

import structlog
from prometheus_client import CollectorRegistry, ProcessCollector

from edge import upkeep
from edge.config import EdgeSettings
from edge.metrics import AgentCollector
from edge.outlook import Outlook
from edge.parts import Parts
from edge.reloader import Reloader
from edge.rules_metrics import RulesCollector
from edge.upkeep import Job, Upkeep
from edge.vitals import VitalsCollector
from runtime.health import Health, HealthServer
from runtime.notify import Notifier

_GARBAGE_INTERVAL_S: Final = 30.0
"""The hot path makes many objects and no cycles: whenever Python looked for these, by the number of objects, it cost a
tenth to a third of its time. Others make a few."""
_BEATS: Final = 3
"""So often within the watchdog's time the service manager hears that we are alive."""


class Service:
    """Raises what `Parts` raises. Use as a context manager. `notifier` hears how we are."""

    def __init__(self, settings: EdgeSettings, notifier: Notifier | None = None) -> None:
        self._notifier = notifier or Notifier(None, None)
        self._registry = CollectorRegistry()
        self._log = structlog.get_logger("edge.service")
        self._parts = Parts(settings, self._registry)
        self._outlook = Outlook(self._parts)
        self._reloader = Reloader(self._parts)
        self._registry.register(AgentCollector(self._parts.counts, self._outlook.gauges))
        self._registry.register(VitalsCollector(self._outlook.vitals))
        rules = self._parts.rules
        if rules.collect is not None:
            self._registry.register(RulesCollector(rules.engine, rules.desk))
        ProcessCollector(registry=self._registry)

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set, then part in order."""
        parts = self._parts
        with contextlib.ExitStack() as stack:
            if parts.settings.http.enabled:
                server = stack.enter_context(
                    HealthServer(parts.settings.http, self._registry, self.health, self.is_alive)
                )
                self._log.info("http_listening", address=parts.settings.http.address, port=server.port)
            self._log_start()
            parts.rules.start()
            parts.receiver.start()
            self._reloader.upkeep = stack.enter_context(Upkeep(self._jobs()))
            self._notifier.ready(self._outlook.status())
            gc.freeze()  # what was made until now stays for ever
            gc.disable()
            parts.agent.run(stop)
            self._notifier.stopping()
            parts.agent.finish()

    def _log_start(self) -> None:
        settings, spool = self._parts.settings, self._parts.spool
        self._log.info(
            "started",
            gateway=settings.gateway,
            client_id=settings.client_id,
            epoch=spool.epoch,
            undelivered=spool.undelivered,
            cut_bytes=spool.cut_bytes,
        )

    def _jobs(self) -> list[Job]:
        parts, settings = self._parts, self._parts.settings
        jobs = [
            Job(parts.agent.request_checkpoint, settings.spool.checkpoint_interval_ms / 1000),
            Job(gc.collect, _GARBAGE_INTERVAL_S),
            Job(parts.renewal.check, settings.kafka.renewal_check_interval_s),
            upkeep.looking_at_the_link(lambda: parts.probe.look(), settings.upload.link_cost_interval_s),
            upkeep.reporting(self._report, settings.health.report_interval_s),
        ]
        if parts.rules.collect is not None:
            jobs.append(Job(parts.rules.tick, settings.rules.poll_interval_ms / 1000))
        if self._notifier.watchdog_s is not None:
            jobs.append(Job(self._tell_alive, self._notifier.watchdog_s / _BEATS))
        return jobs

    def _tell_alive(self) -> None:
        """The service manager restarts us when it does not hear this: a restart cures a loop that hangs."""
        if self._notifier.watchdog_s is not None and self._outlook.is_turning(self._notifier.watchdog_s / _BEATS):
            self._notifier.alive(self._outlook.status())

    def _report(self) -> None:
        state = self.health()
        log = self._log.info if state.healthy else self._log.warning
        log("status", healthy=state.healthy, **state.details)

    def reload(self, load: Callable[[], EdgeSettings]) -> None:
        """Read the configuration again, see `Reloader`; callable from any thread."""
        self._notifier.reloading()
        self._reloader.reload(load)
        self._notifier.ready(self._outlook.status())

    def is_alive(self) -> bool:
        """For /livez."""
        return self._outlook.is_alive()

    def health(self) -> Health:
        """For /healthz and the log."""
        return self._outlook.health()

    def close(self) -> None:
        """Give back what is held."""
        self._notifier.close()
        self._parts.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
