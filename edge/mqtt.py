"""The MQTT side of one broker: a persistent session, read in large chunks, acknowledged by hand.

A thread of ours drives the connection: no exception can end it unnoticed, and acknowledgements are sent by the thread
that knows which connection is open.
"""

import contextlib
import os
import random
import select
import threading
from collections import deque
from typing import Any, Final

import structlog

from edge.clock import Clock
from edge.config import BrokerSettings
from edge.counts import BrokerCounts
from edge.inbox import Connection, Delivery, Inbox
from edge.lull import Lull
from edge.mqtt_session import Session
from edge.packets import PUBREL, Parser

_POLL_S: Final = 1.0
_JOIN_S: Final = 7.0
"""Longer than paho's limit for a connection attempt."""
_COUNTER_DIGITS_MAX: Final = 18
_MANY_PARTS: Final = 8
"""A pause ends with this part of the Receive Maximum: the broker must not be held up."""
_FULL_BYTES: Final = 65_536
"""A read that brought so much may have left some behind: what a socket holds must not set the pace."""


class MqttReceiver:
    """Connects, subscribes and receives into `inbox` until `stop`. `acknowledge` is for one other thread."""

    def __init__(
        self,
        settings: BrokerSettings,
        client_id: str,
        clock: Clock,
        counts: BrokerCounts,
        inbox: Inbox,
        broker: int = 0,
    ) -> None:
        self.inbox = inbox
        self.settings = settings
        self.counts = counts
        self._clock = clock
        self._log = structlog.get_logger("edge.mqtt").bind(url=settings.url)
        self._acknowledgements: deque[Delivery] = deque()
        self._connection = Connection(broker, 0)
        self._session = Session(settings, client_id, clock, counts)
        self._pinged_s = 0.0
        self._drop_counter: int | None = None
        self._lull = Lull(settings.read_pause_ms / 1000, settings.receive_maximum // _MANY_PARTS)
        self._stopping = threading.Event()
        self._wake_reader, self._wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._client = self._session.new_client()
        self._parser = self._new_parser()
        self._thread = threading.Thread(target=self._run, name=f"mqtt-{broker}", daemon=True)
        inbox.on_room(self._wake)

    def _new_parser(self) -> Parser:
        aside = self.settings.drop_counter_topic.encode()
        return Parser(self._session.is_v5, self.settings.packet_bytes_max, self.settings.topic_alias_max, aside)

    def start(self) -> None:
        """Begin to connect; returns at once."""
        self._thread.start()

    def part(self) -> None:
        """Receive no more, send the acknowledgements that wait, and part from the broker; the session stays."""
        self._session.is_parting = True
        self._stopping.set()
        self._wake()

    def stop(self) -> None:
        """`part`, and wait until that is done."""
        self.part()
        if self._thread.is_alive():
            self._thread.join(_JOIN_S)

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted us and all our subscriptions."""
        return self._session.connected

    @property
    def fault(self) -> str | None:
        """For people: why not."""
        return self._session.fault

    @property
    def is_alive(self) -> bool:
        """Whether the thread works; it ends only by `stop`."""
        return self._thread.is_alive()

    @property
    def is_pausing(self) -> bool:
        """Whether nothing is read for a moment. For any thread."""
        return self._lull.left_s(self._clock.monotonic_s()) > 0

    def acknowledge(self, deliveries: list[Delivery]) -> None:
        """Let the thread send PUBACKs, in this order."""
        if deliveries:
            self._acknowledgements.extend(deliveries)
            self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # then enough wakes are waiting
            os.write(self._wake_writer, b"\0")

    # From here on everything runs in the thread.

    def _run(self) -> None:
        backoff_ms = self.settings.reconnect_backoff_ms_min
        while not self._stopping.is_set():
            try:
                self._connect()
                self._serve()
                self._session.notice_silence()
            except Exception as error:  # whatever it is, the next connection is worth trying
                self.counts.errors += 1
                self._session.fail(f"{type(error).__name__}: {error}")
            self._client.abandon()
            if self._session.accepted:
                backoff_ms = self.settings.reconnect_backoff_ms_min
            self._session.connected = False
            # spread, so that ten thousand gateways do not come back in the same second
            self._stopping.wait(backoff_ms * random.uniform(0.5, 1.0) / 1000)  # noqa: S311 - no secret
            backoff_ms = min(backoff_ms * 2, self.settings.reconnect_backoff_ms_max)

    def _connect(self) -> None:
        self._connection = self._connection._replace(number=self._connection.number + 1)
        self._client, self._parser = self._session.new_client(), self._new_parser()
        self._client.open()

    def _serve(self) -> None:
        """Drive the connection until it ends."""
        while (socket := self._client.socket()) is not None:
            if self._stopping.is_set():
                self._part()
                return
            is_full = self.inbox.is_full
            pause_s = self._lull.left_s(self._clock.monotonic_s())
            is_open = not is_full and not pause_s
            pending = getattr(socket, "pending", None)  # TLS may hold bytes that select does not see
            wait_s = 0.0 if is_open and pending is not None and pending() else pause_s or _POLL_S
            readers: list[Any] = [self._wake_reader, socket] if is_open else [self._wake_reader]
            writers = [socket] if self._client.want_write() else []
            readable, writable, _ = select.select(readers, writers, [], wait_s)
            if self._wake_reader in readable:
                self._drain_wakes()
            if socket in readable or wait_s == 0.0:
                self._read()
            self._send_acknowledgements()
            if writable or self._client.want_write():
                self._client.loop_write()
            self._keep_alive(is_full)
            self._session.retry_subscribing(self._client)

    def _drain_wakes(self) -> None:
        while len(os.read(self._wake_reader, 4096)) == 4096:
            pass

    def _read(self) -> None:
        data = self._client.receive()
        if data is None:
            return
        if not data:
            self._client.starve()
            return
        delivery = Delivery(self._connection, self._clock.now_ms())
        others = self._parser.feed(data, delivery)
        if delivery.count:
            self._lull.received(delivery.count, self._clock.monotonic_s(), may_be_more=len(data) >= _FULL_BYTES)
            self.counts.received += delivery.count
            self.counts.errors += sum(odd.malformed is not None for odd in delivery.odd)
            self.inbox.put(delivery)
        for payload in delivery.aside:
            self._note_drops(payload)
        for packet in others:
            if packet[0] >> 4 == PUBREL:
                self._client.complete(packet[2:4])
            else:
                self._client.feed(packet)

    def _note_drops(self, payload: bytes) -> None:
        """The broker's own counter, which starts at 0 with the broker."""
        if not payload.isdigit():
            return
        before, self._drop_counter = self._drop_counter, int(payload[:_COUNTER_DIGITS_MAX])
        if before is None or before == self._drop_counter:
            return
        dropped = self._drop_counter - before if self._drop_counter > before else self._drop_counter
        self.counts.dropped += dropped
        self._log.warning("mqtt_broker_dropped", messages=dropped, advice="look at max_queued_messages of the broker")

    def _keep_alive(self, is_full: bool) -> None:
        """While the inbox is full nothing is read: the broker must not take us for dead, nor we it."""
        if not is_full:
            self._client.loop_misc()
            return
        now_s = self._clock.monotonic_s()
        if now_s - self._pinged_s > self.settings.keepalive_s / 2:
            self._pinged_s = now_s
            self._client.ping()

    def _send_acknowledgements(self) -> None:
        pubacks: list[bytes] = []
        pubrecs: list[bytes] = []
        while self._acknowledgements:
            delivery = self._acknowledgements.popleft()
            if delivery.connection == self._connection and self._client.is_connected():
                pubacks += delivery.pubacks
                pubrecs += delivery.pubrecs
            else:
                # On another connection the same id may be another message.
                self.counts.acknowledgements_dropped += len(delivery.pubacks) + len(delivery.pubrecs)
        self._client.acknowledge(pubacks, pubrecs)
        self.counts.acknowledged += len(pubacks) + len(pubrecs)

    def _part(self) -> None:
        self._send_acknowledgements()
        self._client.disconnect()
        deadline_s = self._clock.monotonic_s() + _POLL_S
        while self._client.want_write() and (socket := self._client.socket()) is not None:
            select.select([], [socket], [], 0.1)
            self._client.loop_write()
            if self._clock.monotonic_s() > deadline_s:
                break
