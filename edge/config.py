"""The agent's settings: one TOML file, overridden by the environment (`FLEETFOLD_EDGE__SECTION__KEY`)."""

import re
import socket
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from runtime.settings import HttpSettings, KafkaSettings, MqttSettings, Section, Settings
from wire import limits, topics

FIRST_BROKER: Final = "mqtt"
"""The name of the broker in the section of that name."""
_BROKERS_MAX: Final = 16
"""Each has a thread and a connection."""
_GATEWAY_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$"


def default_gateway() -> str:
    """The host name, as far as it may stand in a gateway id."""
    safe = re.sub(r"[^A-Za-z0-9_.-]", "-", socket.gethostname()).lstrip("_.-")[:63]
    return safe or "gateway"


def _checked_filter(topic_filter: str) -> str:
    """[MQTT5 4.7.1, 4.8.2] A topic filter, perhaps of a shared subscription."""
    levels = topic_filter.split("/")
    if levels[0] == "$share":
        if len(levels) < 3 or not levels[1] or set(levels[1]) & set("+#"):
            raise ValueError(f"{topic_filter!r} is not $share/<group>/<filter>")
        levels = levels[2:]
    is_filter = "#" not in levels[:-1] and all(level in {"+", "#"} or not set(level) & set("+#") for level in levels)
    if not any(levels) or not is_filter or "\0" in topic_filter:
        raise ValueError(f"{topic_filter!r} is no topic filter: + and # stand for whole levels, # for the last ones")
    return topic_filter


TopicFilter = Annotated[str, Field(min_length=1, max_length=1_024), AfterValidator(_checked_filter)]


