"""CPU time of each stage of the agent's loop, per message: its own parts, driven by hand, one chunk after the other.

The thread's CPU time is taken around each stage; what librdkafka's threads do is in none of them.
"""

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from benchmarks.edge import mqtt_load
from edge import receive
from edge.batcher import Batcher, Limits
from edge.clock import SystemClock
from edge.config import BatchSettings, EdgeKafkaSettings, SpoolSettings
from edge.counts import Counts
from edge.inbox import Connection, Delivery
from edge.kafka import KafkaSink
from edge.letters import Source
from edge.packets import Parser
from edge.sender import Sender
from edge.sequences import SequenceWatch
from edge.spool.disk import Directory
from edge.spool.spool import Limits as SpoolLimits
from edge.spool.spool import Spool


class Stages:
    """CPU seconds by stage, in the order of the loop."""

    def __init__(self) -> None:
        self.cpu_s: defaultdict[str, float] = defaultdict(float)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """What is done within is a part of a stage."""
        before_s = time.thread_time()
        yield
        self.cpu_s[name] += time.thread_time() - before_s


def chunks(assets: int, count: int) -> Iterator[bytes]:
    """What a socket gives."""
    stream = b"".join(mqtt_load.packets(assets, count))
    for start in range(0, len(stream), mqtt_load.CHUNK_BYTES):
        yield stream[start : start + mqtt_load.CHUNK_BYTES]


def measure(directory: Path, kafka: str, assets: int, count: int) -> dict[str, float]:
    """CPU µs per message of each stage. The topics must exist."""
    clock, counts, stages = SystemClock(), Counts(), Stages()
    batch, settings = BatchSettings(), SpoolSettings()
    disk = Directory(directory)
    spool = Spool.open(disk, SpoolLimits(settings.bytes_max, settings.segment_bytes, settings.read_bytes), clock)
    sink = KafkaSink(EdgeKafkaSettings(bootstrap_servers=kafka), "bench", clock, counts)
    limits = Limits(batch.batch_frames_max, batch.batch_bytes_max, batch.batch_age_ms_max / 1000)
    source = Source("bench", spool.epoch)
    sender = Sender(spool, sink, Batcher(limits), source, settings.window_bytes_max, clock, counts)
    parser, watch = Parser(True, 1_048_576), SequenceWatch(10_000, counts)
    for chunk in chunks(assets, count):
        delivery = Delivery(Connection(0, 1), clock.now_ms())
        with stages.stage("receive: parse"):
            parser.feed(chunk, delivery)
        with stages.stage("receive: judge"):
            judged = receive.judge([delivery])
        with stages.stage("receive: watch"):
            watch.look(judged.arrivals)
        with stages.stage("append: pack"):
            bundles = [arrival.bundle() for arrival in judged.arrivals.values()]
        with stages.stage("append: encode"):
            spool.stage([*bundles])
        with stages.stage("append: write, fdatasync"):
            spool.commit()
        with stages.stage("acknowledge"):
            b"\x40\x02".join(delivery.pubacks)
        _send(stages, sender)
    deadline_s = clock.monotonic_s() + 60
    while spool.undelivered and clock.monotonic_s() < deadline_s:
        if not _send(stages, sender, everything=True):
            time.sleep(0.002)
    assert spool.undelivered == 0, f"{spool.undelivered} records are not in Kafka"
    with stages.stage("checkpoint, delete"):
        spool.checkpoint()
        spool.trim()
    sink.close()
    spool.close()
    disk.close()
    return {stage: seconds / count * 1e6 for stage, seconds in stages.cpu_s.items()}


def _send(stages: Stages, sender: Sender, everything: bool = False) -> int:
    with stages.stage("read back, batch"):
        sender.read()
    with stages.stage("assemble, produce"):
        produced = sender.produce(everything)
    with stages.stage("confirm"):
        return produced + sender.settle()
