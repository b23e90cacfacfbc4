"""What there is to say about a running twin service, and whether it is well. Pure."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple


class Partition(NamedTuple):
    """Where the group stands in one partition. `lag_s`: the age of the first record that is not done; 0 without lag,
    None when it could not be read."""

    topic: str
    partition: int
    committed: int | None
    end: int
    lag_records: int
    lag_s: float | None


class Member(NamedTuple):
    """A worker as the group's coordinator knows it."""

    client_id: str
    host: str
    partitions: int


@dataclass(slots=True)
class Kafka:
    """What Kafka says. `members` None: this broker does not tell. `dead_letters`: by topic, those that are held."""

    reachable: bool
    detail: str = ""
    group: str = ""
    group_state: str = ""
    members: list[Member] | None = None
    partitions: list[Partition] = field(default_factory=list)
    missing_topics: list[str] = field(default_factory=list)
    dead_letters: dict[str, int] = field(default_factory=dict)
    history_lag_records: int | None = None
    """Of those who keep history, who gather records for a while on purpose. None: nobody keeps it."""


@dataclass(slots=True)
class Mongo:
    """What MongoDB says."""

    reachable: bool
    detail: str = ""
    twins: int = 0
    silent_twins: int = 0
    open_anomalies: int = 0
    events: int = 0
    replayed_letters: int = 0
    round_trip_ms: float = 0.0


@dataclass(slots=True)
class Worker:
    """What a worker's own /healthz and /metrics say. Times in ms; `age_*`: from the gateway to the written twin."""

    url: str
    reachable: bool
    healthy: bool = False
    detail: str = ""
    folded: int = 0
    duplicates: int = 0
    uncertain: int = 0
    conflicts: int = 0
    dead_letters: int = 0
    waits: int = 0
    records_per_turn: float = 0.0
    age_p50_s: float | None = None
    age_p99_s: float | None = None
    stage_ms: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Report:
    """All of it."""

    kafka: Kafka
    mongo: Mongo
    workers: list[Worker]

    @property
    def lag_records(self) -> int:
        return sum(partition.lag_records for partition in self.kafka.partitions)

    @property
    def lag_s(self) -> float:
        """Of the partition that is furthest behind."""
        return max((partition.lag_s or 0.0 for partition in self.kafka.partitions), default=0.0)

    def problems(self, lag_max_s: float) -> Iterator[str]:
        """Why it is not well, in words; nothing when it is."""
        if not self.kafka.reachable:
            yield f"Kafka does not answer: {self.kafka.detail}"
        if not self.mongo.reachable:
            yield f"MongoDB does not answer: {self.mongo.detail}"
        if self.kafka.missing_topics:
            yield f"topics are missing: {', '.join(self.kafka.missing_topics)}; run `fleetfold-cloud topics create`"
        # a healthy worker holds partitions: then it is the broker that does not tell its members
        if self.kafka.reachable and self.kafka.members == [] and not any(worker.healthy for worker in self.workers):
            yield f"no worker is in the group {self.kafka.group}"
        if self.lag_s > lag_max_s:
            yield f"{self.lag_s:.0f} s behind, at most {lag_max_s:g} s is well"
        for worker in self.workers:
            if not worker.reachable:
                yield f"the worker at {worker.url} does not answer: {worker.detail}"
            elif not worker.healthy:
                yield f"the worker at {worker.url} says that it is not healthy"

    def plain(self, lag_max_s: float) -> dict[str, Any]:
        """For JSON."""
        problems = list(self.problems(lag_max_s))
        kafka = asdict(self.kafka) | {
            "members": None if self.kafka.members is None else [member._asdict() for member in self.kafka.members],
            "partitions": [partition._asdict() for partition in self.kafka.partitions],
        }
        return {
            "healthy": not problems,
            "problems": problems,
            "lag_records": self.lag_records,
            "lag_s": round(self.lag_s, 3),
            "kafka": kafka,
            "mongo": asdict(self.mongo),
            "workers": [asdict(worker) for worker in self.workers],
        }
