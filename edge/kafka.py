"""The Kafka client: takes parcels, reports what became of them. Used by one thread."""

import contextlib
import logging
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec
import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from edge.clock import Clock
from edge.config import EdgeKafkaSettings
from edge.counts import Counts
from edge.parcels import Parcel, Report, SendError, Verdict
from wire import kafka as shared

_REFUSED: Final = frozenset(
    {
        "MSG_SIZE_TOO_LARGE",
        "RECORD_LIST_TOO_LARGE",
        "INVALID_RECORD",
        "INVALID_MSG_SIZE",
        "INVALID_TIMESTAMP",
        "UNSUPPORTED_FOR_MESSAGE_FORMAT",
        "POLICY_VIOLATION",
    }
)
_HAND_OVER_S_MAX: Final = 10.0
_CLIENT_BROKEN: Final = frozenset(
    {
        "_FATAL",
        "_STATE",
        "_INCONSISTENT",
        "_PURGE_QUEUE",
        "_PURGE_INFLIGHT",
        "OUT_OF_ORDER_SEQUENCE_NUMBER",
        "UNKNOWN_PRODUCER_ID",
        "INVALID_PRODUCER_EPOCH",
        "INVALID_PRODUCER_ID_MAPPING",
        "PRODUCER_FENCED",
    }
)
"""After these the idempotent producer has lost its place: it may go on refusing until it is made anew."""


def judge(error: KafkaError) -> SendError:
    """What an error means for a parcel. librdkafka retries by itself what is transient, without end."""
    verdict = Verdict.LATER
    if error.fatal() or error.name() in _CLIENT_BROKEN:
        verdict = Verdict.CLIENT_BROKEN
    elif error.name() in _REFUSED:
        verdict = Verdict.REFUSED
    return SendError(verdict, error.name(), error.str())


def _report(parcel: Parcel, reports: list[Report], error: KafkaError | None, message: Message) -> None:
    """The delivery callback; its first two are bound, since librdkafka's opaque does not reach Python."""
    if error is None:
        reports.append((parcel, None))
    else:
        parcel.value = message.value() or b""
        reports.append((parcel, judge(error)))


class _Statistics(msgspec.Struct):
    """What we look at of librdkafka's: bytes sent to brokers since the client was made."""

    tx_bytes: int


_STATISTICS: Final = msgspec.json.Decoder(_Statistics)
_STATISTICS_INTERVAL_MS: Final = 1_000


class _Successor(NamedTuple):
    """A producer that takes over once the present one has settled what it has, or at `due_s`."""

    settings: EdgeKafkaSettings
    producer: Producer
    due_s: float