class BrokerSettings(MqttSettings):
    """One MQTT broker. `receive_maximum` is the back-pressure: it holds back when so many are not acknowledged.

    `protocol`: `auto` speaks MQTT 5 and falls back to 3.1.1 when the broker does not know it. `topic_alias_max`: the
    broker may replace so many topics by numbers, for links that are paid by the byte. `drop_counter_topic`: where the
    broker publishes how many messages it dropped; empty: nowhere. `read_pause_ms`: messages are read so
    far apart, and become durable together, or as soon as an eighth of `receive_maximum` may have come.
    """

    protocol: Literal["auto", "5", "3.1.1"] = "auto"
    client_id: str | None = Field(None, min_length=1, max_length=128)
    subscriptions: tuple[TopicFilter, ...] = Field(topics.MQTT_FILTERS, min_length=1, max_length=64)
    qos: Literal[0, 1, 2] = 1
    receive_maximum: int = Field(limits.MQTT_IN_FLIGHT_MESSAGES, ge=1, le=65_535)
    read_pause_ms: int = Field(200, ge=0, le=1_000)
    topic_alias_max: int = Field(0, ge=0, le=65_535)
    drop_counter_topic: str = Field("$SYS/broker/publish/messages/dropped", max_length=1_024)
    session_expiry_s: int = Field(7 * 24 * 3600, ge=0, le=2**32 - 1)
    packet_bytes_max: int = Field(1_048_576, ge=limits.PAYLOAD_BYTES_MAX + 1024, le=268_435_455)
    reconnect_backoff_ms_min: int = Field(500, ge=10)
    reconnect_backoff_ms_max: int = Field(30_000, ge=10)

    @model_validator(mode="after")
    def _backoff_rises(self) -> Self:
        if self.reconnect_backoff_ms_max < self.reconnect_backoff_ms_min:
            raise ValueError("reconnect_backoff_ms_max must be at least reconnect_backoff_ms_min")
        return self

    @field_validator("subscriptions")
    @classmethod
    def _once_each(cls, subscriptions: tuple[str, ...]) -> tuple[str, ...]:
        twice = sorted({each for each in subscriptions if subscriptions.count(each) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} stands there twice")
        return subscriptions


class EdgeMqttSettings(BrokerSettings):
    """The first broker, and the queue that all share."""

    queue_messages_max: int = Field(4_000, ge=1, le=65_535)
    queue_bytes_max: int = Field(1_048_576, ge=1_048_576)

    @model_validator(mode="after")
    def _queue_holds_the_window(self) -> Self:
        if self.queue_messages_max < self.receive_maximum:
            raise ValueError("queue_messages_max must be at least receive_maximum")
        return self


class EdgeKafkaSettings(KafkaSettings):
    """The spool is the queue, so the client's own is small.

    `stall_timeout_ms`: a client that says nothing for so long, with something in flight, is made anew. Longer than
    a request may take (librdkafka gives up after 60 s), or a slow link is interrupted again and again.
    `renewal_check_interval_s`: so often certificate, key and password files are looked at; new ones are taken over.
    """

    linger_ms: int = Field(2, ge=0, le=10_000)
    queue_batches_max: int = Field(10_000, ge=1, le=1_000_000)
    queue_bytes_max: int = Field(2_097_152, ge=1_048_576)
    request_bytes_max: int = Field(1_000_000, ge=limits.PAYLOAD_BYTES_MAX * 2, le=100_000_000)
    reconnect_backoff_ms_max: int = Field(10_000, ge=100)
    stall_timeout_ms: int = Field(120_000, ge=1_000)
    renewal_check_interval_s: int = Field(30, ge=1)


class SpoolSettings(Section):
    """`window_bytes_max`: of each class so much may be on its way to Kafka.

    `signals_age_s_max`, `events_age_s_max`: what waits longer for Kafka is given up; unset: while there is room.
    """

    directory: Path = Path("/var/lib/fleetfold-edge/spool")
    bytes_max: int = Field(1_073_741_824, ge=4_194_304)
    segment_bytes: int = Field(8_388_608, ge=1_048_576)
    signals_age_s_max: int | None = Field(None, ge=60)
    events_age_s_max: int | None = Field(None, ge=60)
    read_bytes: int = Field(262_144, ge=4_096, le=16_777_216)
    window_bytes_max: int = Field(4_194_304, ge=262_144)
    commit_gather_ms: int = Field(3, ge=0, le=1_000)
    checkpoint_interval_ms: int = Field(1_000, ge=10)
    retry_interval_ms: int = Field(500, ge=10)

    @model_validator(mode="after")
    def _room_for_segments(self) -> Self:
        if self.bytes_max < 4 * self.segment_bytes:
            raise ValueError("bytes_max must be at least 4 × segment_bytes")
        return self


class BatchSettings(Section):
    """A batch leaves when it is full or `batch_age_ms_max` old."""

    batch_frames_max: int = Field(500, ge=1, le=limits.BATCH_FRAMES_MAX)
    batch_bytes_max: int = Field(400_000, ge=limits.PAYLOAD_BYTES_MAX, le=limits.BATCH_BYTES_MAX)
    batch_age_ms_max: int = Field(250, ge=0, le=60_000)


class UploadSettings(Section):
    """How the uplink is shared and what may go over it while it costs money; see `edge.upload`, `edge.link`.

    `link_cost_file` holds, or `link_cost_command` (no shell) prints, `free` or `metered`. Without either it is free.
    """

    live_share_percent: int = Field(50, ge=0, le=99)
    signals_share_percent: int = Field(10, ge=0, le=50)
    backlog_age_s_min: int = Field(30, ge=1)
    rate_bytes_per_s: int = Field(0, ge=0)
    metered_rate_bytes_per_s: int = Field(0, ge=0)
    metered_classes: frozenset[Literal["events", "signals"]] = frozenset({"events"})
    link_cost_file: Path | None = None
    link_cost_command: tuple[str, ...] = ()
    link_cost_interval_s: int = Field(30, ge=1)
    link_cost_timeout_s: int = Field(5, ge=1, le=300)
    link_cost_when_unknown: Literal["free", "metered"] = "metered"

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.link_cost_file is not None and self.link_cost_command:
            raise ValueError("set link_cost_file or link_cost_command, not both")
        return self


class RulesSettings(Section):
    """Collection rules. `file` counts where none are published for this gateway; `remote`: where they are published.

    `assets_max`, `ring_bytes_max`: what the rules remember; beyond it more is sent than need be, never less. An asset
    takes 1 KB and 0.2 KB for each signal it sends: 100,000 with 20 signals 490 MB (measured).
    `settle_s`: for so long after an asset is first heard, as after a restart, every sample that may be sent is: what
    comes then may be copies of what was stored before. Longer than devices and brokers take to send again.
    """

    file: Path | None = None
    remote: Literal["none", "mqtt", "kafka"] = "none"
    assets_max: int = Field(100_000, ge=1, le=1_000_000)
    ring_bytes_max: int = Field(16_777_216, ge=0, le=2**33)
    settle_s: int = Field(10, ge=0, le=3_600)
    poll_interval_ms: int = Field(500, ge=50, le=60_000)


class HealthSettings(Section):
    """When the agent calls itself unhealthy although it works, and how often it logs how it is.

    `watched_series_max`: so many devices' channels are remembered, at 250 bytes each once heard. They are forgotten
    by halves: with 200,000 (50 MB) a channel counts as long as fewer than 100,000 others were heard since.
    `commit_ms_max`: a disk that takes longer to make messages durable is called slow.
    `stuck_s_max`: a loop that has not come round for so long is dead. Longer than the slowest sync of the disk.
    """

    undelivered_age_s_max: int = Field(900, ge=1)
    watched_series_max: int = Field(200_000, ge=0, le=10_000_000)
    commit_ms_max: int = Field(2_000, ge=1)
    stuck_s_max: int = Field(60, ge=1)
    report_interval_s: int = Field(60, ge=1)


BrokerName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]


