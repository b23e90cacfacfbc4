"""What the twin service exports to Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Metrics:
    """All metrics of one process, on a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        counter, gauge = self._counter, self._gauge
        self.records = counter("records", "Kafka records read", "topic")
        self.folded = counter("messages_folded", "Frames and events folded for the first time")
        self.duplicates = counter("duplicates", "Messages dropped because the twin had seen them")
        self.uncertain = counter("uncertain", "Messages used but not counted: it is not known whether they were seen")
        self.replayed = counter("records_replayed", "Records at or before a twin's position, skipped")
        self.conflicts = counter("conflicts", "Twins folded again because another writer was first")
        self.dead_letters = counter("dead_letters", "Messages or records sent to a dead-letter topic", "reason")
        self.transitions = counter("anomaly_changes", "Findings raised, risen or closed", "detector", "status")
        self.facts = counter("facts", "Profiles, roles and lifecycle steps applied", "type")
        self.waits = counter("waits", "Times the database or a broker had to be waited for")
        self.lag_records = gauge("lag_records", "Records in the log after the last one read")
        self.twins = gauge("twins", "Documents in the twins collection")
        self.open_anomalies = gauge("open_anomalies", "Anomalies not resolved")
        self.owners_linked = gauge("owners_linked", "Twins that show an owner")
        self.silent_twins = gauge("silent_twins", "Twins marked silent")
        self.oldest_twin_age_seconds = gauge("oldest_twin_age_seconds", "Time since the longest-silent asset was heard")
        self.step_seconds = Histogram(
            "fleetfold_cloud_step_seconds", "One turn of the loop that had records", registry=self.registry
        )
        self.age_seconds = Histogram(
            "fleetfold_cloud_age_seconds",
            "From reception at the gateway to the written twin, newest message of each record",
            buckets=(0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 3600),
            registry=self.registry,
        )

    def _counter(self, name: str, help_: str, *labels: str) -> Counter:
        return Counter(f"fleetfold_cloud_{name}", help_, labels, registry=self.registry)

    def _gauge(self, name: str, help_: str) -> Gauge:
        return Gauge(f"fleetfold_cloud_{name}", help_, registry=self.registry)
