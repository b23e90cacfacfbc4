"""Rules from retained MQTT messages, and the answer as one; a connection of its own beside that of the messages.

The session is kept, so that rules withdrawn while we were away (an empty message) reach us afterwards. A withdrawal
comes once: it is acknowledged only when it is stored.
"""

import ssl
import threading
from typing import Any, Final

import structlog
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge.config import EdgeMqttSettings
from edge.rules.desk import Offer
from runtime.settings import read_secret
from runtime.tls import TlsError
from wire import topics
from wire.collection import SET_BYTES_MAX, Origin

_PACKET_BYTES_MAX: Final = 4 * SET_BYTES_MAX
_CONNECT_RETRY_S: Final = (1, 60)
_UNSUPPORTED_VERSION: Final = 132


class _Client(paho.Client):
    def renew_tls(self, context: ssl.SSLContext) -> None:
        """For the next connection; paho itself takes a context only once."""
        self._ssl_context = None
        self.tls_set_context(context)


class MqttRules:
    """`offers`, `stored` and `publish` are for one other thread. Callbacks only note what came: nothing can stop it."""

    def __init__(self, settings: EdgeMqttSettings, client_id: str, gateway: str) -> None:
        self._settings = settings
        self._log = structlog.get_logger("edge.rules")
        self._origin_of: dict[str, Origin] = {
            topics.mqtt_rules_topic(gateway): "gateway",
            topics.MQTT_RULES_FOR_ALL: "all",
        }
        self._status_topic = topics.mqtt_rules_status_topic(gateway)
        self._lock = threading.Lock()
        self._offers: dict[Origin, bytes] = {}
        self._heard: list[int] = []
        self._taken: list[int] = []
        """Message ids of this connection to be acknowledged: not taken yet, and taken by `offers`."""
        self._status: bytes | None = None
        self._client_id = f"{client_id}-rules"
        self._is_v5 = settings.protocol != "3.1.1"
        self._is_refused_v5 = False
        self._client = self._new_client()

    def _new_client(self) -> _Client:
        settings, is_v5 = self._settings, self._is_v5
        client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            protocol=MQTTProtocolVersion.MQTTv5 if is_v5 else MQTTProtocolVersion.MQTTv311,
            clean_session=None if is_v5 else False,
            manual_ack=True,
        )
        client.on_pre_connect = self._authenticate
        client.on_connect = self._on_connect
        client.on_message = self._on_message
        client.reconnect_delay_set(*_CONNECT_RETRY_S)
        where = settings.host, settings.port, settings.keepalive_s
        if is_v5:
            client.connect_async(*where, clean_start=False, properties=_properties(settings))
        else:
            client.connect_async(*where)
        return client

    def start(self) -> None:
        """Begin to connect; returns at once."""
        self._client.loop_start()

    def offers(self) -> list[Offer]:
        """What was published since the last call. Here we go back to 3.1.1 for a broker that knows no MQTT 5."""
        if self._is_refused_v5 and self._is_v5 and self._settings.protocol == "auto":
            self.close()
            self._is_v5 = False
            self._client = self._new_client()
            self.start()
        with self._lock:
            taken, self._offers = self._offers, {}
            self._taken += self._heard
            self._heard = []
        return [Offer(origin, payload or None) for origin, payload in taken.items()]

    def stored(self) -> None:
        """Acknowledge what `offers` returned. On another connection it comes again."""
        with self._lock:
            taken, self._taken = self._taken, []
            for message_id in taken if self._client.is_connected() else []:
                self._client.ack(message_id, qos=1)

    def publish(self, status: bytes) -> None:
        """Say which rules are in force; again after each reconnection."""
        self._status = status
        if self._client.is_connected():
            self._client.publish(self._status_topic, status, qos=1, retain=True)

    def close(self) -> None:
        """Part from the broker; the session stays."""
        self._client.disconnect()
        self._client.loop_stop()

    def _authenticate(self, _client: paho.Client, _userdata: Any) -> None:
        """With certificates, keys and passwords as their files are now."""
        settings = self._settings
        try:
            if settings.tls:
                self._client.renew_tls(settings.tls_context())
            if settings.username is not None:
                file = settings.password_file
                self._client.username_pw_set(settings.username, read_secret(file) if file is not None else None)
        except (OSError, TlsError, ValueError) as error:  # it would end the thread: the old ones are tried instead
            self._log.warning("rules_credentials_unreadable", error=str(error))

    def _on_connect(self, client: paho.Client, _userdata: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._is_refused_v5 = reason.value == _UNSUPPORTED_VERSION
            self._log.warning("rules_broker_refuses", reason=str(reason))
            return
        with self._lock:
            self._heard, self._taken = [], []
        client.subscribe([(topic, 1) for topic in self._origin_of])
        if self._status is not None:
            client.publish(self._status_topic, self._status, qos=1, retain=True)

    def _on_message(self, _client: paho.Client, _userdata: Any, message: paho.MQTTMessage) -> None:
        origin = self._origin_of.get(message.topic)
        with self._lock:
            if message.qos:
                self._heard.append(message.mid)
            if origin is not None:
                self._offers[origin] = bytes(message.payload[: SET_BYTES_MAX + 1])


def _properties(settings: EdgeMqttSettings) -> Properties:
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call] # paho has no types there
    properties.SessionExpiryInterval = settings.session_expiry_s
    properties.MaximumPacketSize = _PACKET_BYTES_MAX
    return properties