class KafkaSink:
    """An idempotent producer that can be made anew. Raises KafkaException when its settings cannot be used."""

    def __init__(self, settings: EdgeKafkaSettings, client_id: str, clock: Clock, counts: Counts) -> None:
        self._clock = clock
        self._settings = settings
        self._client_id = client_id
        self._counts = counts
        self._log = structlog.get_logger("edge.kafka")
        self._reports: list[Report] = []
        self._last_error = ""
        self._fatal = False
        self._in_flight = 0
        self._last_sign_s = clock.monotonic_s()
        self._producer_wire_bytes = 0
        self._producer = self._new_producer(settings)
        self._successor: _Successor | None = None

    def _new_producer(self, settings: EdgeKafkaSettings) -> Producer:
        options: dict[str, Any] = {
            **shared.PRODUCER,
            **settings.client(),
            "client.id": self._client_id,
            "linger.ms": settings.linger_ms,
            "queue.buffering.max.messages": settings.queue_batches_max,
            "queue.buffering.max.kbytes": max(1, settings.queue_bytes_max // 1024),
            "batch.size": settings.request_bytes_max,
            "message.max.bytes": settings.request_bytes_max,
            "reconnect.backoff.max.ms": settings.reconnect_backoff_ms_max,
            "allow.auto.create.topics": False,
            "socket.keepalive.enable": True,
            "error_cb": self._on_error,
            "statistics.interval.ms": _STATISTICS_INTERVAL_MS,
            "stats_cb": self._on_statistics,
        }
        return Producer(options, logger=logging.getLogger("edge.kafka"))

    def _on_statistics(self, text: str) -> None:
        sent_bytes = _STATISTICS.decode(text).tx_bytes
        self._counts.kafka_wire_bytes += max(0, sent_bytes - self._producer_wire_bytes)
        self._producer_wire_bytes = sent_bytes

    @property
    def wire_bytes(self) -> int:
        """What went over the wire so far, as far as known: retries, headers and compression included."""
        return self._counts.kafka_wire_bytes

    def _on_error(self, error: KafkaError) -> None:
        """Errors of the connection or the client as a whole; while they last they come again and again."""
        self._counts.kafka_errors[error.name()] += 1
        self._last_sign_s = self._clock.monotonic_s()
        self._fatal = self._fatal or error.fatal()
        if error.name() != self._last_error:
            self._last_error = error.name()
            self._log.warning("kafka_error", error=error.str(), code=error.name(), fatal=error.fatal())

    def send(self, parcel: Parcel) -> bool:
        """Queue a parcel; False while the queue is full or a successor waits. An error comes as a report."""
        if self._successor is not None:
            return False
        try:
            self._producer.produce(
                parcel.topic,
                parcel.value,
                parcel.key,
                headers=parcel.headers,  # type: ignore[arg-type] # the stub's list is invariant
                on_delivery=partial(_report, parcel, self._reports),
            )
            parcel.value = b""  # librdkafka has a copy: one is enough
        except BufferError:
            return False
        except KafkaException as error:
            self._reports.append((parcel, judge(error.args[0])))
        if self._in_flight == 0:
            self._last_sign_s = self._clock.monotonic_s()
        self._in_flight += 1
        return True

    def reports(self, wait_s: float = 0.0) -> list[Report]:
        """What became of parcels since the last call; waits when there is nothing."""
        try:
            self._producer.poll(wait_s)
        except KafkaException as error:  # how the client tells of a fatal error, instead of by `error_cb`
            self._on_error(error.args[0])
        self._hand_over()
        if not self._reports:
            return []
        self._last_sign_s = self._clock.monotonic_s()
        taken = self._reports[:]  # the list itself is known to what is in flight
        self._reports.clear()
        self._in_flight -= len(taken)
        if any(error is None for _, error in taken):
            self._last_error = ""
        return taken

    @property
    def is_broken(self) -> bool:
        """Whether only `rebuild` helps: after a fatal error, or when something is in flight and all is silent.

        Against a broker that has forgotten its producers, librdkafka 2.16 can retry for ever without a word.
        """
        silent_s = self._clock.monotonic_s() - self._last_sign_s
        is_stalled = self._in_flight > 0 and silent_s > self._settings.stall_timeout_ms / 1000
        return self._fatal or is_stalled or self._is_overdue()

    def rebuild(self) -> None:
        """A new producer. Nothing is reported any more of what the old one had: it has to be sent again."""
        self._drop()
        if self._successor is not None:
            self._hand_over()
            return
        self._fatal = False
        self._last_sign_s = self._clock.monotonic_s()
        try:
            self._producer = self._new_producer(self._settings)
            self._producer_wire_bytes = 0
        except (KafkaException, ValueError) as error:  # a certificate or password that is just being replaced
            self._fatal = True  # tried again
            self._log.error("kafka_client_impossible", error=str(error))

    def renew(self, settings: EdgeKafkaSettings) -> None:
        """Use other settings, or their files as they are now, once what is in flight has settled.

        Raises KafkaException or ValueError when they cannot be used: then everything stays as it is.
        """
        due_s = self._clock.monotonic_s() + _HAND_OVER_S_MAX
        self._successor = _Successor(settings, self._new_producer(settings), due_s)

    def _is_overdue(self) -> bool:
        """Whether what is in flight takes too long: a client whose password is refused never settles anything."""
        return self._successor is not None and self._clock.monotonic_s() > self._successor.due_s

    def _hand_over(self) -> None:
        """Let the successor take over, but not while something is in flight, which would be sent twice."""
        if self._successor is None or self._in_flight > 0:
            return
        self._settings, self._producer, _ = self._successor
        self._successor = None
        self._producer_wire_bytes = 0
        self._fatal = False
        self._last_sign_s = self._clock.monotonic_s()
        self._log.info("kafka_client_renewed")

    def close(self) -> None:
        """Give up what is still queued or in flight."""
        self._drop()

    def _drop(self) -> None:
        with contextlib.suppress(KafkaException):  # a fatal error is told here once more
            self._producer.purge(blocking=False)
        with contextlib.suppress(KafkaException):
            self._producer.flush(1.0)
        self._reports = []
        self._in_flight = 0
