"""A Kafka client and an MQTT side that do as a test says."""

from dataclasses import dataclass, field

from edge.inbox import Received, Token
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

    def send(self, parcel: Parcel) -> bool:
        if len(self.held) >= self.room:
            return False
        self.held.append(parcel)
        return True

    def reports(self) -> list[Report]:
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
            self.pending.append(Report(parcel, None))
        del self.held[:count]

    def refuse(self, error: SendError, count: int | None = None) -> None:
        """Report an error for the oldest."""
        count = len(self.held) if count is None else count
        self.pending += [Report(parcel, error) for parcel in self.held[:count]]
        del self.held[:count]


@dataclass
class FakeReceiver:
    """Gives what a test put into `waiting`; notes what was acknowledged."""

    waiting: list[Received] = field(default_factory=list)
    acknowledged: list[Token] = field(default_factory=list)
    waits_s: list[float] = field(default_factory=list)
    stopped: bool = False

    def take(self, wait_s: float) -> list[Received]:
        self.waits_s.append(wait_s)
        taken, self.waiting = self.waiting, []
        return taken

    def acknowledge(self, messages: list[Received]) -> None:
        self.acknowledged += [message.token for message in messages]

    def stop(self) -> None:
        self.stopped = True

    def signals(self, *numbers: int, asset_id: str = "car-1", size: int = 0) -> None:
        """Messages whose payloads name them; the message id is the number + 1."""
        topic = mqtt_topic(Kind.VEHICLE, asset_id, Channel.SIGNALS)
        for number in numbers:
            self.put(topic, f"{number}:".encode() + b"x" * size, number + 1)

    def put(self, topic: str, payload: bytes, message_id: int) -> None:
        self.waiting.append(Received(topic, payload, False, 1_750_000_000_000, Token(1, message_id)))
