"""paho as the client that connects, authenticates, subscribes and keeps alive; bytes are read and fed by others.

paho reads one packet per call, with three and more `recv` each. Here it reads from what it is fed: packets that are
no messages. It is driven through the interface it has for other event loops and used by one thread.
"""

import socket
import ssl
import time
from collections.abc import Iterable
from typing import Any, Final, Protocol

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from edge.config import BrokerSettings
from runtime.settings import read_secret

READ_BYTES: Final = 262_144
UNSUPPORTED_VERSION: Final = 132
"""[MQTT5 3.2.2.2] The reason code by which a broker refuses a protocol version."""
_PUBACK: Final = b"\x40\x02"
_PUBREC: Final = b"\x50\x02"
_PUBCOMP: Final = b"\x70\x02"
_PINGREQ: Final = b"\xc0\x00"


class Handlers(Protocol):
    """Who is told what paho found out; the arguments are paho's."""

    def on_connect(self, client: paho.Client, data: Any, flags: paho.ConnectFlags, reason: Any, extra: Any) -> None:
        """The broker's answer."""

    def on_disconnect(self, client: paho.Client, data: Any, flags: Any, reason: Any, extra: Any) -> None:
        """The end."""

    def on_subscribe(self, client: paho.Client, data: Any, message_id: int, reasons: list[Any], extra: Any) -> None:
        """What the broker says to each filter of a `subscribe`."""


class Client(paho.Client):
    """One connection. `open` raises OSError, and what TLS raises."""

    def __init__(self, settings: BrokerSettings, client_id: str, is_v5: bool, handlers: Handlers) -> None:
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=MQTTProtocolVersion.MQTTv5 if is_v5 else MQTTProtocolVersion.MQTTv311,
            clean_session=None if is_v5 else False,
            reconnect_on_failure=False,  # it is told to, by those who know when
        )
        self.is_v5 = is_v5
        self._settings = settings
        self._food = b""
        self._starved = False
        self.on_connect = handlers.on_connect
        self.on_disconnect = handlers.on_disconnect
        self.on_subscribe = handlers.on_subscribe
        self.on_socket_register_write = self._queue_only

    def _queue_only(self, *_: object) -> None:
        """Its presence alone makes paho queue packets instead of writing from within callbacks."""

    def open(self) -> None:
        """Connect, with certificates, keys and passwords as their files are now."""
        settings = self._settings
        if settings.tls:
            self.tls_set_context(settings.tls_context())
        if settings.username is not None:
            file = settings.password_file
            self.username_pw_set(settings.username, read_secret(file) if file is not None else None)
        if self.is_v5:
            properties = self._properties()
            self.connect(settings.host, settings.port, settings.keepalive_s, clean_start=False, properties=properties)
        else:
            self.connect(settings.host, settings.port, settings.keepalive_s)

    def _properties(self) -> Properties:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call] # paho has no types there
        properties.SessionExpiryInterval = self._settings.session_expiry_s
        properties.ReceiveMaximum = self._settings.receive_maximum
        properties.MaximumPacketSize = self._settings.packet_bytes_max
        if self._settings.topic_alias_max:
            properties.TopicAliasMaximum = self._settings.topic_alias_max
        return properties

    def subscribe_to(self, filters: Iterable[str], qos: int) -> int | None:
        """Returns the message id that `on_subscribe` will name."""
        if self.is_v5:
            # Retained births come with a new subscription; on a resumed one the session has what changed.
            options = SubscribeOptions(
                qos=qos, retainAsPublished=True, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB
            )
            return self.subscribe([(each, options) for each in filters])[1]
        return self.subscribe([(each, qos) for each in filters])[1]

    def receive(self) -> bytes | None:
        """What has arrived; None when that is nothing, empty at the end of the connection."""
        connection: Any = self.socket()  # plain or TLS
        if connection is None:
            return None
        self._last_bytes_received = time.monotonic()  # paho's, for its judgement of silence
        return _receive_tls(connection) if isinstance(connection, ssl.SSLSocket) else _receive(connection)

    def feed(self, packet: bytes) -> None:
        """Let paho handle a packet. Its handlers run in here."""
        self._food = packet
        while self._food and self.socket() is not None:
            self.loop_read()

    def starve(self) -> None:
        """The broker has closed the connection."""
        self._starved = True
        self.loop_read()

    def _sock_recv(self, bufsize: int) -> bytes:
        if not self._food and not self._starved:
            raise BlockingIOError
        eaten, self._food = self._food[:bufsize], self._food[bufsize:]
        return eaten

    def acknowledge(self, pubacks: list[bytes], pubrecs: list[bytes]) -> None:
        """[MQTT5 4.6] In this order."""
        if pubacks:
            self._queue(_PUBACK + _PUBACK.join(pubacks))
        if pubrecs:
            self._queue(_PUBREC + _PUBREC.join(pubrecs))

    def complete(self, message_id: bytes) -> None:
        """[MQTT5 4.3.3] Answer a PUBREL."""
        self._queue(_PUBCOMP + message_id)

    def ping(self) -> None:
        """Say that we are there, without expecting an answer: nothing is read at present."""
        self._queue(_PINGREQ)

    def _queue(self, data: bytes) -> None:
        """Behind what paho has still to write. paho takes it for one packet that needs nothing more."""
        self._packet_queue(_PUBACK[0], data, 0, 1)

    def abandon(self) -> None:
        """Close the socket, without a word."""
        self._sock_close()


def _receive(connection: socket.socket) -> bytes | None:
    try:
        return connection.recv(READ_BYTES)
    except BlockingIOError:
        return None


def _receive_tls(connection: ssl.SSLSocket) -> bytes | None:
    """Each record of TLS, 16 KiB at most, is a read of its own."""
    parts: list[bytes] = []
    size = 0
    while size < READ_BYTES:
        try:
            part = connection.recv(READ_BYTES)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            break
        if not part:
            return b"".join(parts)  # at the end of the connection: the next call says so again
        parts.append(part)
        size += len(part)
    return b"".join(parts) if parts else None
