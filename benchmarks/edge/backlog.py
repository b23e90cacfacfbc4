"""A backlog on disk, and how fast Kafka takes the same batches from memory."""

import time
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaError, Message, Producer

from benchmarks.edge import stages
from edge import receive
from edge.batcher import Batcher, Limits
from edge.clock import SystemClock
from edge.config import BatchSettings, EdgeKafkaSettings, SpoolSettings
from edge.counts import Counts
from edge.inbox import Connection, Delivery
from edge.letters import Source
from edge.packets import Parser
from edge.parcels import Parcel, Report
from edge.sender import Sender
from edge.spool.disk import Directory
from edge.spool.spool import Limits as SpoolLimits
from edge.spool.spool import Spool
from wire import kafka as shared

_PARCELS_BYTES_MAX: Final = 64_000_000
_PART: Final = 100_000


def fill(directory: Path, assets: int, count: int) -> int:
    """Write a spool as the agent does while Kafka is away; returns its bytes."""
    clock = SystemClock()
    disk = Directory(directory)
    spool = Spool.open(disk, SpoolLimits(4_000_000_000, 8_388_608, 262_144), clock)
    parser = Parser(True, 1_048_576)
    for _ in range(count // _PART):
        for chunk in stages.chunks(assets, _PART):
            delivery = Delivery(Connection(0, 1), clock.now_ms())
            parser.feed(chunk, delivery)
            spool.stage([arrival.bundle() for arrival in receive.judge([delivery]).arrivals.values()])
            spool.commit()
    size_bytes = spool.size_bytes
    spool.close()
    disk.close()
    return size_bytes


class _Collector:
    """A Kafka client that has everything at once, and keeps it."""

    is_broken = False
    wire_bytes = 0

    def __init__(self) -> None:
        self.made: list[Parcel] = []
        self._reports: list[Report] = []

    def send(self, parcel: Parcel) -> bool:
        """Take any."""
        self.made.append(parcel)
        self._reports.append((parcel, None))
        return True

    def reports(self, wait_s: float = 0.0) -> list[Report]:  # noqa: ARG002 - nothing to wait for
        """All that was sent."""
        taken, self._reports = self._reports, []
        return taken

    def rebuild(self) -> None:
        """Never needed."""


def parcels(directory: Path) -> tuple[list[Parcel], int]:
    """The first batches of a spool, as the agent's own sender makes them, and how many messages they hold."""
    clock, batch, settings = SystemClock(), BatchSettings(), SpoolSettings()
    disk = Directory(directory)
    spool = Spool.open(disk, SpoolLimits(4_000_000_000, settings.segment_bytes, settings.read_bytes), clock)
    limits = Limits(batch.batch_frames_max, batch.batch_bytes_max, batch.batch_age_ms_max / 1000)
    sink = _Collector()
    source = Source("bench", spool.epoch)
    sender = Sender(spool, sink, Batcher(limits), source, settings.window_bytes_max, clock, Counts())
    while sum(len(parcel.value) for parcel in sink.made) < _PARCELS_BYTES_MAX:
        sender.read()
        if not sender.produce() and not sender.settle():
            break
    disk.close()
    return sink.made, sum(parcel.record_count for parcel in sink.made)


class _Clock:
    """Counts confirmations; the time runs from the first one, so that no client's start is in it."""

    def __init__(self) -> None:
        self.delivered = 0
        self._first_s = self._last_s = 0.0

    def on_delivery(self, error: KafkaError | None, _message: Message) -> None:
        assert error is None, error
        self._last_s = time.perf_counter()
        self._first_s = self._first_s or self._last_s
        self.delivered += 1

    @property
    def per_s(self) -> float:
        """Confirmations after the first, a second."""
        return (self.delivered - 1) / (self._last_s - self._first_s)


def produce_only(bootstrap_servers: str, made: list[Parcel], messages: int, count: int) -> float:
    """Messages a second, from the first confirmation to the last, when finished batches of about `count` messages are
    given to the Kafka client as fast as it takes them."""
    settings = EdgeKafkaSettings(bootstrap_servers=bootstrap_servers)
    clock = _Clock()
    producer = Producer(
        {
            **shared.PRODUCER,
            **settings.client(),
            "linger.ms": settings.linger_ms,
            "queue.buffering.max.messages": settings.queue_batches_max,
            "queue.buffering.max.kbytes": settings.queue_bytes_max // 1024,
            "batch.size": settings.request_bytes_max,
            "message.max.bytes": settings.request_bytes_max,
        }
    )
    rounds = max(1, count // messages)
    for parcel in made * rounds:
        _produce(producer, parcel, clock)
        producer.poll(0)
    producer.flush(60)
    assert clock.delivered == len(made) * rounds
    return clock.per_s * messages / len(made)


def _produce(producer: Producer, parcel: Parcel, clock: _Clock) -> None:
    while True:
        try:
            producer.produce(
                parcel.topic,
                parcel.value,
                parcel.key,
                headers=parcel.headers,  # type: ignore[arg-type] # the stub's list is invariant
                on_delivery=clock.on_delivery,
            )
        except BufferError:
            producer.poll(0.01)
        else:
            return
