"""How the agent is, at the moment of asking. For any thread."""

import threading
from importlib import metadata

from edge import health
from edge.health import Condition
from edge.link import LinkCost
from edge.metrics import Gauges
from edge.parts import Parts
from edge.spool.records import StorageClass
from edge.vitals import Vitals
from runtime.health import Health


class Outlook:
    """Looks at the parts, and touches nothing."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._started_s = parts.clock.monotonic_s()

    def is_alive(self) -> bool:
        """Whether the work goes on, be it against faults: when not, only a restart helps."""
        return self.is_turning(self._parts.settings.health.stuck_s_max)

    def is_turning(self, still_s_max: float) -> bool:
        """Whether the loop came round within this time, and every thread lives."""
        still_s = self._parts.clock.monotonic_s() - self._parts.agent.last_turn_s
        return still_s <= still_s_max and self._parts.receiver.is_alive and threading.main_thread().is_alive()

    def status(self) -> str:
        """One line, for the service manager."""
        reasons = self.health().details["reasons"]
        return f"{self._parts.spool.undelivered} records wait for Kafka; {'; '.join(reasons) or 'healthy'}"

    def health(self) -> Health:
        """For /healthz and the log."""
        parts = self._parts
        condition = Condition(
            mqtt_fault=parts.receiver.fault,
            mqtt_connected=parts.receiver.connected,
            disk_fault=parts.agent.disk_fault,
            kafka_fault=parts.sender.fault,
            is_working=self.is_alive(),
            undelivered=parts.spool.undelivered,
            undelivered_age_s=self._undelivered_age_s(),
            received=parts.counts.received,
            acknowledged=parts.counts.acknowledged,
            delivered=parts.counts.delivered,
            queued=len(parts.receiver.inbox),
            spool_bytes=parts.spool.size_bytes,
        )
        return health.judge(condition, parts.settings.health.undelivered_age_s_max)

    def gauges(self) -> Gauges:
        """For /metrics."""
        receiver, spool = self._parts.receiver, self._parts.spool
        return Gauges(
            mqtt_connected=receiver.connected,
            brokers_connected=receiver.connected_by_name,
            queued=len(receiver.inbox),
            spool_bytes=spool.size_bytes,
            written_bytes=spool.written_bytes,
            flash_bytes=spool.flash_bytes,
            backlog=spool.backlog,
            link_metered=self._parts.probe.cost is LinkCost.METERED,
            undelivered={each.label: spool.undelivered_of(each) for each in StorageClass},
            undelivered_age_s=self._undelivered_age_s(),
            lost={(each.label, str(reason)): count for (each, reason), count in list(spool.lost.items())},
        )

    def vitals(self) -> Vitals:
        """The same, of the process."""
        settings = self._parts.settings
        sides = {name: broker.certificate_file for name, broker in settings.all_brokers.items()}
        sides["kafka"] = settings.kafka.certificate_file
        return Vitals(
            version=metadata.version("fleetfold"),
            gateway=settings.gateway,
            uptime_s=self._parts.clock.monotonic_s() - self._started_s,
            is_alive=self.is_alive(),
            is_healthy=self.health().healthy,
            spool_directory=settings.spool.directory,
            spool_bytes_max=settings.spool.bytes_max,
            certificates={side: file for side, file in sides.items() if file is not None},
        )

    def _undelivered_age_s(self) -> float:
        """What waits for a free link is not late."""
        parts = self._parts
        held = parts.sender.held
        times_ms = [parts.spool.oldest_received_ms(each) for each in StorageClass if each not in held]
        oldest_ms = min((time_ms for time_ms in times_ms if time_ms is not None), default=None)
        return 0.0 if oldest_ms is None else max(0.0, (parts.clock.now_ms() - oldest_ms) / 1000)
