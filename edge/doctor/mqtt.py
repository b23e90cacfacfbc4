"""Whether an MQTT broker lets us in and grants what we subscribe to, with a client id of the doctor's own."""

import ipaddress
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.subscribeoptions import SubscribeOptions

from edge.config import BrokerSettings
from edge.doctor import findings
from edge.doctor.findings import Finding
from runtime.settings import read_secret

_LIMIT_S: Final = 5.0
_FAILURE: Final = 128
"""Reason codes from here on are failures."""

_VERSIONS: Final = {
    "auto": (MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311),
    "5": (MQTTProtocolVersion.MQTTv5,),
    "3.1.1": (MQTTProtocolVersion.MQTTv311,),
}


class _Visit:
    """One connection: a clean session that ends with it, so the agent's own is left alone."""

    def __init__(self, settings: BrokerSettings, protocol: MQTTProtocolVersion) -> None:
        self.refusal: str | None = None
        self.granted: list[Any] = []
        self._settings = settings
        self._connected = threading.Event()
        self._subscribed = threading.Event()
        self._is_5 = protocol is MQTTProtocolVersion.MQTTv5
        client_id = f"fleetfold-doctor-{secrets.token_hex(4)}"
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=protocol)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe

    def connect(self) -> bool:
        """Whether an answer came in time; `refusal` says whether it was no. Raises OSError, ValueError."""
        settings = self._settings
        if settings.tls:
            self._client.tls_set_context(settings.tls_context())
        if settings.username is not None:
            file = settings.password_file
            self._client.username_pw_set(settings.username, None if file is None else read_secret(file))
        self._client.connect_timeout = _LIMIT_S
        self._client.connect(settings.host, settings.port, keepalive=settings.keepalive_s)  # begins clean
        return self._drive(self._connected.is_set)

    def subscribe(self) -> bool:
        """Whether an answer came in time; `granted` has a reason for each subscription."""
        filters, qos = map(_alone, self._settings.subscriptions), int(self._settings.qos)
        if self._is_5:
            # nothing that is retained: the doctor does not want the fleet's births
            options = SubscribeOptions(qos=qos, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND)
            self._client.subscribe([(each, options) for each in filters])
        else:
            self._client.subscribe([(each, qos) for each in filters])
        return self._drive(self._subscribed.is_set)

    def _drive(self, is_done: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + _LIMIT_S
        while not is_done() and time.monotonic() < deadline:
            if self._client.loop(timeout=0.1) != paho.MQTT_ERR_SUCCESS and not is_done():
                return False
        return is_done()

    def leave(self) -> None:
        """Say goodbye."""
        self._client.disconnect()
        self._client.loop(timeout=0.1)

    def _on_connect(self, _client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        self.refusal = str(reason) if reason.is_failure else None
        self._connected.set()

    def _on_subscribe(self, _client: paho.Client, _data: Any, _id: int, reasons: list[Any], _properties: Any) -> None:
        self.granted = reasons
        self._subscribed.set()


def check(side: str, settings: BrokerSettings) -> Iterator[Finding]:
    """Login and subscriptions; the way there is known to be clear."""
    versions = _VERSIONS[settings.protocol]
    visit = _Visit(settings, versions[0])
    try:
        answered = visit.connect()
        if visit.refusal is not None and "protocol" in visit.refusal.lower() and len(versions) > 1:
            visit = _Visit(settings, versions[1])
            answered = visit.connect()
    except (OSError, ValueError) as error:
        yield findings.unreachable(f"{side} login", str(error), "check url, certificates and password")
        return
    yield _login(side, settings, visit, answered)
    if answered and visit.refusal is None:
        yield _subscriptions(side, settings, visit)
        visit.leave()


def _login(side: str, settings: BrokerSettings, visit: _Visit, answered: bool) -> Finding:
    name = f"{side} login"
    who = f"as {settings.username}" if settings.username else "without a user name"
    if not answered:
        advice = "is it an MQTT broker, and does it want TLS (mqtts://) or a client certificate?"
        return findings.unreachable(name, f"{who}: no CONNACK", advice)
    if visit.refusal is not None:
        return findings.failed(name, f"{who}: {visit.refusal}", "check username, password_file and certificate")
    if settings.username is not None and not settings.tls and not _is_loopback(settings.host):
        return findings.warning(name, f"{who}, over an open connection", "use mqtts://: anybody can read the password")
    return findings.ok(name, f"{who}: accepted")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _subscriptions(side: str, settings: BrokerSettings, visit: _Visit) -> Finding:
    name = f"{side} subscriptions"
    if not visit.subscribe():
        return findings.failed(name, "no SUBACK: the broker hung up", "let this user read the fleet's topics")
    answers = zip(settings.subscriptions, visit.granted, strict=False)
    refused = [topic_filter for topic_filter, reason in answers if reason.value >= _FAILURE]
    if refused:
        return findings.failed(
            name, f"refused: {', '.join(refused)}", "allow this user to read them in the broker's ACL"
        )
    if any(reason.value < settings.qos for reason in visit.granted):
        return findings.warning(name, f"granted below QoS {settings.qos}", "messages can be lost: allow it")
    return findings.ok(name, f"{len(settings.subscriptions)} granted with QoS {settings.qos}")


def _alone(topic_filter: str) -> str:
    """Outside of a shared subscription's group: in it, the doctor would take messages away from the agent."""
    return topic_filter.split("/", 2)[2] if topic_filter.startswith("$share/") else topic_filter
