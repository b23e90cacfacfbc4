"""What is measured of a running service: on a backlog, at a fixed rate, and what a twin costs in memory."""

import time
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import pymongo
import typer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks.fold import service, workload
from benchmarks.fold.service import Fold, Sample, Settings
from benchmarks.fold.workload import SIGNALS_PER_FRAME, Workload
from benchmarks.report import Report
from cloud import topics_admin
from cloud.config import TopicSettings
from local import processes
from local.servers import kafka, mongo
from local.servers.base import Server
from runtime.settings import KafkaSettings
from wire import topics

RATE_PER_S: Final = 10_000
STAGES: Final = ("poll", "open", "plain", "load", "fold", "detect", "encode", "tell", "write", "link", "commit")
LIMIT_S: Final = 180.0
BEGUN: Final = 91
"""The first turn that is measured."""
_FIRST: Final = range(62)
"""Turns in which cars are heard first. With a record every 10 s, those of the first are 15 minutes old at `BEGUN`: the
copies that questions go by are due."""
_SECOND: Final = range(62, 90)
"""Turns in which they are heard again: a car drives so far in so many that its copy moves."""
_MAKING_US: Final = 60
"""To make a record takes less."""
SINK_TOPIC: Final = "sink.documents"


class Bench:
    """The servers of a run and what is measured on them. `share`: how much of the full size."""

    def __init__(self, owner: processes.Processes, directory: Path, share: float, with_sink: bool) -> None:
        self.owner, self.directory, self.share, self.with_sink = owner, directory, share, with_sink
        self.report = Report("fold")
        self.mongod = mongo.Mongod(owner, directory / "mongodb").start()
        self.broken = False
        self._runs = 0

    def size(self, count: int) -> int:
        """A number of assets or turns at this run's size."""
        return max(1, round(count * self.share))

    def note(self, text: str) -> None:
        """Something that readers of the figures must know."""
        self.report.notes.append(text)

    def fold(self, broker: Server, database: str, settings: Settings, workers: int = 1) -> Fold:
        """A service, not started yet."""
        self._runs += 1
        told = service.environment(broker.url, self.mongod.url, database) | settings
        return Fold(self.owner, self.directory / f"fold-{self._runs}", told, workers, (self.mongod, broker))

    def drop(self, database: str) -> None:
        """Forget a database: the disk is not what is measured."""
        with pymongo.MongoClient[dict[str, Any]](self.mongod.url) as client:
            client.drop_database(database)


def say(what: str) -> None:
    """Progress, on stderr."""
    typer.echo(f"{time.strftime('%H:%M:%S')} {what}", err=True)


def fresh_topics(broker: Server) -> None:
    """The contract's topics, empty."""
    say(f"new topics on {broker.name}")
    admin = AdminClient({"bootstrap.servers": broker.url})
    held = [name for name in admin.list_topics(timeout=10).topics if not name.startswith("__")]
    for future in admin.delete_topics(held).values() if held else ():
        future.result()
    while any(not name.startswith("__") for name in admin.list_topics(timeout=10).topics):
        time.sleep(0.1)
    admin.create_topics([NewTopic(SINK_TOPIC, 8, 1)])[SINK_TOPIC].result()
    topics_admin.create(KafkaSettings(bootstrap_servers=broker.url), TopicSettings())


def greetings(work: Workload, running: bool) -> Iterator[Iterable[int]]:
    """Records by which a service knows all cars, from turns before `BEGUN`. `running`: what is written only now and
    then is due from there on as often as in a fleet that runs; else the fleet was switched on just now."""
    if running:
        yield from (work.scattered(_FIRST), work.scattered(_SECOND))
    else:
        yield work.turn(BEGUN - 2)
    yield work.turn(BEGUN - 1)


def greet(fold: Fold, broker: Server, work: Workload, running: bool) -> None:
    """Let a running service hear every car, so that it knows them all and its workers have shared the partitions: what
    is measured then is neither making twins nor reading them back."""
    fold.until(lambda sample: sample.all_have_partitions, LIMIT_S)
    said = fold.sample()["messages_folded_total"]
    for indexes in greetings(work, running):
        workload.send(broker.url, topics.FLEET_SIGNALS, map(work.record, indexes))
        said += work.frames_of_a_turn
        fold.until(partial(_has_folded, said), LIMIT_S)


def _has_folded(frames: float, sample: Sample) -> bool:
    return sample["messages_folded_total"] >= frames


def burst(bench: Bench, name: str, fold: Fold, broker: Server, work: Workload, turns: range) -> float:
    """Let a running service find `turns` in the log all at once; frames/s from when they lie there until the first
    worker has nothing left. It is held while they are sent, since what it folds meanwhile is not measured; but not on
    Tansu, where its session is over after 6 s."""
    say(f"{name}: the fold on a backlog")
    said, made = fold.sample()["messages_folded_total"], _made(work, turns)
    last = said + work.frames_of_a_turn * len(turns)
    with nullcontext() if broker.name == kafka.Tansu.name else fold.held():
        workload.send(broker.url, topics.FLEET_SIGNALS, iter(made))
    samples = fold.until(partial(_has_folded, last), LIMIT_S)
    end = service.while_all_work(samples)
    assert end.at_s > samples[0].at_s, "a worker had nothing to do, or all was folded before it could be watched"
    rate = tell(bench, name, samples[0], end)
    measured = sum(end.folded) - sum(samples[0].folded)
    bench.report.add(f"{name}: measured of the backlog", measured / (work.frames_of_a_turn * len(turns)), "share")
    bench.report.add(f"{name}: until all is folded", _rate(samples[0], samples[-1]), "frames/s")
    bench.report.add(f"{name}: RSS", samples[-1].rss / 2**20, "MiB")
    return rate


