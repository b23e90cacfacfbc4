"""Messages to an MQTT broker: MQTT 5, QoS 1, a few connections that carry many devices, or one for each.

Single-threaded on purpose: `publish` writes to the socket at once, `poll` reads acknowledgements. Each connection has
a bounded window of unacknowledged messages; `publish` waits while it is full, so a slow broker slows the sender.
After a lost connection everything unacknowledged is sent again, which QoS 1 allows and receivers must expect.
"""

import math
import os
import select
import ssl
import threading
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Final, Self

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from runtime.settings import MqttSettings
from simulator.devices import Message
from simulator.errors import UnreachableError
from simulator.settings import SendSection
from wire.topics import Channel, mqtt_topic

_SESSION_EXPIRY_S: Final = 300
_UPKEEP_S: Final = 1.0
_BACKOFF_S: Final = (0.2, 0.5, 1.0, 2.0, 5.0)


class Connection:
    """One MQTT connection; `outstanding` maps packet ids to positions in the truth (None: not counted)."""

    def __init__(self, settings: MqttSettings, client_id: str, window: int, will: tuple[str, bytes] | None) -> None:
        self.outstanding: dict[int, int | None] = {}
        self.acknowledged: list[int] = []
        self.refused = 0
        self.leaves_when_done = False
        self.is_up = False
        self._settings = settings
        self._failures = 0
        self._retry_at = 0.0
        self._refusal = ""
        client = Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=MQTTv5)
        client.max_inflight_messages_set(window)
        client.max_queued_messages_set(0)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        if settings.username is not None:
            password = settings.password_file.read_text().strip() if settings.password_file else None
            client.username_pw_set(settings.username, password)
        if settings.tls:
            client.tls_set(
                ca_certs=_text(settings.ca_file),
                certfile=_text(settings.certificate_file),
                keyfile=_text(settings.key_file),
                tls_version=ssl.PROTOCOL_TLS_CLIENT,
            )
        if will is not None:
            client.will_set(will[0], will[1], qos=1, retain=True)
        self.client = client

    def open(self, timeout_s: float) -> None:
        """Connect and wait for the broker's answer; raises `UnreachableError`."""
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho leaves it untyped
        properties.SessionExpiryInterval = _SESSION_EXPIRY_S
        deadline = time.monotonic() + timeout_s
        self.client.connect_timeout = timeout_s
        try:
            self.client.connect(
                self._settings.host, self._settings.port, self._settings.keepalive_s, properties=properties
            )
        except (OSError, ValueError) as error:
            raise UnreachableError(f"{self._settings.url}: {error}") from error
        while not self.is_up and not self._refusal and time.monotonic() < deadline:
            serve([self], 0.05)
        if not self.is_up:
            raise UnreachableError(f"{self._settings.url}: {self._refusal or 'no answer'}")

    def send(self, topic: str, payload: bytes, retain: bool, position: int | None) -> None:
        """Hand one message to the connection; what happens to it later is `acknowledged` or `outstanding`."""
        info = self.client.publish(topic, payload, qos=1, retain=retain)
        self.outstanding[info.mid] = position

    def keep_up(self) -> None:
        """Keep-alive, and reconnecting with growing pauses after a loss."""
        if self.is_up or self._refusal == "":
            self.client.loop_misc()
        if self.client.socket() is not None or time.monotonic() < self._retry_at:
            return
        self._retry_at = time.monotonic() + _BACKOFF_S[min(self._failures, len(_BACKOFF_S) - 1)]
        self._failures += 1
        try:
            self.client.reconnect()
        except OSError:
            self.is_up = False

    def drop(self) -> None:
        """Vanish without a word, as a device that loses power: the broker publishes the last will."""
        socket = self.client.socket()
        if socket is not None:
            socket.close()

    def close(self) -> None:
        """Leave in order."""
        if self.client.socket() is not None:
            self.client.disconnect()
            self.client.loop_write()

    def _on_connect(
        self, _client: Client, _data: Any, _flags: ConnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        self.is_up = not reason.is_failure
        self._refusal = str(reason) if reason.is_failure else ""
        if self.is_up:
            self._failures = 0

    def _on_disconnect(
        self, _client: Client, _data: Any, _flags: DisconnectFlags, _reason: ReasonCode, _p: Properties | None
    ) -> None:
        self.is_up = False

    def _on_publish(
        self, _client: Client, _data: Any, packet_id: int, reason: ReasonCode, _properties: Properties
    ) -> None:
        position = self.outstanding.pop(packet_id, None)
        if reason.is_failure:
            self.refused += 1
        elif position is not None:
            self.acknowledged.append(position)


def serve(connections: Iterable[Connection], timeout_s: float) -> None:
    """Wait up to `timeout_s` for the network and handle what it brings."""
    by_socket: dict[Any, Connection] = {connection.client.socket(): connection for connection in connections}
    by_socket.pop(None, None)  # the ones that are not connected
    if not by_socket:
        time.sleep(timeout_s)
        return
    writing = [socket for socket, connection in by_socket.items() if connection.client.want_write()]
    readable, writable, _ = select.select(list(by_socket), writing, [], timeout_s)
    for socket in writable:
        by_socket[socket].client.loop_write()
    for socket in readable:
        if by_socket[socket].client.loop_read() is not MQTTErrorCode.MQTT_ERR_SUCCESS:
            by_socket[socket].is_up = False


class Publisher:
    """Sends messages of many devices; raises `UnreachableError` if the broker cannot be reached at the start.

    Once `stop` is set it waits no longer than `stop_timeout_s` in all; what it cannot send then is `unacknowledged`.
    """

    def __init__(self, mqtt: MqttSettings, send: SendSection, stop: threading.Event) -> None:
        self._mqtt, self._send, self._stop = mqtt, send, stop
        self._patience_ends = math.inf
        self._upkeep_at = 0.0
        self._refused = 0
        self._acknowledged: list[int] = []
        self.abandoned = 0
        self._connections: dict[int, Connection] = {}
        for number in range(send.connections):
            self._connections[number] = self._opened(f"fleetfold-sim-{os.getpid()}-{number}", None)

    def publish(self, message: Message, position: int | None) -> None:
        """Send one message, waiting while its connection's window is full."""
        topic = mqtt_topic(message.kind, message.asset_id, message.channel)
        connection = self._connection_of(message, topic)
        while len(connection.outstanding) >= self._send.in_flight_messages_max:
            if self._impatient():
                self.abandoned += 1
                return
            self.poll(0.05)
        connection.send(topic, message.payload, message.channel is Channel.CONNECTION, position)

    def _impatient(self) -> bool:
        if self._stop.is_set() and math.isinf(self._patience_ends):
            self._patience_ends = time.monotonic() + self._send.stop_timeout_s
        return time.monotonic() > self._patience_ends

    def poll(self, timeout_s: float) -> None:
        """Wait up to `timeout_s`, reading acknowledgements and keeping connections alive."""
        serve(self._connections.values(), timeout_s)
        now = time.monotonic()
        if now < self._upkeep_at:
            return
        self._upkeep_at = now + _UPKEEP_S
        for device, connection in list(self._connections.items()):
            if connection.leaves_when_done and not connection.outstanding:
                self._retire(device)
            else:
                connection.keep_up()

    def take_acknowledged(self) -> list[int]:
        """Positions acknowledged since the last call."""
        taken, self._acknowledged = self._acknowledged, []
        for connection in self._connections.values():
            taken += connection.acknowledged
            connection.acknowledged = []
        return taken

    @property
    def unacknowledged(self) -> int:
        """Messages that wait for the broker."""
        return self.abandoned + sum(len(connection.outstanding) for connection in self._connections.values())

    @property
    def refused(self) -> int:
        """Messages that the broker answered with a failure."""
        return self._refused + sum(connection.refused for connection in self._connections.values())

    def close(self) -> None:
        for device in list(self._connections):
            self._retire(device)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _connection_of(self, message: Message, topic: str) -> Connection:
        if self._send.connections:
            return self._connections[message.device % self._send.connections]
        if message.will is not None:
            self._vanish(message.device)
            self._connections[message.device] = self._opened(message.asset_id, (topic, message.will))
        connection = self._connections[message.device]
        connection.leaves_when_done = message.channel is Channel.CONNECTION and message.will is None
        return connection

    def _opened(self, client_id: str, will: tuple[str, bytes] | None) -> Connection:
        connection = Connection(self._mqtt, client_id, self._send.in_flight_messages_max, will)
        connection.open(self._send.connect_timeout_s)
        return connection

    def _vanish(self, device: int) -> None:
        """A device that restarts without a farewell breaks its old connection, once what it sent has arrived."""
        connection = self._connections.get(device)
        if connection is None:
            return
        deadline = time.monotonic() + self._send.connect_timeout_s
        while connection.outstanding and time.monotonic() < deadline:
            self.poll(0.05)
        if not connection.leaves_when_done:
            connection.drop()
        self._retire(device)

    def _retire(self, device: int) -> None:
        connection = self._connections.pop(device)
        connection.close()
        self._acknowledged += connection.acknowledged
        self._refused += connection.refused
        self.abandoned += len(connection.outstanding)


def _text(path: object) -> str | None:
    return None if path is None else str(path)
