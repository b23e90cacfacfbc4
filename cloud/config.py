"""Settings of the twin service: one TOML file, environment `FLEETFOLD_CLOUD__SECTION__KEY`."""

from fnmatch import fnmatchcase
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from runtime.settings import HttpSettings, KafkaSettings, MongoSettings, Section, Settings
from wire import catalogue


class ConsumerSettings(KafkaSettings):
    """How the fold reads Kafka."""

    group_id: str = Field("fleetfold-twins", min_length=1)
    group_protocol: Literal["auto", "classic", "consumer"] = "auto"
    """How workers share partitions: `consumer` is KIP-848's protocol (Kafka 4), `auto` takes it where it is there."""
    max_poll_interval_ms: int = Field(300_000, ge=6_000, le=86_400_000)
    """A worker whose loop stands still for longer is taken for dead: others get its partitions."""
    batch_records_max: int = Field(2_000, ge=1, le=100_000)
    """What a backlog is read by: of one frame a record, 2,000 cost 45 µs a frame where 1,000 cost 51, 5,000 no less."""
    batch_bytes_max: int = Field(32_000_000, ge=1_000_000)
    batch_wait_ms: int = Field(100, ge=1, le=10_000)
    commit_interval_ms: int = Field(1_000, ge=0, le=60_000)

    @property
    def history_group_id(self) -> str:
        """The group of those who keep history."""
        return f"{self.group_id}-history"


class TopicSettings(Section):
    """How `topics create` creates topics."""

    partitions: int = Field(8, ge=1, le=10_000)
    replication_factor: int = Field(1, ge=1, le=10)
    retention_days: int = Field(7, ge=1, le=3_650)


class FoldSettings(Section):
    """Limits and periods of the fold."""

    workers: int = Field(1, ge=1, le=64)
    """Processes on this machine. Worker n answers for /metrics and /healthz n ports above the first."""
    upkeep: bool = True
    """Do the periodic work. One worker of a group is enough."""
    detect: bool = True
    """Run the detectors. Without them the service only mirrors."""
    cached_twins_max: int = Field(100_000, ge=1)
    """In memory, 4 to 7 KB each with 20 signals. Those of other assets are read again when they are heard of."""
    cached_bytes_max: int = Field(1_000_000_000, ge=1_000_000)
    """Of all of them, about, in each worker: a twin can also have many lost pieces, sessions and long texts."""
    asset_bytes_per_turn_max: int = Field(500_000, ge=1_000)
    """Of one asset in a turn of the loop, but one record at least: the rest waits, and holds up nobody."""
    carried_bytes_max: int = Field(16_000_000, ge=1_000_000)
    """Of all that waits so. Above it, the partitions that it comes from are not read on."""
    plain_frames_min: int = Field(8, ge=1)
    """Of so many frames in a turn that change only numbers of documents alike, whole columns are folded at once."""
    twin_bytes_max: int = Field(1_000_000, ge=16_384, le=7_000_000)
    """Largest half of a twin's document: the fold's and the linker's are checked apart. MongoDB's limit is 16 MB."""
    stop_limit_s: int = Field(20, ge=1, le=600)
    """From SIGTERM to the end of all processes, also of the keeper of history. What has not ended by itself then is
    ended; what it had not written is read again."""
    silent_after_s: int = Field(900, ge=1)
    silence_check_interval_s: int = Field(15, ge=1)
    relink_interval_s: int = Field(30, ge=1)
    census_interval_s: int = Field(15, ge=1)


class RetentionSettings(Section):
    """Days that history keeps a data class of the catalogue; 0: it is not kept at all."""

    driving: int = Field(90, ge=0, le=3_650)
    condition: int = Field(400, ge=0, le=3_650)
    identity: int = Field(400, ge=0, le=3_650)
    operation: int = Field(400, ge=0, le=3_650)
    location: int = Field(30, ge=0, le=3_650)
    environment: int = Field(400, ge=0, le=3_650)


class HistorySettings(Section):
    """What signals were over time. `include`, `exclude`: patterns of paths, `Vehicle.CurrentLocation.*`."""

    enabled: bool = True
    include: list[str] = Field(["*"], min_length=1)
    exclude: list[str] = Field(default_factory=list)
    retention_days: RetentionSettings = RetentionSettings()
    flush_interval_s: int = Field(60, ge=1, le=3_600)
    """How long records wait in memory to become one piece. After a kill they are read again."""
    buffer_bytes_max: int = Field(128_000_000, ge=1_000_000)
    merge_after_s: int = Field(600, ge=0)
    """How long after its hour, and after it was written, a piece rests before it is merged."""
    merge_interval_s: int = Field(60, ge=1)
    http: HttpSettings = HttpSettings()

    @model_validator(mode="after")
    def _patterns(self) -> Self:
        for pattern in (*self.include, *self.exclude):
            if not any(fnmatchcase(signal.path, pattern) for signal in catalogue.SIGNALS):
                raise ValueError(f"{pattern!r} matches no signal of the catalogue")
        return self

    def kept(self) -> frozenset[int]:
        """Catalogue numbers of the signals to keep."""
        days = self.retention_days.model_dump()
        return frozenset(
            signal.number
            for signal in catalogue.SIGNALS
            if days[signal.data_class]
            and any(fnmatchcase(signal.path, pattern) for pattern in self.include)
            and not any(fnmatchcase(signal.path, pattern) for pattern in self.exclude)
        )


class CloudSettings(Settings):
    """Everything `fleetfold-cloud` can be told."""

    env_prefix: ClassVar[str] = "FLEETFOLD_CLOUD"

    kafka: ConsumerSettings = ConsumerSettings()
    topics: TopicSettings = TopicSettings()
    mongo: MongoSettings = MongoSettings()
    fold: FoldSettings = FoldSettings()
    history: HistorySettings = HistorySettings()
    http: HttpSettings = HttpSettings()
