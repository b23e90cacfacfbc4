"""The agent's parts, put together from its settings."""

from prometheus_client import CollectorRegistry

from edge import metrics
from edge.agent import Agent, Timing
from edge.batcher import Batcher
from edge.batcher import Limits as BatchLimits
from edge.brokers import Brokers
from edge.clock import SystemClock
from edge.config import EdgeSettings, SpoolSettings, UploadSettings
from edge.counts import Counts
from edge.kafka import KafkaSink
from edge.letters import Source
from edge.link import LinkCost, LinkProbe
from edge.renewal import Renewable, Renewal
from edge.rulebook import Remote, Rulebook
from edge.rules_kafka import KafkaRules
from edge.rules_mqtt import MqttRules
from edge.sender import Sender
from edge.sequences import SequenceWatch
from edge.spool.disk import Directory
from edge.spool.records import StorageClass
from edge.spool.spool import Limits as SpoolLimits
from edge.spool.spool import Spool
from edge.upload import Upload


def batch_limits(settings: EdgeSettings) -> BatchLimits:
    """Of the batcher."""
    batch = settings.batch
    return BatchLimits(batch.batch_frames_max, batch.batch_bytes_max, batch.batch_age_ms_max / 1000)


def upload(settings: UploadSettings) -> Upload:
    """How the sender uses the uplink."""
    return Upload(
        settings.live_share_percent,
        settings.backlog_age_s_min,
        settings.rate_bytes_per_s,
        settings.metered_rate_bytes_per_s,
        frozenset(StorageClass[name.upper()] for name in settings.metered_classes),
        settings.signals_share_percent,
    )


def link_probe(settings: UploadSettings) -> LinkProbe:
    """Who is asked what the link costs."""
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


class Parts:
    """Raises LockedError, OSError when the spool cannot be opened, KafkaException for settings Kafka's client refuses,
    ConfigError when the rules file is faulty.

    `settings` and `probe` are replaced when the configuration is read again.
    """

    def __init__(self, settings: EdgeSettings, registry: CollectorRegistry) -> None:
        self.settings = settings
        self.clock = SystemClock()
        self.counts = Counts()
        self.disk = Directory(settings.spool.directory)
        self.spool = Spool.open(self.disk, _spool_limits(settings.spool), self.clock)
        self.sink = KafkaSink(settings.kafka, f"fleetfold-edge-{settings.gateway}", self.clock, self.counts)
        self.receiver = Brokers(settings, self.clock, self.counts)
        self.probe = link_probe(settings.upload)
        self.batcher = Batcher(batch_limits(settings))
        self.sender = self._new_sender()
        published = self._remote_rules()
        self.rules = Rulebook(settings, self.disk, self.clock, published)
        self.agent = self._new_agent(registry)
        clients: list[Renewable] = [self.sink, published] if isinstance(published, KafkaRules) else [self.sink]
        self.renewal = Renewal(clients, settings.kafka, self.agent.post)

    def _new_sender(self) -> Sender:
        return Sender(
            self.spool,
            self.sink,
            self.batcher,
            Source(self.settings.gateway, self.spool.epoch),
            self.settings.spool.window_bytes_max,
            self.clock,
            self.counts,
            upload(self.settings.upload),
            lambda: self.probe.cost,
        )

    def _new_agent(self, registry: CollectorRegistry) -> Agent:
        spool = self.settings.spool
        commit_s_max = self.settings.health.commit_ms_max / 1000
        timing = Timing(spool.retry_interval_ms / 1000, self.settings.stop_timeout_ms / 1000, commit_s_max)
        series_max = self.settings.health.watched_series_max
        return Agent(
            self.receiver,
            self.spool,
            self.sender,
            self.clock,
            self.counts,
            timing,
            metrics.sync_histogram(registry).observe,
            SequenceWatch(series_max, self.counts) if series_max else None,
            self.rules.collect,
        )

    def _remote_rules(self) -> Remote | None:
        settings = self.settings
        if settings.rules.remote == "mqtt":
            return MqttRules(settings.mqtt, settings.client_id, settings.gateway)
        if settings.rules.remote == "kafka":
            return KafkaRules(settings.kafka, f"fleetfold-edge-{settings.gateway}", settings.gateway, self.clock)
        return None

    def close(self) -> None:
        """Give back what is held."""
        self.rules.close()
        self.sink.close()
        self.spool.close()
        self.disk.close()
