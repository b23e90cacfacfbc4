"""Settings of the twin service: one TOML file, environment `FLEETFOLD_CLOUD__SECTION__KEY`."""

from typing import ClassVar

from pydantic import Field

from runtime.settings import HttpSettings, KafkaSettings, MongoSettings, Section, Settings


class ConsumerSettings(KafkaSettings):
    """How the fold reads Kafka."""

    group_id: str = Field("fleetfold-twins", min_length=1)
    batch_records_max: int = Field(1_000, ge=1, le=100_000)
    batch_bytes_max: int = Field(32_000_000, ge=1_000_000)
    batch_wait_ms: int = Field(100, ge=1, le=10_000)
    commit_interval_ms: int = Field(1_000, ge=0, le=60_000)


class TopicSettings(Section):
    """How `topics create` creates topics."""

    partitions: int = Field(8, ge=1, le=10_000)
    replication_factor: int = Field(1, ge=1, le=10)
    retention_days: int = Field(7, ge=1, le=3_650)


class FoldSettings(Section):
    """Limits and periods of the fold."""

    detect: bool = True
    """Run the detectors. Without them the service only mirrors."""
    cached_twins_max: int = Field(100_000, ge=1)
    silent_after_s: int = Field(900, ge=1)
    silence_check_interval_s: int = Field(15, ge=1)
    relink_interval_s: int = Field(30, ge=1)
    census_interval_s: int = Field(2, ge=1)


class CloudSettings(Settings):
    """Everything `fleetfold-cloud` can be told."""

    env_prefix: ClassVar[str] = "FLEETFOLD_CLOUD"

    kafka: ConsumerSettings = ConsumerSettings()
    topics: TopicSettings = TopicSettings()
    mongo: MongoSettings = MongoSettings()
    fold: FoldSettings = FoldSettings()
    http: HttpSettings = HttpSettings()
