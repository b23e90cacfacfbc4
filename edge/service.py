"""Puts the agent together from its settings, and runs it."""

import contextlib
import gc
import threading
from collections.abc import Callable
from importlib import metadata
from typing import Final, Self

import structlog
from prometheus_client import CollectorRegistry, ProcessCollector

from edge import health, metrics, upkeep
from edge.agent import Agent, Timing
from edge.batcher import Batcher
from edge.batcher import Limits as BatchLimits
from edge.brokers import Brokers
from edge.clock import SystemClock
from edge.config import EdgeSettings, SpoolSettings, UploadSettings
from edge.counts import Counts
from edge.health import Condition
from edge.kafka import KafkaSink
from edge.letters import Source
from edge.link import LinkCost, LinkProbe
from edge.metrics import AgentCollector, Gauges
from edge.reload import Change, compare
from edge.renewal import Renewable, Renewal
from edge.rulebook import Remote, Rulebook
from edge.rules_kafka import KafkaRules
from edge.rules_metrics import RulesCollector
from edge.rules_mqtt import MqttRules
from edge.sender import Sender
from edge.sequences import SequenceWatch
from edge.spool.disk import Directory
from edge.spool.records import StorageClass
from edge.spool.spool import Limits as SpoolLimits
from edge.spool.spool import Spool
from edge.upkeep import Job, Upkeep
from edge.upload import Upload
from edge.vitals import Vitals, VitalsCollector
from runtime import logs
from runtime.health import Health, HealthServer
from runtime.notify import Notifier
from runtime.settings import ConfigError

_GARBAGE_OBJECTS: Final = 50_000
"""The hot path makes many objects and no cycles: looking for these at the default of 700 costs a third of its time."""
_BEATS: Final = 3
"""So often within the watchdog's time the service manager hears that we are alive."""


def _batch_limits(settings: EdgeSettings) -> BatchLimits:
    batch = settings.batch
    return BatchLimits(batch.batch_frames_max, batch.batch_bytes_max, batch.batch_age_ms_max / 1000)


def _upload(settings: UploadSettings) -> Upload:
    return Upload(
        settings.live_share_percent,
        settings.backlog_age_s_min,
        settings.rate_bytes_per_s,
        settings.metered_rate_bytes_per_s,
        frozenset(StorageClass[name.upper()] for name in settings.metered_classes),
        settings.signals_share_percent,
    )


def _probe(settings: UploadSettings) -> LinkProbe:
    return LinkProbe(
        settings.link_cost_file,
        settings.link_cost_command,
        settings.link_cost_timeout_s,
        LinkCost(settings.link_cost_when_unknown),
    )


def _spool_limits(spool: SpoolSettings) -> SpoolLimits:
    return SpoolLimits(
        spool.bytes_max, spool.segment_bytes, spool.read_bytes, spool.signals_age_s_max, spool.events_age_s_max
    )