@cache
def _made(work: Workload, turns: range) -> list[tuple[bytes, bytes]]:
    """Ready records, made once for all who find the same backlog."""
    return [work.record(index) for turn in turns for index in work.turn(turn)]


def tell(bench: Bench, name: str, begin: Sample, end: Sample) -> float:
    """Rates and processor time between two samples; returns frames/s."""
    frames = end["messages_folded_total"] - begin["messages_folded_total"]
    passed_s = end.at_s - begin.at_s
    rate, add = _rate(begin, end), bench.report.add
    add(f"{name}: frames", rate, "frames/s")
    add(f"{name}: signals", rate * SIGNALS_PER_FRAME, "signals/s")
    add(f"{name}: documents", (end["twins_written_total"] - begin["twins_written_total"]) / passed_s, "documents/s")
    for stage in STAGES:
        key = f"stage_cpu_seconds_total/{stage}"
        add(f"{name}: processor, {stage}", 1e6 * (end[key] - begin[key]) / frames, "us/frame")
    used_s = {"whole service": end.cpu_s - begin.cpu_s}
    used_s |= {server: cpu_s - begin.beside_cpu_s[server] for server, cpu_s in end.beside_cpu_s.items()}
    for who, cpu_s in used_s.items():
        add(f"{name}: processor, {who}", 1e6 * cpu_s / frames, "us/frame")
    add(f"{name}: processor, all of these", sum(used_s.values()) / passed_s, "cores")
    return rate


def _rate(begin: Sample, end: Sample) -> float:
    return (end["messages_folded_total"] - begin["messages_folded_total"]) / (end.at_s - begin.at_s)


def paced(bench: Bench, name: str, fold: Fold, broker: Server, work: Workload, seconds: int) -> None:
    """Send at `RATE_PER_S` frames/s in real time; ages from the moment of reception to the written twin. Before that
    every car is heard of at some time within the last turns, and again."""
    say(f"{name}: {RATE_PER_S:,} frames/s for {seconds} s")
    count = RATE_PER_S * seconds // work.frames_per_record
    interval_ms = 1_000 * work.frames_of_a_turn // RATE_PER_S
    begun_ms, first = int(time.time() * 1000) - BEGUN * interval_ms, BEGUN * work.assets
    running = work._replace(start_ms=begun_ms, interval_ms=interval_ms)
    greet(fold, broker, running, running=True)
    later_ms = int(time.time() * 1000) + count * _MAKING_US // 1_000
    moved = running._replace(paused_ms=later_ms - running.due_ms(first))
    made = [moved.record(index) for index in range(first, first + count)]
    before = fold.sample()
    last = before["messages_folded_total"] + count * work.frames_per_record
    _send_in_time(broker.url, moved, first, made)
    sent_s = time.monotonic()
    end = fold.until(lambda sample: sample["messages_folded_total"] >= last, LIMIT_S)[-1]
    rate, add = f"{name}: at {RATE_PER_S:,} frames/s", bench.report.add
    add(f"{rate}, behind at the end", time.monotonic() - sent_s, "s")
    add(f"{rate}, age p50", service.quantile(before, end, 0.5), "s")
    bench.report.below(f"{rate}, age p99", service.quantile(before, end, 0.99), "s", 2.0)
    frames = end["messages_folded_total"] - before["messages_folded_total"]
    add(f"{rate}, processor", 1e6 * (end.cpu_s - before.cpu_s) / frames, "us/frame")
    add(f"{rate}, RSS", end.rss / 2**20, "MiB")


def _send_in_time(bootstrap_servers: str, work: Workload, first: int, made: list[tuple[bytes, bytes]]) -> None:
    def due() -> Iterator[tuple[bytes, bytes]]:
        for index, record in enumerate(made, first):
            wait_s = work.due_ms(index) / 1000 - time.time()
            if wait_s > 0.005:
                time.sleep(wait_s)
            yield record

    workload.send(bootstrap_servers, topics.FLEET_SIGNALS, due())


def memory(bench: Bench, broker: Server, work: Workload) -> None:
    """Fold every car once with room for a fifth of them: what the others cost, and what a kept one does."""
    kept = work.assets // 5
    with bench.fold(broker, "bench_B", {"FOLD__CACHED_TWINS_MAX": str(kept)}) as fold:
        empty = fold.sample()
        samples = fold.until(lambda sample: sample["messages_folded_total"] >= work.assets, LIMIT_S)
    full, end = service.between(samples, kept * 1.5, work.assets)
    beyond = end["messages_folded_total"] - full["messages_folded_total"]
    bench.report.add("B: memory per twin in the cache, with all else", (full.rss - empty.rss) / kept, "bytes")
    bench.report.below("B: memory per asset beyond the cache", (end.rss - full.rss) / beyond, "bytes", 1024)
