"""What is agreed with one broker: the version of MQTT, whether it accepts us, and all that we subscribe to.

Everything runs in the receiver's thread; `connected` and `fault` may be read by any.
"""

from typing import Any, Final

import structlog

from edge.clock import Clock
from edge.config import BrokerSettings
from edge.counts import BrokerCounts
from edge.mqtt_client import UNSUPPORTED_VERSION, Client

_SUBSCRIBE_RETRY_S: Final = 30.0
_FAILURE: Final = 128
"""MQTT 5 reason codes from here on are failures."""
_SILENT_ENDS_MAX: Final = 3
"""A broker that closes the connection so often without an answer may not know this version of MQTT."""


class Session:
    """Hears what paho found out, and over all connections remembers what the broker knows."""

    def __init__(self, settings: BrokerSettings, client_id: str, clock: Clock, counts: BrokerCounts) -> None:
        self.connected = False
        """Whether the broker has accepted us and all our subscriptions."""
        self.fault: str | None = "not connected yet"
        """For people: why not."""
        self.is_v5 = settings.protocol != "3.1.1"
        self.accepted = False
        """On this connection."""
        self.is_parting = False
        self._settings = settings
        self._client_id = client_id
        self._clock = clock
        self._counts = counts
        self._log = structlog.get_logger("edge.mqtt").bind(url=settings.url)
        self._answered = False
        self._silent_ends = 0
        self._subscribe_again_s: float | None = None
        self._subscribed_by: int | None = None

    def new_client(self) -> Client:
        """For the next connection."""
        self._answered = self.accepted = False
        self._subscribe_again_s = None
        return Client(self._settings, self._client_id, self.is_v5, self)

    def fail(self, fault: str) -> None:
        """Say it once."""
        self.connected = False
        if fault != self.fault:
            self._log.warning("mqtt_fault", fault=fault)
        self.fault = fault

    def notice_silence(self) -> None:
        """[MQTT5 3.1.2.2] A broker of another version should say so; some just close the connection."""
        self._silent_ends = 0 if self._answered or self._counts.connections else self._silent_ends + 1
        if self._silent_ends >= _SILENT_ENDS_MAX:
            self._silent_ends = 0
            self._try_other_version()

    def _try_other_version(self) -> None:
        if self._settings.protocol == "auto":
            self.is_v5 = not self.is_v5
            self._log.info("mqtt_protocol", version=self._protocol)

    @property
    def _protocol(self) -> str:
        """The version of MQTT that is spoken, or tried."""
        return "5" if self.is_v5 else "3.1.1"

    def on_connect(self, client: Any, _data: Any, flags: Any, reason: Any, _extra: Any) -> None:
        """Subscribe, or note why not."""
        self._answered = True
        if reason.is_failure:
            self.fail(f"broker refuses: {reason}")
            if reason.value == UNSUPPORTED_VERSION:
                self._try_other_version()
            return
        self.accepted = True
        self._counts.connections += 1
        if not flags.session_present and self._counts.connections > 1:
            self._counts.sessions_lost += 1
            self._log.warning("mqtt_session_lost", advice="messages sent while we were away may be gone")
        self._log.info("mqtt_connected", session_present=flags.session_present, protocol=self._protocol)
        self._subscribe(client)

    def _subscribe(self, client: Client) -> None:
        self._subscribe_again_s = None
        self._subscribed_by = client.subscribe_to(self._settings.subscriptions, self._settings.qos)
        if self._settings.drop_counter_topic:  # where we may not read it, there is nothing to be told
            client.subscribe_to([self._settings.drop_counter_topic], qos=0)

    def on_subscribe(self, _client: Any, _data: Any, message_id: int, reasons: list[Any], _extra: Any) -> None:
        """All or nothing: with a subscription missing we are not connected."""
        if message_id != self._subscribed_by:
            return
        refused = [
            f"{topic_filter}: {reason}"
            for topic_filter, reason in zip(self._settings.subscriptions, reasons, strict=False)
            if reason.value >= _FAILURE
        ]
        if refused:
            self.fail(f"broker refuses subscription to {', '.join(refused)}")
            self._subscribe_again_s = self._clock.monotonic_s() + _SUBSCRIBE_RETRY_S
        else:
            self.connected, self.fault = True, None

    def retry_subscribing(self, client: Client) -> None:
        """Where the broker refused it some time ago."""
        if self._subscribe_again_s is not None and self._clock.monotonic_s() >= self._subscribe_again_s:
            self._subscribe(client)

    def on_disconnect(self, _client: Any, _data: Any, _flags: Any, reason: Any, _extra: Any) -> None:
        """Note why."""
        if not self.is_parting and (self.accepted or self.fault is None):
            self.fail(f"disconnected: {reason}")
        self.connected = False
