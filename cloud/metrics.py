"""What the twin service exports to Prometheus."""

import time
from collections import Counter as Tally
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from cloud.fold import Outcome
from cloud.inbox import Record

_AGE_BUCKETS_S: Final = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10, 30, 60, 300, 3600)
_COUNT_BUCKETS: Final = (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000, 100_000)
_BYTES_BUCKETS: Final = (1e3, 1e4, 1e5, 3e5, 1e6, 3e6, 1e7, 3e7, 1e8)


class Ages(Collector):
    """A histogram that takes many observations at once: one for each record would cost as much as folding it."""

    def __init__(self, name: str, help_: str, buckets_s: Sequence[float]) -> None:
        self._name, self._help, self._buckets_s = name, help_, buckets_s
        self._counts = np.zeros(len(buckets_s) + 1, dtype=np.int64)
        self._sum_s = 0.0

    def observe(self, ages_s: Iterable[float]) -> None:
        """Negative ages (a gateway's clock ahead of ours) count as 0."""
        ages = np.maximum(np.fromiter(ages_s, dtype=np.float64), 0.0)
        self._counts += np.bincount(np.searchsorted(self._buckets_s, ages), minlength=len(self._counts))
        self._sum_s += float(ages.sum())

    def collect(self) -> Iterator[Metric]:
        bounds = [*map(float, self._buckets_s), float("inf")]
        buckets = [
            (str(bound), float(total)) for bound, total in zip(bounds, self._counts.cumsum().tolist(), strict=True)
        ]
        family = HistogramMetricFamily(self._name, self._help)
        family.add_metric([], [(bound.replace("inf", "+Inf"), total) for bound, total in buckets], self._sum_s)
        yield family


class Metrics:
    """All metrics of one process, on a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        counter, gauge = self._counter, self._gauge
        self.records = counter("records", "Kafka records read", "topic")
        self.folded = counter("messages_folded", "Frames and events folded for the first time")
        self.folded_plainly = counter("messages_folded_plainly", "Those of them that changed nothing but numbers")
        self.duplicates = counter("duplicates", "Messages dropped because the twin had seen them")
        self.uncertain = counter("uncertain", "Messages used but not counted: it is not known whether they were seen")
        self.replayed = counter("records_replayed", "Records at or before a twin's position, skipped")
        self.twins_written = counter("twins_written", "Twins brought to a new revision")
        self.alone = gauge("twins_written_alone", "Twins that were new, or changed what questions find them by")
        self.apart = gauge("turns_written_apart", "Turns of which MongoDB did not take the twins in one transaction")
        self.erased = gauge("erased_documents", "Profiles and activities deleted since their customer was erased")
        self.conflicts = counter("conflicts", "Twins folded again because another writer was first")
        self.dead_letters = counter("dead_letters", "Messages or records sent to a dead-letter topic", "reason")
        self.transitions = counter("anomaly_changes", "Findings raised, risen or closed", "detector", "status")
        self.facts = counter("facts", "Profiles, roles and lifecycle steps applied", "type")
        self.refused_writes = counter(
            "refused_writes", "Writes beside the twins that the database refused", "collection"
        )
        self.waits = counter("waits", "Times the database or a broker had to be waited for")
        self.partitions = gauge("partitions", "Partitions that this worker reads")
        self.lag_records = gauge("lag_records", "Records in the log after the last one read")
        self._at_hand_ms: deque[int] = deque()
        self.lag_seconds = gauge("lag_seconds", "Age in Kafka of the oldest record that was read and is not written")
        self.lag_seconds.set_function(self._lag_s)
        self.carried_records = gauge("carried_records", "Records of busy assets that wait for their turn")
        self.cached_twins = gauge("cached_twins", "Twins in memory, see fold.cached_twins_max")
        self.cached_bytes = gauge("cached_bytes", "What they take, about, see fold.cached_bytes_max")
        self.largest_twin_bytes = gauge("largest_twin_bytes", "Largest half of a twin written, see fold.twin_bytes_max")
        self.twins = gauge("twins", "Documents in the twins collection")
        self.open_anomalies = gauge("open_anomalies", "Anomalies not resolved")
        self.owners_linked = gauge("owners_linked", "Twins that show an owner")
        self.silent_twins = gauge("silent_twins", "Twins marked silent")
        self.oldest_twin_age_seconds = gauge("oldest_twin_age_seconds", "Time since the longest-silent asset was heard")
        self.step_seconds = Histogram(
            "fleetfold_cloud_step_seconds", "One turn of the loop that had records", registry=self.registry
        )
        self.age_seconds = Ages(
            "fleetfold_cloud_age_seconds",
            "From reception at the gateway to the written twin, newest message of each record",
            _AGE_BUCKETS_S,
        )
        self.registry.register(self.age_seconds)
        self.turn_records = Histogram(
            "fleetfold_cloud_turn_records", "Records in a turn", buckets=_COUNT_BUCKETS, registry=self.registry
        )
        self.turn_bytes = Histogram(
            "fleetfold_cloud_turn_bytes", "Bytes in a turn", buckets=_BYTES_BUCKETS, registry=self.registry
        )
        self.stage_seconds = Histogram(
            "fleetfold_cloud_stage_seconds", "One stage of a turn", ("stage",), registry=self.registry
        )
        self.stage_cpu_seconds = counter("stage_cpu_seconds", "Processor time of the thread that does it", "stage")

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure what runs within as a stage of a turn."""
        began_s, cpu_s = time.perf_counter(), time.thread_time()
        try:
            yield
        finally:
            self.stage_seconds.labels(name).observe(time.perf_counter() - began_s)
            self.stage_cpu_seconds.labels(name).inc(time.thread_time() - cpu_s)

    def begun(self, records: Sequence[Record]) -> None:
        """A turn has these; it ends with `settled`, in the order of the turns."""
        self._at_hand_ms.append(min([record.timestamp_ms for record in records]))

    def settled(self, records: Sequence[Record], lag_records: int) -> None:
        """A turn is written and its offsets may go."""
        self._at_hand_ms.popleft()
        for topic, count in Tally([record.topic for record in records]).items():
            self.records.labels(topic).inc(count)
        self.turn_records.observe(len(records))
        self.turn_bytes.observe(sum([len(record.value or b"") for record in records]))
        self.lag_records.set(lag_records)

    def _lag_s(self) -> float:
        """As of now, on the thread that asks: it grows while a server is waited for."""
        try:
            oldest_ms = self._at_hand_ms[0]
        except IndexError:  # all is written
            return 0.0
        return max(0.0, time.time() - oldest_ms / 1000)

    def count(self, outcomes: Sequence[Outcome]) -> None:
        """What folds that are written now brought."""
        self.folded.inc(sum(outcome.folded for outcome in outcomes))
        self.duplicates.inc(sum(outcome.duplicates for outcome in outcomes))
        self.uncertain.inc(sum(outcome.uncertain for outcome in outcomes))
        self.replayed.inc(sum(outcome.replayed for outcome in outcomes))

    def _counter(self, name: str, help_: str, *labels: str) -> Counter:
        return Counter(f"fleetfold_cloud_{name}", help_, labels, registry=self.registry)

    def _gauge(self, name: str, help_: str) -> Gauge:
        return Gauge(f"fleetfold_cloud_{name}", help_, registry=self.registry)
