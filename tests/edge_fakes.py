"""A Kafka client and an MQTT side that do as a test says."""

from dataclasses import dataclass, field

from edge.inbox import Connection, Delivery, Odd
from edge.parcels import Parcel, Report, SendError, Verdict
from wire.topics import Channel, Kind, mqtt_topic

REFUSED = SendError(Verdict.REFUSED, "MSG_SIZE_TOO_LARGE", "too large")
LATER = SendError(Verdict.LATER, "TOPIC_AUTHORIZATION_FAILED", "not authorized")
BROKEN = SendError(Verdict.CLIENT_BROKEN, "OUT_OF_ORDER_SEQUENCE_NUMBER", "out of order")


@dataclass
class FakeSink:
    """Holds what it was given until `deliver` or `refuse`."""

    room: int = 1_000
    broken: bool = False
    held: list[Parcel] = field(default_factory=list)
    delivered: list[Parcel] = field(default_factory=list)
    rebuilds: int = 0
    pending: list[Report] = field(default_factory=list)
    waits_s: list[float] = field(default_factory=list)
    wire_bytes: int = 0

    def send(self, parcel: Parcel) -> bool:
        if len(self.held) >= self.room:
            return False
        self.held.append(parcel)
        return True

    def reports(self, wait_s: float = 0.0) -> list[Report]:
        self.waits_s.append(wait_s)
        taken, self.pending = self.pending, []
        return taken

    @property
    def is_broken(self) -> bool:
        return self.broken

    def rebuild(self) -> None:
        self.rebuilds += 1
        self.broken = False
        self.held.clear()
        self.pending.clear()

    def deliver(self, count: int | None = None) -> None:
        """Confirm the oldest."""
        count = len(self.held) if count is None else count
        for parcel in self.held[:count]:
            self.delivered.append(parcel)
            self.pending.append((parcel, None))
        del self.held[:count]

    def refuse(self, error: SendError, count: int | None = None) -> None:
        """Report an error for the oldest."""
        count = len(self.held) if count is None else count
        self.pending += [(parcel, error) for parcel in self.held[:count]]
        del self.held[:count]


@dataclass
class FakeReceiver:
    """Gives what a test put into `waiting`; notes the message ids that were acknowledged."""

    waiting: list[Delivery] = field(default_factory=list)
    acknowledged: list[int] = field(default_factory=list)
    waits_s: list[float] = field(default_factory=list)
    stopped: bool = False

    def take(self, wait_s: float) -> list[Delivery]:
        self.waits_s.append(wait_s)
        taken, self.waiting = self.waiting, []
        return taken

    def acknowledge(self, deliveries: list[Delivery]) -> None:
        self.acknowledged += [int.from_bytes(each, "big") for delivery in deliveries for each in delivery.pubacks]

    def stop(self) -> None:
        self.stopped = True

    def signals(self, *numbers: int, asset_id: str = "car-1", size: int = 0, now_ms: int = 1_750_000_000_000) -> None:
        """Messages whose payloads name them; the message id is the number + 1."""
        topic = mqtt_topic(Kind.VEHICLE, asset_id, Channel.SIGNALS)
        for number in numbers:
            self.put(topic, f"{number}:".encode() + b"x" * size, number + 1, now_ms)

    def put(self, topic: str, payload: bytes, message_id: int, now_ms: int = 1_750_000_000_000) -> None:
        self.waiting.append(delivery(topic, payload, message_id, now_ms))


def delivery(topic: str, payload: bytes, message_id: int, received_ms: int = 1_750_000_000_000) -> Delivery:
    """One message at QoS 1."""
    made = Delivery(Connection(0, 1), received_ms, count=1, size_bytes=len(payload))
    made.pubacks.append(message_id.to_bytes(2, "big"))
    if payload:
        made.payloads[topic.encode()] = [payload]
    else:
        made.odd.append(Odd(topic.encode(), payload, 0))
    return made
