"""The MQTT side: one persistent MQTT 5 session, acknowledged by hand.

paho is driven through the interface it has for other event loops, in a thread of ours: no exception can end that
thread unnoticed, and acknowledgements are sent by the thread that knows which connection is open.
"""

import contextlib
import os
import random
import select
import ssl
import threading
from collections import deque
from typing import Any, Final

import structlog
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.exception import MalformedPacket
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from edge.clock import Clock
from edge.config import EdgeMqttSettings
from edge.counts import Counts
from edge.inbox import Connection, Delivery, Inbox, Odd
from runtime.settings import read_secret
from wire import limits, topics

_POLL_S: Final = 1.0
_JOIN_S: Final = 7.0
"""Longer than paho's limit for a connection attempt."""
_SUBSCRIBE_RETRY_S: Final = 30.0
_FAILURE: Final = 128
"""MQTT 5 reason codes from here on are failures."""


class _Client(paho.Client):
    """paho ends the connection over a packet it cannot decode. The broker would send it again, for ever.

    (It refuses U+FEFF in texts, for example, which MQTT allows.) Such a packet is handed on as malformed instead.
    """

    def renew_tls(self, context: ssl.SSLContext) -> None:
        """For the next connection; paho itself takes a context only once."""
        self._ssl_context = None
        self.tls_set_context(context)

    def _handle_publish(self) -> MQTTErrorCode:
        try:
            return super()._handle_publish()
        except MalformedPacket as error:
            header, packet = self._in_packet["command"], bytes(self._in_packet["packet"])
            length = int.from_bytes(packet[:2], "big")
            if len(packet) < 4 + length:
                raise  # without a message id it cannot be acknowledged: the stream is broken
            message = paho.MQTTMessage(topic=packet[2 : 2 + length])
            message.qos = header >> 1 & 3
            if message.qos > 0:
                message.mid = int.from_bytes(packet[2 + length : 4 + length], "big")
            message.payload = packet
            self.user_data_get().on_malformed(message, str(error))
            return MQTTErrorCode.MQTT_ERR_SUCCESS


