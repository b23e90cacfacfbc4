"""Whether the agent does its work, and if not, why. Looks at plain values only: it runs in the health thread."""

from typing import Any, NamedTuple

from runtime.health import Health


class Condition(NamedTuple):
    """How the agent is. Faults are texts for people, None when all is well."""

    mqtt_fault: str | None
    mqtt_connected: bool
    disk_fault: str | None
    kafka_fault: str | None
    is_working: bool
    """Whether the loop turns and the network thread lives."""
    undelivered: int
    undelivered_age_s: float
    received: int
    acknowledged: int
    delivered: int
    queued: int
    spool_bytes: int


def judge(condition: Condition, undelivered_age_s_max: float) -> Health:
    """Healthy: connected, durable, and nothing waits too long. Kafka being away is no fault in itself."""
    reasons: list[str] = []
    if not condition.is_working:
        reasons.append("the loop or a network thread hangs or has ended: restart the agent")
    if not condition.mqtt_connected:
        reasons.append(f"mqtt: {condition.mqtt_fault or 'not connected'}")
    if condition.disk_fault is not None:
        reasons.append(f"disk: {condition.disk_fault}")
    if condition.kafka_fault is not None:
        reasons.append(f"kafka: {condition.kafka_fault}")
    if condition.undelivered_age_s > undelivered_age_s_max:
        reasons.append(f"kafka: a record has waited {condition.undelivered_age_s:.0f} s")
    details: dict[str, Any] = {
        "reasons": reasons,
        "undelivered": condition.undelivered,
        "undelivered_age_s": round(condition.undelivered_age_s, 1),
        "mqtt_connected": condition.mqtt_connected,
        "received": condition.received,
        "acknowledged": condition.acknowledged,
        "delivered": condition.delivered,
        "queued": condition.queued,
        "spool_bytes": condition.spool_bytes,
    }
    return Health(not reasons, details)
