"""Messages to an MQTT broker: MQTT 5, QoS 1, a few connections that carry many devices, or one for each.

Single-threaded on purpose: `publish` writes to the sockets at once, `poll` reads acknowledgements. Each connection
has a bounded window of unacknowledged messages; `publish` waits while it is full, so a slow broker slows the sender.
After a lost connection everything unacknowledged is sent again, which QoS 1 allows and receivers must expect.

Devices that share a connection have no last will: it would be the word of one for all. When the simulator dies, the
broker goes on to show them online, with the time at which they were last seen.
"""

import math
import os
import resource
import selectors
import threading
import time
from collections import defaultdict
from collections.abc import Collection, Sequence
from types import TracebackType
from typing import Any, Final, Self

import numpy as np

from runtime.settings import MqttSettings
from simulator.arrays import Integers
from simulator.connection import Connection
from simulator.devices import Message
from simulator.errors import UnreachableError, UnusableError
from simulator.packets import Packets
from simulator.settings import SendSection
from wire.topics import Channel, mqtt_topic

_UPKEEP_S: Final = 1.0
_POLL_S: Final = 0.05
_GATHER_S: Final = 0.02
_WINDOW_OF_ONE: Final = 64
"""Of a connection that carries one device."""


class Publisher:
    """Sends messages of many devices; raises `UnreachableError` if the broker cannot be reached at the start.

    Once `stop` is set it waits no longer than `stop_timeout_s` in all; what it cannot send then is `unacknowledged`.
    """

    def __init__(self, mqtt: MqttSettings, send: SendSection, stop: threading.Event) -> None:
        self._mqtt, self._send, self._stop = mqtt, send, stop
        self._patience_ends = math.inf
        self._upkeep_at = 0.0
        self._refused = 0
        self._sent_bytes = 0
        self._acknowledged: list[Integers] = []
        self._abandoned = 0
        self._connections: dict[int, Connection] = {}
        self._network = _Network()
        for number in range(send.connections):
            self._connections[number] = self._opened(f"fleetfold-sim-{os.getpid()}-{number}", None)

    def publish(self, messages: Sequence[Message], positions: Sequence[int]) -> None:
        """Send messages in order, waiting while windows are full. `positions` in the truth, `UNCOUNTED` for none."""
        if not self._send.connections:
            for message, position in zip(messages, positions, strict=True):
                self._publish_alone(message, position)
            return
        waiting: dict[int, tuple[list[Message], list[int]]] = defaultdict(lambda: ([], []))
        for message, position in zip(messages, positions, strict=True):
            of_connection = waiting[message.device % self._send.connections]
            of_connection[0].append(message)
            of_connection[1].append(position)
        for number, packed in waiting.items():
            self._connections[number].send(Packets(*packed))
        self._push([self._connections[number] for number in waiting])

    def _publish_alone(self, message: Message, position: int) -> None:
        """On the device's own connection: a birth opens it with the device's will, a farewell is its last message."""
        if message.will is not None:
            self._vanish(message.device)
            topic = mqtt_topic(message.kind, message.asset_id, message.channel)
            self._connections[message.device] = self._opened(message.asset_id, (topic, message.will))
        connection = self._connections[message.device]
        connection.send(Packets([message], [position]))
        connection.leaves_when_done = message.channel is Channel.CONNECTION and message.will is None
        self._push([connection])

    def _push(self, connections: list[Connection]) -> None:
        """Wait until what was added to them is on its way."""
        while connections := [connection for connection in connections if connection.window.backlog]:
            if self._impatient():
                self._abandoned += sum(connection.window.abandon() for connection in connections)
                return
            self._serve(_POLL_S)

    def _impatient(self) -> bool:
        if self._stop.is_set() and math.isinf(self._patience_ends):
            self._patience_ends = time.monotonic() + self._send.stop_timeout_s
        return time.monotonic() > self._patience_ends

    def poll(self, timeout_s: float) -> None:
        """Wait up to `timeout_s`, reading acknowledgements and keeping connections alive.

        A broker says each acknowledgement as it comes; to wake for every one would cost more than all else here.
        """
        gathering_s = min(timeout_s, _GATHER_S)
        if gathering_s > 0:
            time.sleep(gathering_s)
        self._serve(timeout_s - gathering_s)

    def _serve(self, timeout_s: float) -> None:
        self._network.serve(self._connections.values(), timeout_s)
        now = time.monotonic()
        if now < self._upkeep_at:
            return
        self._upkeep_at = now + _UPKEEP_S
        for device, connection in list(self._connections.items()):
            if connection.leaves_when_done and not connection.window.outstanding:
                self._retire(device)
            else:
                connection.keep_up()

    def take_acknowledged(self) -> Integers:
        """Positions acknowledged since the last call."""
        taken, self._acknowledged = self._acknowledged, []
        for connection in self._connections.values():
            taken += connection.acknowledged
            connection.acknowledged = []
        return np.concatenate(taken) if taken else np.zeros(0, dtype=np.int64)

    @property
    def unacknowledged(self) -> int:
        """Messages that wait for the broker."""
        return self._abandoned + sum(
            connection.window.outstanding + connection.window.backlog for connection in self._connections.values()
        )

    @property
    def refused(self) -> int:
        """Messages that the broker answered with a failure."""
        return self._refused + sum(connection.refused for connection in self._connections.values())

    @property
    def sent_bytes(self) -> int:
        """Written to the network after connecting: packets, and those that were sent again."""
        return self._sent_bytes + sum(connection.sent_bytes for connection in self._connections.values())

    def close(self) -> None:
        for device in list(self._connections):
            self._retire(device)
        self._network.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _opened(self, client_id: str, will: tuple[str, bytes] | None) -> Connection:
        limit = self._send.in_flight_messages_max
        window = limit if will is None else min(limit, _WINDOW_OF_ONE)
        connection = Connection(self._mqtt, client_id, window, will)
        deadline = time.monotonic() + self._send.connect_timeout_s
        try:
            connection.open(self._send.connect_timeout_s)
            while not connection.is_up and not connection.fault and time.monotonic() < deadline:
                self._network.serve([*self._connections.values(), connection], _POLL_S)
        except (OSError, ValueError) as error:
            raise UnreachableError(f"{self._mqtt.url}: {error}") from error
        if not connection.is_up:
            raise UnreachableError(f"{self._mqtt.url}: {connection.fault or 'no answer'}")
        return connection

    def _vanish(self, device: int) -> None:
        """A device that restarts without a farewell breaks its old connection, once what it sent has arrived."""
        connection = self._connections.get(device)
        if connection is None:
            return
        deadline = time.monotonic() + self._send.connect_timeout_s
        while connection.window.outstanding and time.monotonic() < deadline:
            self.poll(_POLL_S)
        if not connection.leaves_when_done:
            connection.drop()
        self._retire(device)

    def _retire(self, device: int) -> None:
        connection = self._connections.pop(device)
        connection.close()
        self._acknowledged += connection.acknowledged
        self._refused += connection.refused
        self._sent_bytes += connection.sent_bytes
        self._abandoned += connection.window.outstanding + connection.window.backlog