class MqttReceiver:
    """Connects, subscribes and receives until `stop`. `take` and `acknowledge` are for one other thread."""

    def __init__(self, settings: EdgeMqttSettings, client_id: str, clock: Clock, counts: Counts) -> None:
        self.connected = False
        """Whether the broker has accepted us and all our subscriptions."""
        self.fault: str | None = "not connected yet"
        """For people: why not."""
        self.inbox = Inbox(settings.queue_messages_max, settings.queue_bytes_max)
        self._settings = settings
        self._clock = clock
        self._counts = counts
        self._log = structlog.get_logger("edge.mqtt")
        self._acknowledgements: deque[Delivery] = deque()
        self._connection = 0
        self._accepted = False
        self._subscribe_again_s: float | None = None
        self._stopping = threading.Event()
        self._wake_reader, self._wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._client = self._new_client(client_id)
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)

    def _new_client(self, client_id: str) -> _Client:
        client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            userdata=self,
            protocol=MQTTProtocolVersion.MQTTv5,
            manual_ack=True,
        )
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_socket_register_write = self._on_register_write
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call] # paho has no types there
        properties.SessionExpiryInterval = self._settings.session_expiry_s
        properties.ReceiveMaximum = self._settings.receive_maximum
        properties.MaximumPacketSize = self._settings.packet_bytes_max
        client.connect_async(
            self._settings.host,
            self._settings.port,
            keepalive=self._settings.keepalive_s,
            clean_start=False,
            properties=properties,
        )
        return client

    def start(self) -> None:
        """Begin to connect; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Receive no more, send the acknowledgements that wait, and part from the broker; the session stays."""
        self._stopping.set()
        self.inbox.close()
        self._wake()
        if self._thread.is_alive():
            self._thread.join(_JOIN_S)

    @property
    def is_alive(self) -> bool:
        """Whether the thread works; it ends only by `stop`."""
        return self._thread.is_alive()

    def take(self, wait_s: float, gather_s: float = 0.0) -> list[Delivery]:
        """What was received since the last call, oldest first. Waits for the first, then `gather_s` for company."""
        return self.inbox.take(wait_s, gather_s, enough=max(1, self._settings.receive_maximum // 2))

    def acknowledge(self, deliveries: list[Delivery]) -> None:
        """Let the thread send PUBACKs, in this order."""
        self._acknowledgements.extend(deliveries)
        self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # then enough wakes are waiting
            os.write(self._wake_writer, b"\0")

    # From here on everything runs in the thread.

    def _run(self) -> None:
        backoff_ms = self._settings.reconnect_backoff_ms_min
        while not self._stopping.is_set():
            try:
                self._authenticate()
                self._connection += 1
                self._client.reconnect()
                self._serve()
            except Exception as error:  # whatever it is, the next connection is worth trying
                self._counts.mqtt_errors += 1
                self._fail(f"{type(error).__name__}: {error}")
            if self._accepted:
                backoff_ms = self._settings.reconnect_backoff_ms_min
            self._accepted = self.connected = False
            # spread, so that ten thousand gateways do not come back in the same second
            self._stopping.wait(backoff_ms * random.uniform(0.5, 1.0) / 1000)  # noqa: S311 - no secret
            backoff_ms = min(backoff_ms * 2, self._settings.reconnect_backoff_ms_max)

    def _authenticate(self) -> None:
        """With certificates, keys and passwords as their files are now: a renewed one counts without a restart."""
        if self._settings.tls:
            self._client.renew_tls(self._settings.tls_context())
        if self._settings.username is not None:
            file = self._settings.password_file
            self._client.username_pw_set(self._settings.username, read_secret(file) if file is not None else None)

    def _serve(self) -> None:
        """Drive the connection until it ends."""
        while (socket := self._socket()) is not None:
            if self._stopping.is_set():
                self._part()
                return
            pending = getattr(socket, "pending", None)  # TLS may hold bytes that select does not see
            wait_s = 0.0 if pending is not None and pending() else _POLL_S
            writers = [socket] if self._client.want_write() else []
            readable, writable, _ = select.select([socket, self._wake_reader], writers, [], wait_s)
            if self._wake_reader in readable:
                self._drain_wakes()
            if socket in readable or wait_s == 0.0:
                self._client.loop_read()
            self._send_acknowledgements()
            if writable or self._client.want_write():
                self._client.loop_write()
            self._client.loop_misc()
            self._retry_subscribing()

    def _drain_wakes(self) -> None:
        while len(os.read(self._wake_reader, 4096)) == 4096:
            pass

    def _send_acknowledgements(self) -> None:
        while self._acknowledgements:
            delivery = self._acknowledgements.popleft()
            if delivery.connection.number == self._connection and self._client.is_connected():
                for message_id in delivery.pubacks:
                    self._client.ack(int.from_bytes(message_id, "big"), qos=1)
                self._counts.acknowledged += len(delivery.pubacks)
            else:
                # On another connection the same id may be another message.
                self._counts.acknowledgements_dropped += len(delivery.pubacks)

    def _part(self) -> None:
        self._send_acknowledgements()
        self._client.disconnect()
        deadline_s = self._clock.monotonic_s() + _POLL_S
        while self._client.want_write() and (socket := self._socket()) is not None:
            select.select([], [socket], [], 0.1)
            self._client.loop_write()
            if self._clock.monotonic_s() > deadline_s:
                break

    def _socket(self) -> Any:
        """paho's socket, plain or TLS; None when the connection has ended."""
        return self._client.socket()

    def _on_register_write(self, _client: paho.Client, _userdata: Any, _socket: Any) -> None:
        """Its presence alone makes paho queue packets instead of writing from within callbacks."""

    def _on_connect(
        self, _client: paho.Client, _userdata: Any, flags: paho.ConnectFlags, reason: Any, _properties: Any
    ) -> None:
        if reason.is_failure:
            self._fail(f"broker refuses: {reason}")
            return
        self._accepted = True
        self._counts.connections += 1
        if not flags.session_present and self._counts.connections > 1:
            self._counts.sessions_lost += 1
            self._log.warning("mqtt_session_lost", advice="messages sent while we were away may be gone")
        self._log.info("mqtt_connected", url=self._settings.url, session_present=flags.session_present)
        self._subscribe()

    def _subscribe(self) -> None:
        # Retained births come with a new subscription; on a resumed one the session has what changed.
        options = SubscribeOptions(
            qos=1, retainAsPublished=True, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB
        )
        self._subscribe_again_s = None
        self._client.subscribe([(topic_filter, options) for topic_filter in topics.MQTT_FILTERS])

    def _on_subscribe(
        self, _client: paho.Client, _userdata: Any, _message_id: int, reasons: list[Any], _properties: Any
    ) -> None:
        refused = [
            f"{topic_filter}: {reason}"
            for topic_filter, reason in zip(topics.MQTT_FILTERS, reasons, strict=False)
            if reason.value >= _FAILURE
        ]
        if refused:
            self._fail(f"broker refuses subscription to {', '.join(refused)}")
            self._subscribe_again_s = self._clock.monotonic_s() + _SUBSCRIBE_RETRY_S
        else:
            self.connected, self.fault = True, None

    def _retry_subscribing(self) -> None:
        if self._subscribe_again_s is not None and self._clock.monotonic_s() >= self._subscribe_again_s:
            self._subscribe()

    def _on_disconnect(self, _client: paho.Client, _userdata: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if not self._stopping.is_set() and (self._accepted or self.fault is None):
            self._fail(f"disconnected: {reason}")
        self.connected = False

    def _fail(self, fault: str) -> None:
        self.connected = False
        if fault != self.fault:
            self._log.warning("mqtt_fault", fault=fault, url=self._settings.url)
        self.fault = fault

    def _on_message(self, _client: paho.Client, _userdata: Any, message: paho.MQTTMessage) -> None:
        self._put(message, None)

    def on_malformed(self, message: paho.MQTTMessage, why: str) -> None:
        """A PUBLISH that paho cannot decode; its payload is the whole packet."""
        self._counts.mqtt_errors += 1
        self._put(message, f"packet cannot be decoded: {why}")

    def _put(self, message: paho.MQTTMessage, malformed: str | None) -> None:
        delivery = Delivery(Connection(0, self._connection), self._clock.now_ms(), count=1)
        topic, payload = message._topic, bytes(message.payload)  # noqa: SLF001 - undecoded
        delivery.size_bytes = len(payload)
        if message.qos:
            delivery.pubacks.append(message.mid.to_bytes(2, "big"))
        if malformed is None and 0 < len(payload) <= limits.PAYLOAD_BYTES_MAX:
            delivery.payloads[topic] = [payload]
        else:
            delivery.odd.append(Odd(topic, payload, len(payload), message.retain, malformed))
        self.inbox.put(delivery)
