"""How fast the twin service folds, beside the limits of the parts it stands on and beside Kafka Connect's sink.

A: 500 cars, 20 frames a record. B: 100,000 cars, one frame a record. C: B at 10,000 frames/s with detection and
history on. Everything (brokers, mongod, the JVM, the service) shares the machine.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import pymongo
import typer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks.fold import connect, limits, service, workload
from benchmarks.fold.service import Fold, Sample, Settings
from benchmarks.fold.workload import SIGNALS_PER_FRAME, Workload
from benchmarks.report import Report
from cloud import topics_admin
from cloud.config import TopicSettings
from local import processes
from local.servers import apache_kafka, apache_kafka_jars, kafka, mongo
from local.servers.base import Server, ServerError
from runtime.settings import KafkaSettings
from wire import topics

RATE_PER_S: Final = 10_000
STAGES: Final = ("poll", "open", "load", "fold", "detect", "encode", "tell", "write", "link", "commit")
SINK_TOPIC: Final = "sink.documents"
_LIMIT_S: Final = 180.0
_ROOM: Final = {"FOLD__CACHED_TWINS_MAX": "200000"}
A_TURNS: Final = 48
B_TURNS: Final = 5
_PARTS: Final = "A,B,C,tansu,workers"


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
        return Fold(self.owner, self.directory / f"fold-{self._runs}", told, workers)

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


def greet(fold: Fold, broker: Server, work: Workload, turn: int) -> None:
    """Let a running service hear every car once, so that it knows them all and its workers have shared the partitions:
    what is measured then is neither making twins nor reading them back."""
    said = fold.sample()["messages_folded_total"] + work.frames_of_a_turn
    fold.until(lambda sample: sample.all_have_partitions, _LIMIT_S)
    workload.send(broker.url, topics.FLEET_SIGNALS, map(work.record, work.turn(turn)))
    fold.until(lambda sample: sample["messages_folded_total"] >= said, _LIMIT_S)


def burst(bench: Bench, name: str, fold: Fold, broker: Server, work: Workload, turns: range) -> float:
    """Let a running service find `turns` in the log all at once; frames/s from when they lie there."""
    say(f"{name}: the fold on a backlog")
    made = [work.record(index) for turn in turns for index in work.turn(turn)]
    last = fold.sample()["messages_folded_total"] + work.frames_of_a_turn * len(turns)
    workload.send(broker.url, topics.FLEET_SIGNALS, iter(made))
    samples = fold.until(lambda sample: sample["messages_folded_total"] >= last, _LIMIT_S)
    rate = tell(bench, name, samples[0], samples[-1])
    bench.report.add(f"{name}: RSS", samples[-1].rss / 2**20, "MiB")
    return rate


def tell(bench: Bench, name: str, begin: Sample, end: Sample) -> float:
    """Rates and processor time between two samples; returns frames/s."""
    frames = end["messages_folded_total"] - begin["messages_folded_total"]
    passed_s = end.at_s - begin.at_s
    rate, add = frames / passed_s, bench.report.add
    add(f"{name}: frames", rate, "frames/s")
    add(f"{name}: signals", rate * SIGNALS_PER_FRAME, "signals/s")
    add(f"{name}: documents", (end["twins_written_total"] - begin["twins_written_total"]) / passed_s, "documents/s")
    for stage in STAGES:
        key = f"stage_cpu_seconds_total/{stage}"
        add(f"{name}: processor, {stage}", 1e6 * (end[key] - begin[key]) / frames, "us/frame")
    add(f"{name}: processor, whole service", 1e6 * (end.cpu_s - begin.cpu_s) / frames, "us/frame")
    return rate


def limits_of(bench: Bench, name: str, broker: Server, work: Workload, records: int) -> float:
    """The smaller of the two limits, in frames/s: reading and opening alone, writing prepared operations alone."""
    say(f"{name}: the limits")
    read_s, batches = limits.read(broker.url, f"limit-{name}", records)
    reading = records * work.frames_per_record / read_s
    store = limits.open_store(bench.mongod.url, f"bench_limit_{name}")
    last: list[list[Any]] = []
    while batches and sum(map(len, last)) < work.assets * 2:
        last.insert(0, batches.pop())
    del batches
    prepared = limits.prepare(last)
    written_s = limits.write(store, prepared)
    frames = sum(map(len, last)) * work.frames_per_record
    writing = frames / written_s
    bench.report.add(f"{name}: limit, consume and decode alone", reading, "frames/s")
    bench.report.add(f"{name}: limit, bulk write alone", writing, "frames/s")
    bench.report.add(f"{name}: limit, bulk write alone", sum(map(len, prepared)) / written_s, "documents/s")
    store.database.client.drop_database(store.database.name)
    store.database.client.close()
    return min(reading, writing)


def sink(bench: Bench, name: str, broker: Server, work: Workload, turns: int) -> float:
    """Kafka Connect's sink writing the same records, after those of the first half made it warm; frames/s."""
    say(f"{name}: Kafka Connect's sink")
    records = work.assets * turns
    workload.send(broker.url, SINK_TOPIC, map(work.document, range(records)))
    database, directory = f"bench_sink_{name}", bench.directory / f"connect-{name}"
    seen: list[tuple[float, int]] = []
    with pymongo.MongoClient[dict[str, Any]](bench.mongod.url) as client:
        before = _updates(client)
        with connect.Connect(bench.owner, directory, broker.url, bench.mongod.url, database, SINK_TOPIC) as running:
            deadline = time.monotonic() + _LIMIT_S
            while not seen or seen[-1][1] < records:
                assert time.monotonic() < deadline, running.log_file.read_text(errors="replace")[-3_000:]
                seen.append((time.monotonic(), _updates(client) - before))
                time.sleep(0.05)
        client.drop_database(database)
    began_s, done = next((at_s, count) for at_s, count in seen if count >= records / 2)
    ended_s, last = next((at_s, count) for at_s, count in seen if count >= records)
    assert last > done, "all was written before it could be watched: too few records"
    rate = (last - done) / (ended_s - began_s)
    bench.report.add(f"{name}: Kafka Connect's sink", rate, "documents/s")
    return rate * work.frames_per_record


