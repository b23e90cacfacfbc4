"""The bounded queue between the MQTT threads and the agent's loop."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

_TOPIC_BYTES: Final = 1_000
"""What one topic's payloads cost in memory on their way to the spool, beside their bytes, about: with a topic for each
message that is the most of it."""


class Connection(NamedTuple):
    """One connection to one broker: message ids count only within it."""

    broker: int
    number: int


class Odd(NamedTuple):
    """A message that is no payload to send: empty, too large, or of a packet that cannot be decoded.

    `size` is the original's bytes; `payload` may be cut. `malformed` says what is wrong with the packet itself.
    """

    topic: bytes
    payload: bytes
    size: int
    retain: bool = False
    malformed: str | None = None


@dataclass(slots=True)
class Delivery:
    """Messages that were received together, by topic; those of a topic in order.

    `pubacks` and `pubrecs` are the message ids to acknowledge at QoS 1 and 2, in the order received, two bytes each.
    """

    connection: Connection
    received_ms: int
    payloads: dict[bytes, list[bytes]] = field(default_factory=dict)
    odd: list[Odd] = field(default_factory=list)
    pubacks: list[bytes] = field(default_factory=list)
    pubrecs: list[bytes] = field(default_factory=list)
    aside: list[bytes] = field(default_factory=list)
    """Payloads of the topic that is for the receiver itself; they count as no messages."""
    count: int = 0
    size_bytes: int = 0
    """Of the payloads."""


class Inbox:
    """Nothing is dropped: who puts reads no more while `is_full`, so that the broker feels it.

    `messages_max` and `bytes_max` (with what topics cost) are exceeded by one delivery of each broker at most.
    """

    def __init__(self, messages_max: int, bytes_max: int) -> None:
        self._messages_max = messages_max
        self._bytes_max = bytes_max
        self._deliveries: list[Delivery] = []
        self._count = 0
        self._bytes = 0
        self._topics: set[bytes] = set()
        self._changed = threading.Condition(threading.Lock())
        self._waits_for = 0
        self._closed = False
        self._on_room: list[Callable[[], None]] = []

    def on_room(self, notify: Callable[[], None]) -> None:
        """Call this whenever a full inbox was emptied."""
        self._on_room.append(notify)

    def __len__(self) -> int:
        """Messages that wait."""
        return self._count

    def put(self, delivery: Delivery) -> bool:
        """Add messages; never waits. False once the inbox is closed: then nobody takes them any more."""
        with self._changed:
            if self._closed:
                return False
            self._deliveries.append(delivery)
            self._count += delivery.count
            self._bytes += delivery.size_bytes
            self._topics.update(delivery.payloads)
            if 0 < self._waits_for <= self._count or self.is_full:
                self._changed.notify()
            return True

    @property
    def is_full(self) -> bool:
        """Whether to read no more. For any thread."""
        size_bytes = self._bytes + _TOPIC_BYTES * len(self._topics)
        return self._count >= self._messages_max or size_bytes >= self._bytes_max

    def take(self, wait_s: float, gather_s: float = 0.0, enough: int = 1) -> list[Delivery]:
        """Everything, oldest first. Waits `wait_s` for the first message, then `gather_s` for `enough` of them."""
        with self._changed:
            self._wait(1, wait_s)
            if self._count and gather_s > 0:
                self._wait(enough, gather_s)
            was_full = self.is_full
            taken, self._deliveries = self._deliveries, []
            self._count = self._bytes = 0
            self._topics = set()
        if was_full:
            for notify in self._on_room:
                notify()
        return taken

    def _wait(self, messages: int, seconds: float) -> None:
        if self._count >= messages or self.is_full or self._closed or seconds <= 0:
            return
        self._waits_for = messages
        self._changed.wait_for(lambda: self._count >= messages or self.is_full or self._closed, seconds)
        self._waits_for = 0

    def close(self) -> None:
        """Let nobody wait any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