class Service:
    """Raises LockedError, OSError when the spool cannot be opened, KafkaException for settings Kafka's client refuses,
    ConfigError when the rules file is faulty.

    Use as a context manager. `notifier` hears how we are.
    """

    def __init__(self, settings: EdgeSettings, notifier: Notifier | None = None) -> None:
        self._settings = settings
        self._notifier = notifier or Notifier(None, None)
        self._clock = SystemClock()
        self._counts = Counts()
        self._registry = CollectorRegistry()
        self._log = structlog.get_logger("edge.service")
        self._disk = Directory(settings.spool.directory)
        self._spool = Spool.open(self._disk, _spool_limits(settings.spool), self._clock)
        self._sink = KafkaSink(settings.kafka, f"fleetfold-edge-{settings.gateway}", self._clock, self._counts)
        self._receiver = Brokers(settings, self._clock, self._counts)
        self._probe = _probe(settings.upload)
        self._sender = self._new_sender()
        published = self._remote_rules()
        self._rules = Rulebook(settings, self._disk, self._clock, published)
        self._agent = self._new_agent()
        clients: list[Renewable] = [self._sink, published] if isinstance(published, KafkaRules) else [self._sink]
        self._renewal = Renewal(clients, settings.kafka, self._agent.post)
        self._upkeep: Upkeep | None = None
        self._started_s = self._clock.monotonic_s()
        self._registry.register(AgentCollector(self._counts, self._gauges))
        self._registry.register(VitalsCollector(self._vitals))
        if self._rules.collect is not None:
            self._registry.register(RulesCollector(self._rules.engine, self._rules.desk))
        ProcessCollector(registry=self._registry)

    def _new_sender(self) -> Sender:
        self._batcher = Batcher(_batch_limits(self._settings))
        return Sender(
            self._spool,
            self._sink,
            self._batcher,
            Source(self._settings.gateway, self._spool.epoch),
            self._settings.spool.window_bytes_max,
            self._clock,
            self._counts,
            _upload(self._settings.upload),
            lambda: self._probe.cost,
        )

    def _new_agent(self) -> Agent:
        spool = self._settings.spool
        commit_s_max = self._settings.health.commit_ms_max / 1000
        timing = Timing(spool.retry_interval_ms / 1000, self._settings.stop_timeout_ms / 1000, commit_s_max)
        observe = metrics.sync_histogram(self._registry).observe
        series_max = self._settings.health.watched_series_max
        watch = SequenceWatch(series_max, self._counts) if series_max else None
        return Agent(
            self._receiver,
            self._spool,
            self._sender,
            self._clock,
            self._counts,
            timing,
            observe,
            watch,
            self._rules.collect,
        )

    def _remote_rules(self) -> Remote | None:
        settings = self._settings
        if settings.rules.remote == "mqtt":
            return MqttRules(settings.mqtt, settings.client_id, settings.gateway)
        if settings.rules.remote == "kafka":
            return KafkaRules(settings.kafka, f"fleetfold-edge-{settings.gateway}", settings.gateway, self._clock)
        return None

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set, then part in order."""
        with contextlib.ExitStack() as stack:
            if self._settings.http.enabled:
                server = stack.enter_context(
                    HealthServer(self._settings.http, self._registry, self.health, self.is_alive)
                )
                self._log.info("http_listening", address=self._settings.http.address, port=server.port)
            self._log_start()
            self._rules.start()
            self._receiver.start()
            self._upkeep = stack.enter_context(Upkeep(self._jobs()))
            self._notifier.ready(self._status())
            gc.freeze()  # what was made until now stays for ever
            gc.set_threshold(_GARBAGE_OBJECTS)
            self._agent.run(stop)
            self._notifier.stopping()
            self._agent.finish()

    def _log_start(self) -> None:
        self._log.info(
            "started",
            gateway=self._settings.gateway,
            client_id=self._settings.client_id,
            epoch=self._spool.epoch,
            undelivered=self._spool.undelivered,
            cut_bytes=self._spool.cut_bytes,
        )

    def _jobs(self) -> list[Job]:
        settings = self._settings
        jobs = [
            Job(self._agent.request_checkpoint, settings.spool.checkpoint_interval_ms / 1000),
            Job(self._renewal.check, settings.kafka.renewal_check_interval_s),
            upkeep.looking_at_the_link(lambda: self._probe.look(), settings.upload.link_cost_interval_s),
            upkeep.reporting(self._report, settings.health.report_interval_s),
        ]
        if self._rules.collect is not None:
            jobs.append(Job(self._rules.tick, settings.rules.poll_interval_ms / 1000))
        if self._notifier.watchdog_s is not None:
            jobs.append(Job(self._tell_alive, self._notifier.watchdog_s / _BEATS))
        return jobs

    def _tell_alive(self) -> None:
        """The service manager restarts us when it does not hear this: a restart cures a loop that hangs."""
        if self._notifier.watchdog_s is not None and self._is_turning(self._notifier.watchdog_s / _BEATS):
            self._notifier.alive(self._status())

    def is_alive(self) -> bool:
        """Whether the work goes on, be it against faults: when not, only a restart helps."""
        return self._is_turning(self._settings.health.stuck_s_max)

    def _is_turning(self, still_s_max: float) -> bool:
        still_s = self._clock.monotonic_s() - self._agent.last_turn_s
        return still_s <= still_s_max and self._receiver.is_alive and threading.main_thread().is_alive()

    def _status(self) -> str:
        reasons = self.health().details["reasons"]
        return f"{self._spool.undelivered} records wait for Kafka; {'; '.join(reasons) or 'healthy'}"

    def reload(self, load: Callable[[], EdgeSettings]) -> None:
        """Read the configuration again and take over what can change; callable from any thread.

        What cannot is named and stays as it was; a faulty configuration changes nothing.
        """
        self._notifier.reloading()
        try:
            change = compare(self._settings, load())
        except ConfigError as error:
            self._counts.reloads["faulty"] += 1
            self._log.error("reload_failed", faults=error.faults, advice="the old configuration stays")
        else:
            self._take_over(change)
        self._notifier.ready(self._status())

    def _take_over(self, change: Change) -> None:
        old, self._settings = self._settings, change.settings
        logs.configure(self._settings.log)
        limits = _batch_limits(self._settings)
        self._agent.post(lambda: self._batcher.set_limits(limits))
        if self._settings.upload != old.upload:
            self._change_upload(self._settings.upload)
        if self._upkeep is not None:
            self._upkeep.report_every(self._settings.health.report_interval_s)
        self._rules.reload()
        if self._settings.kafka != old.kafka:
            self._renewal.use(self._settings.kafka, lambda taken: self._judge_reload(change, None if taken else old))
        else:
            self._renewal.check()
            self._judge_reload(change)

    def _judge_reload(self, change: Change, kafka_of: EdgeSettings | None = None) -> None:
        """`kafka_of`: Kafka's client refused its new settings and goes on with these."""
        if kafka_of is not None:
            self._settings = self._settings.model_copy(update={"kafka": kafka_of.kafka})
            self._counts.reloads["refused"] += 1
            self._log.error("reload_refused", keys=["kafka"], advice="Kafka's client cannot use these settings")
            return
        self._counts.reloads["partly" if change.refused else "applied"] += 1
        self._log.info("reloaded", applied=change.applied)
        if change.refused:
            self._log.error("reload_refused", keys=change.refused, advice="these need a restart; the old values stay")

    def _change_upload(self, settings: UploadSettings) -> None:
        self._probe = _probe(settings)
        if self._upkeep is not None:
            self._upkeep.look_at_the_link_every(settings.link_cost_interval_s)
        self._agent.post(lambda: self._sender.use(_upload(settings)))

    def _report(self) -> None:
        state = self.health()
        log = self._log.info if state.healthy else self._log.warning
        log("status", healthy=state.healthy, **state.details)

    def health(self) -> Health:
        """For /healthz and the log."""
        condition = Condition(
            mqtt_fault=self._receiver.fault,
            mqtt_connected=self._receiver.connected,
            disk_fault=self._agent.disk_fault,
            kafka_fault=self._sender.fault,
            is_working=self.is_alive(),
            undelivered=self._spool.undelivered,
            undelivered_age_s=self._undelivered_age_s(),
            received=self._counts.received,
            acknowledged=self._counts.acknowledged,
            delivered=self._counts.delivered,
            queued=len(self._receiver.inbox),
            spool_bytes=self._spool.size_bytes,
        )
        return health.judge(condition, self._settings.health.undelivered_age_s_max)

    def _gauges(self) -> Gauges:
        return Gauges(
            mqtt_connected=self._receiver.connected,
            brokers_connected=self._receiver.connected_by_name,
            queued=len(self._receiver.inbox),
            spool_bytes=self._spool.size_bytes,
            written_bytes=self._spool.written_bytes,
            flash_bytes=self._spool.flash_bytes,
            backlog=self._spool.backlog,
            link_metered=self._probe.cost is LinkCost.METERED,
            undelivered={each.label: self._spool.undelivered_of(each) for each in StorageClass},
            undelivered_age_s=self._undelivered_age_s(),
            lost={(each.label, str(reason)): count for (each, reason), count in list(self._spool.lost.items())},
        )

    def _vitals(self) -> Vitals:
        sides = {name: broker.certificate_file for name, broker in self._settings.all_brokers.items()}
        sides["kafka"] = self._settings.kafka.certificate_file
        return Vitals(
            version=metadata.version("fleetfold"),
            gateway=self._settings.gateway,
            uptime_s=self._clock.monotonic_s() - self._started_s,
            is_alive=self.is_alive(),
            is_healthy=self.health().healthy,
            spool_directory=self._settings.spool.directory,
            spool_bytes_max=self._settings.spool.bytes_max,
            certificates={side: file for side, file in sides.items() if file is not None},
        )

    def _undelivered_age_s(self) -> float:
        """What waits for a free link is not late."""
        held = self._sender.held
        times_ms = [self._spool.oldest_received_ms(each) for each in StorageClass if each not in held]
        oldest_ms = min((time_ms for time_ms in times_ms if time_ms is not None), default=None)
        return 0.0 if oldest_ms is None else max(0.0, (self._clock.now_ms() - oldest_ms) / 1000)

    def close(self) -> None:
        """Give back what is held."""
        self._notifier.close()
        self._rules.close()
        self._sink.close()
        self._spool.close()
        self._disk.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
