"""One MQTT connection that publishes. paho opens it (TLS, login, last will, CONNACK); from then on packets are
written and answers read here, a window of packets at a time, since paho takes up to 180 µs for a message.
"""

import ssl
import time
from collections import deque
from typing import Any, Final

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from runtime.settings import MqttSettings
from simulator import packets
from simulator.arrays import Integers
from simulator.packets import Packets
from simulator.window import Window

_SESSION_EXPIRY_S: Final = 300
_RECEIVE_BYTES: Final = 262_144
_BACKOFF_S: Final = (0.2, 0.5, 1.0, 2.0, 5.0)
_NOT_NOW: Final = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_SILENCE: Final = 1.5
"""Times the keep-alive: a broker that says nothing for so long is gone (3.1.2.10)."""


class Connection:
    """Open, lost, open again; `window` has what is on its way through all of that."""

    def __init__(self, settings: MqttSettings, client_id: str, window: int, will: tuple[str, bytes] | None) -> None:
        self.window = Window(window)
        self.acknowledged: list[Integers] = []
        """Positions in the truth."""
        self.refused = 0
        self.sent_bytes = 0
        self.leaves_when_done = False
        self.is_up = False
        self.fault = ""
        """For people: why it is not up."""
        self._settings = settings
        self._keepalive_s = float(settings.keepalive_s)
        self._failures = 0
        self._retry_at = 0.0
        self._answer_timeout_s = 0.0
        self._sent_at = self._heard_at = 0.0
        self._unsent: deque[memoryview | bytes] = deque()
        self._torn = b""
        self._client = self._new_client(client_id, will)

    def _new_client(self, client_id: str, will: tuple[str, bytes] | None) -> Client:
        client = Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=MQTTv5)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        if self._settings.username is not None:
            file = self._settings.password_file
            client.username_pw_set(self._settings.username, file.read_text().strip() if file else None)
        if self._settings.tls:
            client.tls_set(
                ca_certs=_text(self._settings.ca_file),
                certfile=_text(self._settings.certificate_file),
                keyfile=_text(self._settings.key_file),
                tls_version=ssl.PROTOCOL_TLS_CLIENT,
            )
        if will is not None:
            client.will_set(will[0], will[1], qos=1, retain=True)
        return client

    @property
    def socket(self) -> Any:
        """None while there is none."""
        socket = self._client.socket()
        return None if socket is None or socket.fileno() < 0 else socket

    @property
    def wants_to_write(self) -> bool:
        return bool(self._unsent) if self.is_up else self._client.want_write()

    def open(self, timeout_s: float) -> None:
        """Begin to connect; raises OSError or ValueError. `is_up` once the broker has agreed."""
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho leaves it untyped
        properties.SessionExpiryInterval = _SESSION_EXPIRY_S
        self._client.connect_timeout = self._answer_timeout_s = timeout_s
        where = self._settings.host, self._settings.port, self._settings.keepalive_s
        self._client.connect(*where, properties=properties)

    def send(self, more: Packets) -> None:
        """Add packets and write what the window and the network take now."""
        self.window.add(more)
        self.write()

    def write(self) -> None:
        """Write until there is nothing more, the window is full, or the network is."""
        if not self.is_up:
            if self.socket is not None:
                self._client.loop_write()
            return
        try:
            while self._unsent or self._fill():
                count = self.socket.send(self._unsent[0])
                self._sent_at = time.monotonic()
                self.sent_bytes += count
                if count == len(self._unsent[0]):
                    self._unsent.popleft()
                else:
                    self._unsent[0] = memoryview(self._unsent[0])[count:]
        except _NOT_NOW:
            return
        except OSError as error:
            self._lose(str(error))

    def _fill(self) -> bool:
        data = self.window.take()
        if data is not None:
            self._unsent.append(data)
        return data is not None

    def read(self) -> None:
        """Handle what the broker said."""
        if not self.is_up:
            self._client.loop_read()
            return
        try:
            while data := self.socket.recv(_RECEIVE_BYTES):
                self._answered(data)
                if len(data) < _RECEIVE_BYTES and not self._settings.tls:
                    return
        except _NOT_NOW:
            return
        except (OSError, packets.ProtocolError) as error:
            self._lose(str(error))
        else:
            self._lose("closed by the broker")

    def _answered(self, data: bytes) -> None:
        self._heard_at = time.monotonic()
        answers = packets.read(self._torn + data)
        self._torn = answers.rest
        if len(answers.acknowledged):
            self.acknowledged.append(self.window.settle(answers.acknowledged))
        if len(answers.refused):
            self.refused += len(answers.refused)
            self.window.settle(answers.refused)
        if answers.reason is not None:
            self._lose(answers.reason)

    def keep_up(self) -> None:
        """Keep-alive, and reconnecting with growing pauses after a loss. To be called every second or so."""
        now = time.monotonic()
        if self.is_up and now - self._heard_at > _SILENCE * self._keepalive_s:
            self._lose("the broker is silent")
        if self.is_up:
            if max(now - self._sent_at, now - self._heard_at) > self._keepalive_s / 2 and not self._unsent:
                self._unsent.append(packets.PINGREQ)
                self.write()
        elif now >= self._retry_at:
            self._retry_at = now + self._answer_timeout_s
            try:
                self._client.reconnect()
            except (OSError, ValueError) as error:
                self._lose(str(error))

    def drop(self) -> None:
        """Vanish without a word, as a device that loses power: the broker publishes the last will."""
        if self.socket is not None:
            self.socket.close()

    def close(self) -> None:
        """Leave in order."""
        if self.socket is not None:
            self._client.disconnect()
            self._client.loop_write()

    def _lose(self, why: str) -> None:
        self.is_up = False
        self.fault = why
        self._retry_at = time.monotonic() + _BACKOFF_S[min(self._failures, len(_BACKOFF_S) - 1)]
        self._failures += 1
        if self.socket is not None:
            self.socket.close()

    def _on_connect(
        self, _client: Client, _data: Any, _flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self._lose(str(reason))
            return
        self.is_up, self.fault, self._failures, self._torn = True, "", 0, b""
        self._sent_at = self._heard_at = time.monotonic()
        self.window.size = min(self.window.size, int(getattr(properties, "ReceiveMaximum", self.window.size)))
        self._keepalive_s = float(getattr(properties, "ServerKeepAlive", self._keepalive_s))
        # A torn packet of the lost connection is among those that are sent again.
        self._unsent.clear()
        if again := self.window.again():
            self._unsent.append(again)
        self.write()

    def _on_disconnect(
        self, _client: Client, _data: Any, _flags: DisconnectFlags, reason: ReasonCode, _p: Properties | None
    ) -> None:
        self._lose(self.fault or str(reason))


def _text(path: object) -> str | None:
    return None if path is None else str(path)
