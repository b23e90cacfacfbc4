"""Takes a configuration that was read again over into the running agent."""

from collections.abc import Callable

import structlog

from edge import parts as assembly
from edge.config import EdgeSettings, UploadSettings
from edge.parts import Parts
from edge.reload import Change, compare
from edge.upkeep import Upkeep
from runtime import logs
from runtime.settings import ConfigError


class Reloader:
    """Callable from any thread. `upkeep` is None before the agent runs."""

    def __init__(self, parts: Parts) -> None:
        self.upkeep: Upkeep | None = None
        self._parts = parts
        self._log = structlog.get_logger("edge.service")

    def reload(self, load: Callable[[], EdgeSettings]) -> None:
        """Read the configuration again and take over what can change.

        What cannot is named and stays as it was; a faulty configuration changes nothing.
        """
        try:
            change = compare(self._parts.settings, load())
        except ConfigError as error:
            self._parts.counts.reloads["faulty"] += 1
            self._log.error("reload_failed", faults=error.faults, advice="the old configuration stays")
        else:
            self._take_over(change)

    def _take_over(self, change: Change) -> None:
        parts = self._parts
        old, parts.settings = parts.settings, change.settings
        logs.configure(parts.settings.log)
        limits = assembly.batch_limits(parts.settings)
        parts.agent.post(lambda: parts.batcher.set_limits(limits))
        if parts.settings.upload != old.upload:
            self._change_upload(parts.settings.upload)
        if self.upkeep is not None:
            self.upkeep.report_every(parts.settings.health.report_interval_s)
        parts.rules.reload()
        if parts.settings.kafka != old.kafka:
            parts.renewal.use(parts.settings.kafka, lambda taken: self._judge(change, None if taken else old))
        else:
            parts.renewal.check()
            self._judge(change)

    def _judge(self, change: Change, kafka_of: EdgeSettings | None = None) -> None:
        """`kafka_of`: Kafka's client refused its new settings and goes on with these."""
        parts = self._parts
        if kafka_of is not None:
            parts.settings = parts.settings.model_copy(update={"kafka": kafka_of.kafka})
            parts.counts.reloads["refused"] += 1
            self._log.error("reload_refused", keys=["kafka"], advice="Kafka's client cannot use these settings")
            return
        parts.counts.reloads["partly" if change.refused else "applied"] += 1
        self._log.info("reloaded", applied=change.applied)
        if change.refused:
            self._log.error("reload_refused", keys=change.refused, advice="these need a restart; the old values stay")

    def _change_upload(self, settings: UploadSettings) -> None:
        parts = self._parts
        parts.probe = assembly.link_probe(settings)
        if self.upkeep is not None:
            self.upkeep.look_at_the_link_every(settings.link_cost_interval_s)
        parts.agent.post(lambda: parts.sender.use(assembly.upload(settings)))
