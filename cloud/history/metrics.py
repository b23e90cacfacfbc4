"""What the keeper of history exports to Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Metrics:
    """All metrics of one keeper, on a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        counter, gauge = self._counter, self._gauge
        self.records = counter("records", "Kafka records read")
        self.samples = counter("samples", "Samples written in pieces")
        self.pieces = counter("pieces", "Pieces written")
        self.refused = counter("refused", "Pieces that the database would not take; the log says why")
        self.merged = counter("merged", "Pieces merged into buckets")
        self.buckets = counter("buckets", "Buckets written")
        self.waits = counter("waits", "Times the database had to be waited for")
        self.lag_records = gauge("lag_records", "Records in the log after the last one read")
        self.buffer_bytes = gauge("buffer_bytes", "Records read and not yet written")
        self.flush_seconds = Histogram(
            "fleetfold_history_flush_seconds", "Making and writing the pieces of one partition", registry=self.registry
        )

    def _counter(self, name: str, help_: str) -> Counter:
        return Counter(f"fleetfold_history_{name}", help_, registry=self.registry)

    def _gauge(self, name: str, help_: str) -> Gauge:
        return Gauge(f"fleetfold_history_{name}", help_, registry=self.registry)