class _Network:
    """Waits for many sockets at once; what it waits for follows the connections."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._known: dict[Connection, tuple[Any, int]] = {}

    def serve(self, connections: Collection[Connection], timeout_s: float) -> None:
        """Wait up to `timeout_s` for the network and handle what it brings."""
        self._follow(connections)
        if not self._known:
            time.sleep(timeout_s)
            return
        for key, events in self._selector.select(timeout_s):
            if events & selectors.EVENT_READ:
                key.data.read()
            key.data.write()  # an answer may have opened the window

    def _follow(self, connections: Collection[Connection]) -> None:
        wanted = {connection: _interest(connection) for connection in connections if connection.socket is not None}
        for connection, before in list(self._known.items()):
            if wanted.get(connection) != before:
                self._selector.unregister(before[0])
                del self._known[connection]
        for connection, interest in wanted.items():
            if connection not in self._known:
                self._selector.register(*interest, connection)
                self._known[connection] = interest

    def close(self) -> None:
        self._selector.close()


def _interest(connection: Connection) -> tuple[Any, int]:
    return connection.socket, selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.wants_to_write else 0)


def allow_files(count: int) -> None:
    """Let this process have so many open files. Raises `UnusableError` where the machine does not allow it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= count:
        return
    if hard != resource.RLIM_INFINITY and hard < count:
        raise UnusableError(f"a connection for each device needs {count} open files, the machine allows {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
