"""Healthy or not, and why; and the metrics."""

from prometheus_client import CollectorRegistry, generate_latest

from edge import health
from edge.counts import Counts
from edge.health import Condition
from edge.metrics import AgentCollector, Gauges

WELL = Condition(
    mqtt_fault=None,
    mqtt_connected=True,
    disk_fault=None,
    kafka_fault=None,
    is_working=True,
    undelivered=7,
    undelivered_age_s=3.0,
    received=9,
    acknowledged=9,
    delivered=2,
    queued=0,
    spool_bytes=100,
)


def test_a_working_agent_is_healthy_though_kafka_is_away() -> None:
    state = health.judge(WELL, undelivered_age_s_max=900)
    assert state.healthy
    assert (state.details["undelivered"], state.details["mqtt_connected"]) == (7, True)
    assert (state.details["received"], state.details["delivered"]) == (9, 2)


def test_each_fault_is_a_reason() -> None:
    ill = {
        "mqtt_connected": (False, "mqtt: not connected"),
        "disk_fault": ("append: no space left", "disk: append: no space left"),
        "kafka_fault": ("t: not authorized", "kafka: t: not authorized"),
        "undelivered_age_s": (901.0, "kafka: a record has waited 901 s"),
        "is_working": (False, "the loop or a network thread hangs or has ended: restart the agent"),
    }
    for field, (value, reason) in ill.items():
        state = health.judge(WELL._replace(**{field: value}), undelivered_age_s_max=900)
        assert not state.healthy
        assert state.details["reasons"] == [reason]


def test_every_count_is_exported() -> None:
    counts = Counts(received=5, delivered=3, sequence_jumps=1, sequence_missing=4)
    counts.broker("mqtt").acknowledged = 2
    counts.broker("site-b").acknowledged = 1
    counts.broker("site-b").dropped = 9
    counts.dead_letters["too_large"] += 2
    registry = CollectorRegistry()
    gauges = Gauges(
        True, {"mqtt": True, "site-b": False}, 1, 2, 3, 7, 8, True, {"signals": 4}, 0.5, {("signals", "evicted"): 6}
    )
    registry.register(AgentCollector(counts, lambda: gauges))
    page = generate_latest(registry).decode()
    for line in (
        "fleetfold_edge_mqtt_messages_received_total 5.0",
        "fleetfold_edge_mqtt_messages_acknowledged_total 3.0",
        'fleetfold_edge_broker_acknowledged_total{broker="mqtt"} 2.0',
        'fleetfold_edge_broker_connected{broker="site-b"} 0.0',
        'fleetfold_edge_broker_dropped_total{broker="site-b"} 9.0',
        "fleetfold_edge_device_sequence_jumps_total 1.0",
        "fleetfold_edge_device_frames_missing_total 4.0",
        "fleetfold_edge_records_delivered_total 3.0",
        'fleetfold_edge_dead_letters_total{reason="too_large"} 2.0',
        'fleetfold_edge_spool_records_undelivered{storage_class="signals"} 4.0',
        'fleetfold_edge_spool_records_lost_total{reason="evicted",storage_class="signals"} 6.0',
        "fleetfold_edge_mqtt_connected 1.0",
        "fleetfold_edge_spool_undelivered_age_seconds 0.5",
    ):
        assert line in page.splitlines(), line
