"""What the agent counted since it started. Each field has one writing thread; others only look."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Counts:
    """Messages are what MQTT delivered, records what the spool holds, batches what Kafka is given."""

    received: int = 0
    received_bytes: int = 0
    cleared: int = 0
    """Empty retained messages: they only clear what the broker keeps."""
    acknowledged: int = 0
    acknowledgements_dropped: int = 0
    """Of connections that had ended: the broker sends those messages again."""
    connections: int = 0
    sessions_lost: int = 0
    """Connections on which the broker did not know our session any more."""
    mqtt_errors: int = 0
    dead_letters: Counter[str] = field(default_factory=Counter)
    """By reason."""
    appended: int = 0
    produced: int = 0
    """Batches and dead letters handed to the Kafka client."""
    delivered: int = 0
    """Records that Kafka confirmed."""
    resent: int = 0
    """Batches given to Kafka again: it may have them already."""
    kafka_wire_bytes: int = 0
    """Sent to Kafka's brokers, as of the last second."""
    kafka_errors: Counter[str] = field(default_factory=Counter)
    """By name."""
    disk_errors: Counter[str] = field(default_factory=Counter)
    """By what was tried."""
    reloads: Counter[str] = field(default_factory=Counter)
    """Of the configuration, by result: applied, partly, faulty."""
