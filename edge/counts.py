"""What the agent counted since it started. Each field has one writing thread; others only look."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class BrokerCounts:
    """Of one MQTT broker; its thread writes them."""

    received: int = 0
    acknowledged: int = 0
    acknowledgements_dropped: int = 0
    """Of connections that had ended: the broker sends those messages again."""
    connections: int = 0
    sessions_lost: int = 0
    """Connections on which the broker did not know our session any more."""
    errors: int = 0
    """Failed connections and packets that cannot be decoded."""
    dropped: int = 0
    """Messages that the broker says it dropped, of any of its clients, since we first heard."""


@dataclass(slots=True)
class Counts:
    """Messages are what MQTT delivered, records what the spool holds, batches what Kafka is given."""

    received: int = 0
    received_bytes: int = 0
    cleared: int = 0
    """Empty retained messages: they only clear what the broker keeps."""
    sequence_jumps: int = 0
    """In what devices count, see `edge.sequences`."""
    sequence_missing: int = 0
    """Frames that these jumps passed over; some may have come late."""
    brokers: dict[str, BrokerCounts] = field(default_factory=dict)
    """By the name in the configuration."""
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

    def broker(self, name: str) -> BrokerCounts:
        """The counts of one broker; made when first asked for."""
        return self.brokers.setdefault(name, BrokerCounts())

    @property
    def acknowledged(self) -> int:
        """Of all brokers."""
        return sum(each.acknowledged for each in self.brokers.values())

    @property
    def acknowledgements_dropped(self) -> int:
        """Of all brokers."""
        return sum(each.acknowledgements_dropped for each in self.brokers.values())

    @property
    def connections(self) -> int:
        """Of all brokers."""
        return sum(each.connections for each in self.brokers.values())

    @property
    def sessions_lost(self) -> int:
        """Of all brokers."""
        return sum(each.sessions_lost for each in self.brokers.values())

    @property
    def mqtt_errors(self) -> int:
        """Of all brokers."""
        return sum(each.errors for each in self.brokers.values())