def _updates(client: "pymongo.MongoClient[dict[str, Any]]") -> int:
    """What mongod counted since it started; a replacement with upsert is one."""
    return int(client.admin.command("serverStatus")["opcounters"]["update"])


def paced(bench: Bench, name: str, fold: Fold, broker: Server, work: Workload, seconds: int) -> None:
    """Send at `RATE_PER_S` frames/s in real time; ages from the moment of reception to the written twin."""
    say(f"{name}: {RATE_PER_S:,} frames/s for {seconds} s")
    total = RATE_PER_S * seconds
    count = total // work.frames_per_record
    interval_ms = 1_000 * work.frames_of_a_turn // RATE_PER_S
    moved = work._replace(start_ms=int(time.time() * 1000) + total // 20, interval_ms=interval_ms)
    made = [moved.record(index) for index in range(count)]
    before = fold.sample()
    last = before["messages_folded_total"] + count * work.frames_per_record
    _send_in_time(broker.url, moved, made)
    sent_s = time.monotonic()
    end = fold.until(lambda sample: sample["messages_folded_total"] >= last, _LIMIT_S)[-1]
    rate, add = f"{name}: at {RATE_PER_S:,} frames/s", bench.report.add
    add(f"{rate}, behind at the end", time.monotonic() - sent_s, "s")
    add(f"{rate}, age p50", service.quantile(before, end, 0.5), "s")
    bench.report.below(f"{rate}, age p99", service.quantile(before, end, 0.99), "s", 2.0)
    frames = end["messages_folded_total"] - before["messages_folded_total"]
    add(f"{rate}, processor", 1e6 * (end.cpu_s - before.cpu_s) / frames, "us/frame")
    add(f"{rate}, RSS", end.rss / 2**20, "MiB")


def _send_in_time(bootstrap_servers: str, work: Workload, made: list[tuple[bytes, bytes]]) -> None:
    def due() -> Iterator[tuple[bytes, bytes]]:
        for index, record in enumerate(made):
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
        samples = fold.until(lambda sample: sample["messages_folded_total"] >= work.assets, _LIMIT_S)
    full, end = service.between(samples, kept * 1.5, work.assets)
    beyond = end["messages_folded_total"] - full["messages_folded_total"]
    bench.report.add("B: memory per twin in the cache, with all else", (full.rss - empty.rss) / kept, "bytes")
    bench.report.below("B: memory per asset beyond the cache", (end.rss - full.rss) / beyond, "bytes", 1024)


def scenario_a(bench: Bench, broker: Server, workers: int = 1, seconds: int = 0) -> float:
    """500 cars with long batches; returns frames/s. At a fixed rate for `seconds`, too."""
    work = Workload(bench.size(500), 20, 10_000, _long_ago())
    name = f"A on {broker.name}" + (f", {workers} workers" if workers > 1 else "")
    fresh_topics(broker)
    with bench.fold(broker, "bench_A", _ROOM, workers) as fold:
        greet(fold, broker, work, 0)
        rate = burst(bench, name, fold, broker, work, range(1, A_TURNS))
        if seconds:
            paced(bench, "A", fold, broker, work._replace(interval_ms=1_000), seconds)
    bench.drop("bench_A")
    return rate


def scenario_b(bench: Bench, broker: Server, workers: int = 1, seconds: int = 0) -> float:
    """100,000 cars, a frame each; returns frames/s. At a fixed rate for `seconds`, too."""
    work = Workload(bench.size(100_000), 1, 10_000, _long_ago())
    name = f"B on {broker.name}" + (f", {workers} workers" if workers > 1 else "")
    fresh_topics(broker)
    if seconds:
        workload.send(broker.url, topics.FLEET_SIGNALS, map(work.record, work.turn(0)))
        memory(bench, broker, work)
    with bench.fold(broker, "bench_B", _ROOM, workers) as fold:
        greet(fold, broker, work, 1)
        rate = burst(bench, name, fold, broker, work, range(2, B_TURNS))
        if seconds:
            paced(bench, "B", fold, broker, work, seconds)
    return rate


def scenario_c(bench: Bench, broker: Server, seconds: int) -> None:
    """B at a fixed rate, with detection and history."""
    work = Workload(bench.size(100_000), 1, 10_000, _long_ago())
    fresh_topics(broker)
    told = {**_ROOM, "FOLD__DETECT": "true", "HISTORY__ENABLED": "true"}
    with bench.fold(broker, "bench_B", told) as fold:
        greet(fold, broker, work, 0)
        paced(bench, "C", fold, broker, work, seconds)


def compare(
    bench: Bench, name: str, short: str, broker: Server, work: Workload, turns: int, rate: float, factor: float
) -> None:
    """The fold's rate against the limits and the sink of the same run, on records that lie in the log already."""
    fresh_topics(broker)
    workload.send(broker.url, topics.FLEET_SIGNALS, map(work.record, range(work.assets * turns)))
    limit = limits_of(bench, short, broker, work, work.assets * turns)
    bench.report.at_least(f"{name}: share of the smaller limit", rate, "frames/s", limit, 0.7)
    if bench.with_sink:
        found = sink(bench, short, broker, work, max(2, turns if short == "A" else 2))
        bench.report.at_least(f"{name}: against Kafka Connect's sink", rate, "frames/s", found, factor)


def _long_ago() -> int:
    return int(time.time() * 1000) - 3_600_000


app: Final = typer.Typer(add_completion=False)


@app.command()
def main(
    share: Annotated[float, typer.Option(min=0.001, max=1.0, help="Part of the full size: 0.02 is a smoke run.")] = 1.0,
    seconds: Annotated[int, typer.Option(min=1, help="Length of each run at a fixed rate.")] = 20,
    parts: Annotated[str, typer.Option(help="Which of A, workers (with A and B), B, C (after B), tansu.")] = _PARTS,
    sink_too: Annotated[bool, typer.Option("--sink/--no-sink", help="Run Kafka Connect's sink as well.")] = True,
    write: Annotated[bool, typer.Option(help="Write results/fold.json.")] = True,
) -> None:
    """Measure; the table at the end says what is reached."""
    wanted = set(parts.split(","))
    with (
        processes.Processes() as owner,
        tempfile.TemporaryDirectory(prefix="fleetfold-bench-", ignore_cleanup_errors=True) as name,
    ):
        bench = Bench(owner, Path(name), share, sink_too)
        bench.note(f"{share:g} of the full size, {seconds} s at a fixed rate, parts {parts}")
        bench.note("the sink's collection has no index and no validator; the twins' have all that the service creates")
        try:
            measure(bench, wanted, seconds)
        finally:
            bench.report.show()
    if write:
        typer.echo(f"written: {bench.report.write()}")
    if bench.broken:
        raise typer.Exit(1)


def measure(bench: Bench, wanted: set[str], seconds: int) -> None:
    """All parts that are wanted, one after the other."""
    try:
        apache_kafka_jars.directory(bench.owner)
        broker: Server = apache_kafka.ApacheKafka(bench.owner, bench.directory / "apache").start()
    except apache_kafka_jars.UnavailableError as error:
        bench.note(f"without Apache Kafka: {error}")
        broker, bench.with_sink = kafka.Tansu(bench.owner, bench.directory / "tansu").start(), False
    steps: dict[str, Callable[[], None]] = {
        "A": lambda: a_alone(bench, broker, seconds, "workers" in wanted),
        "B": lambda: b_and_c(bench, broker, seconds, wanted),
        "tansu": lambda: on_tansu(bench, wanted),
    }
    for part, step in steps.items():
        if part in wanted:
            try:
                step()
            except (ServerError, AssertionError) as error:
                bench.note(f"{part} was not measured to its end: {str(error)[:500]}")
                bench.broken = True


def a_alone(bench: Bench, broker: Server, seconds: int, with_workers: bool) -> None:
    """A, at a fixed rate, against its limits, and with two workers."""
    one = scenario_a(bench, broker, seconds=max(2, seconds // 2))
    work = Workload(bench.size(500), 20, 10_000, _long_ago())
    compare(bench, f"A on {broker.name}", "A", broker, work, A_TURNS, one, 5.0)
    if with_workers:
        two = scenario_a(bench, broker, workers=2)
        bench.report.at_least("A: two workers against one, on the same cores", two, "frames/s", one, 1.6)


def b_and_c(bench: Bench, broker: Server, seconds: int, wanted: set[str]) -> None:
    """B, at a fixed rate, against its limits, and with two workers; and with detection and history at that rate: C."""
    one = scenario_b(bench, broker, seconds=seconds)
    work = Workload(bench.size(100_000), 1, 10_000, _long_ago())
    compare(bench, f"B on {broker.name}", "B", broker, work, 3, one, 2.0)
    if "workers" in wanted:
        two = scenario_b(bench, broker, workers=2)
        bench.report.at_least("B: two workers against one, on the same cores", two, "frames/s", one, 1.6)
    if "C" in wanted:
        scenario_c(bench, broker, seconds)


def on_tansu(bench: Bench, wanted: set[str]) -> None:
    """The same backlogs on the other broker."""
    with kafka.Tansu(bench.owner, bench.directory / "tansu") as broker:
        if "A" in wanted:
            scenario_a(bench, broker)
        if "B" in wanted:
            scenario_b(bench, broker)


if __name__ == "__main__":
    app()