class EdgeSettings(Settings):
    """Everything. `gateway` names this agent for ever: (gateway, epoch, sequence) identifies a message."""

    env_prefix: ClassVar[str] = "FLEETFOLD_EDGE"

    gateway: str = Field(default_factory=default_gateway, pattern=_GATEWAY_PATTERN)
    stop_timeout_ms: int = Field(5_000, ge=0, le=600_000)
    mqtt: EdgeMqttSettings = EdgeMqttSettings()
    brokers: dict[BrokerName, BrokerSettings] = Field({}, max_length=_BROKERS_MAX - 1)
    kafka: EdgeKafkaSettings = EdgeKafkaSettings()
    spool: SpoolSettings = SpoolSettings()
    batch: BatchSettings = BatchSettings()
    upload: UploadSettings = UploadSettings()
    rules: RulesSettings = RulesSettings()
    http: HttpSettings = HttpSettings()
    health: HealthSettings = HealthSettings()

    @model_validator(mode="after")
    def _batches_fit(self) -> Self:
        # a batch has about 100 bytes of its own, up to 24 for each payload, and headers
        overhead = 2_048 + 24 * self.batch.batch_frames_max
        if self.batch.batch_bytes_max + overhead > self.kafka.request_bytes_max:
            raise ValueError(f"kafka.request_bytes_max must be at least batch.batch_bytes_max + {overhead}")
        return self

    @model_validator(mode="after")
    def _brokers_fit(self) -> Self:
        if FIRST_BROKER in self.brokers:
            raise ValueError(f"brokers.{FIRST_BROKER}: this is the name of the broker in [mqtt]")
        window = sum(broker.receive_maximum for broker in self.all_brokers.values())
        if window > self.mqtt.queue_messages_max:
            raise ValueError(f"mqtt.queue_messages_max must be at least {window}, the sum of all receive_maximum")
        sessions: dict[tuple[str, int, str], str] = {}
        for name, broker in self.all_brokers.items():
            other = sessions.setdefault((broker.host, broker.port, self.client_id_at(broker)), name)
            if other != name:
                raise ValueError(f"brokers.{name}: the same client_id at the same url as {other}: they would part us")
        return self

    @property
    def all_brokers(self) -> dict[str, BrokerSettings]:
        """By name, the first one first."""
        return {FIRST_BROKER: self.mqtt, **self.brokers}

    def client_id_at(self, broker: BrokerSettings) -> str:
        """The MQTT client id: it names the session at the broker, so it must stay the same."""
        return broker.client_id or f"fleetfold-edge-{self.gateway}"

    @property
    def client_id(self) -> str:
        """At the first broker."""
        return self.client_id_at(self.mqtt)
