"""The agent's metrics. Counting is plain additions in the loop; Prometheus' objects are made when it asks."""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from edge.counts import Counts

_BROKER_TOTALS = {
    "received": "Messages received from this broker",
    "acknowledged": "PUBACKs sent to this broker",
    "acknowledgements_dropped": "PUBACKs not sent because their connection had ended",
    "connections": "Connections that this broker accepted",
    "sessions_lost": "Reconnections to this broker after it had lost our session",
    "errors": "Failed connections and packets that cannot be decoded",
    "dropped": "Messages that the broker says it dropped, of any of its clients, since we first heard",
}
_SYNC_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Gauges(NamedTuple):
    """What is measured at the moment of asking; the maps are by storage class (and reason)."""

    mqtt_connected: bool
    brokers_connected: Mapping[str, bool]
    queued: int
    spool_bytes: int
    written_bytes: int
    flash_bytes: int
    backlog: int
    link_metered: bool
    undelivered: Mapping[str, int]
    undelivered_age_s: float
    lost: Mapping[tuple[str, str], int]


class AgentCollector(Collector):
    """Reads counts and gauges; every name begins with `fleetfold_edge_`."""

    def __init__(self, counts: Counts, gauges: Callable[[], Gauges]) -> None:
        self._counts = counts
        self._gauges = gauges

    def collect(self) -> Iterable[Metric]:
        """All metrics but the histogram."""
        yield from self._totals()
        yield from self._by_label()
        gauges = self._gauges()
        yield from self._by_broker(gauges.brokers_connected)
        yield from self._states(gauges)

    def _totals(self) -> Iterable[Metric]:
        counts = self._counts
        yield _total("mqtt_messages_received", "MQTT messages received", counts.received)
        yield _total("mqtt_received_bytes", "Bytes of their payloads", counts.received_bytes)
        yield _total("mqtt_messages_cleared", "Empty retained messages, ignored", counts.cleared)
        yield _total("mqtt_messages_acknowledged", "PUBACKs sent", counts.acknowledged)
        yield _total(
            "mqtt_acknowledgements_dropped",
            "PUBACKs not sent because their connection had ended",
            counts.acknowledgements_dropped,
        )
        yield _total("mqtt_connections", "Connections that the broker accepted", counts.connections)
        yield _total("mqtt_sessions_lost", "Reconnections to a broker that had lost our session", counts.sessions_lost)
        yield _total("mqtt_errors", "Failed connections and packets that cannot be decoded", counts.mqtt_errors)
        yield _total("device_sequence_jumps", "Jumps in what devices count", counts.sequence_jumps)
        yield _total(
            "device_frames_missing", "Frames that these jumps passed over; some may come late", counts.sequence_missing
        )
        yield _total("kafka_batches_produced", "Batches and dead letters given to the Kafka client", counts.produced)
        yield _total("kafka_batches_resent", "Of these, given to it once more", counts.resent)
        yield _total("kafka_sent_bytes", "Bytes sent to Kafka's brokers", counts.kafka_wire_bytes)
        yield _total("records_delivered", "Spool records that Kafka has confirmed", counts.delivered)

    def _by_label(self) -> Iterable[Metric]:
        counts = self._counts
        yield _labelled("dead_letters", "Messages refused, by reason", "reason", counts.dead_letters)
        yield _labelled("kafka_errors", "Errors of the Kafka client, by code", "code", counts.kafka_errors)
        yield _labelled("disk_errors", "What the disk refused, by operation", "operation", counts.disk_errors)
        yield _labelled("config_reloads", "Configurations read again, by result", "result", counts.reloads)

    def _by_broker(self, connected: Mapping[str, bool]) -> Iterable[Metric]:
        state = GaugeMetricFamily("fleetfold_edge_broker_connected", "1 while connected", labels=["broker"])
        for name, is_connected in connected.items():
            state.add_metric([name], is_connected)
        yield state
        for field, text in _BROKER_TOTALS.items():
            family = CounterMetricFamily(f"fleetfold_edge_broker_{field}", text, labels=["broker"])
            for name, counts in list(self._counts.brokers.items()):
                family.add_metric([name], getattr(counts, field))
            yield family

    def _states(self, gauges: Gauges) -> Iterable[Metric]:
        yield _gauge("mqtt_connected", "1 while connected and subscribed", gauges.mqtt_connected)
        yield _gauge("mqtt_messages_queued", "Messages received and not yet looked at", gauges.queued)
        yield _gauge("spool_bytes", "Bytes of all segments", gauges.spool_bytes)
        yield _gauge("spool_undelivered_age_seconds", "Age of the oldest unconfirmed record", gauges.undelivered_age_s)
        yield _total("spool_written_bytes", "Bytes written to the spool, checkpoints included", gauges.written_bytes)
        yield _total("spool_flash_bytes", "The same in whole pages of 4 KiB", gauges.flash_bytes)
        yield _gauge("spool_records_backlog", "Undelivered signals of before a split", gauges.backlog)
        yield _gauge("link_metered", "1 while the uplink costs money", gauges.link_metered)
        waiting = GaugeMetricFamily(
            "fleetfold_edge_spool_records_undelivered", "Records Kafka has not confirmed", labels=["storage_class"]
        )
        for storage_class, records in gauges.undelivered.items():
            waiting.add_metric([storage_class], records)
        yield waiting
        lost = CounterMetricFamily(
            "fleetfold_edge_spool_records_lost", "Records evicted or damaged", labels=["storage_class", "reason"]
        )
        for labels, records in gauges.lost.items():
            lost.add_metric(labels, records)
        yield lost


def _total(name: str, text: str, value: int) -> Metric:
    return CounterMetricFamily(f"fleetfold_edge_{name}", text, value)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"fleetfold_edge_{name}", text, value)


def _labelled(name: str, text: str, label: str, values: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(f"fleetfold_edge_{name}", text, labels=[label])
    for value, number in list(values.items()):
        family.add_metric([value], number)
    return family


def sync_histogram(registry: CollectorRegistry) -> Histogram:
    """Durations of append and fdatasync together."""
    return Histogram(
        "fleetfold_edge_spool_sync_seconds", "Append and fdatasync", registry=registry, buckets=_SYNC_BUCKETS_S
    )
