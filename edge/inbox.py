"""The bounded queue between the MQTT thread and the agent's loop."""

import threading
from typing import NamedTuple

_STOP_POLL_S = 0.5


class Token(NamedTuple):
    """What an acknowledgement needs: a message id counts only within its connection. QoS 0 has `message_id` 0."""

    connection: int
    message_id: int


class Received(NamedTuple):
    """An MQTT message as it came. `malformed` says what is wrong with the packet itself."""

    topic: str
    payload: bytes
    retain: bool
    received_ms: int
    token: Token
    malformed: str | None = None


class Inbox:
    """`put` waits while `messages_max` or `bytes_max` are reached, so that the broker feels it; nothing is dropped."""

    def __init__(self, messages_max: int, bytes_max: int) -> None:
        self._messages_max = messages_max
        self._bytes_max = bytes_max
        self._messages: list[Received] = []
        self._bytes = 0
        self._changed = threading.Condition(threading.Lock())
        self._waits_for = 0
        self._closed = False

    def __len__(self) -> int:
        return len(self._messages)

    def put(self, message: Received) -> bool:
        """Add a message; False once the inbox is closed: then nobody takes it any more."""
        with self._changed:
            while self._is_full() and not self._closed:
                self._changed.wait(_STOP_POLL_S)
            if self._closed:
                return False
            self._messages.append(message)
            self._bytes += len(message.payload)
            if 0 < self._waits_for <= len(self._messages) or self._is_full():
                self._changed.notify_all()
            return True

    def _is_full(self) -> bool:
        return len(self._messages) >= self._messages_max or self._bytes >= self._bytes_max

    def take(self, wait_s: float, gather_s: float = 0.0, enough: int = 1) -> list[Received]:
        """All messages, oldest first. Waits `wait_s` for the first, then `gather_s` for `enough` of them."""
        with self._changed:
            self._wait(1, wait_s)
            if self._messages and gather_s > 0:
                self._wait(enough, gather_s)
            taken, self._messages = self._messages, []
            self._bytes = 0
            self._changed.notify_all()
            return taken

    def _wait(self, messages: int, seconds: float) -> None:
        self._waits_for = messages
        self._changed.wait_for(
            lambda: len(self._messages) >= messages or self._is_full() or self._closed, max(0.0, seconds)
        )
        self._waits_for = 0

    def close(self) -> None:
        """Let nobody wait any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
