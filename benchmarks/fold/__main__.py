"""How fast the twin service folds, beside the limits of the parts it stands on and beside Kafka Connect's sink.

A: 500 cars, 20 frames a record. B: 100,000 cars, one frame a record. C: B at 10,000 frames/s with detection and
history on. Everything (brokers, mongod, the JVM, the service) shares the machine.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

import pymongo
import typer

from benchmarks.fold import connect, limits, service, workload
from benchmarks.fold.measure import (
    BEGUN,
    LIMIT_S,
    SINK_TOPIC,
    Bench,
    burst,
    fresh_topics,
    greet,
    greetings,
    memory,
    paced,
    say,
)
from benchmarks.fold.workload import Workload
from local import processes
from local.servers import apache_kafka_jars, kafka
from local.servers.base import Server, ServerError
from wire import topics

_ROOM: Final = {"FOLD__CACHED_TWINS_MAX": "200000"}
A_TURNS: Final = 48
A_BACKLOG_TURNS: Final = 120
"""A turn of the service takes three of these at once: there should be many, also for each of two workers."""
B_TURNS: Final = 4
_HOUR_MS: Final = 3_600_000
_PARTS: Final = "A,B,C,tansu,workers"


def limits_of(bench: Bench, name: str, broker: Server, work: Workload, turns: int) -> float:
    """The smaller of the two limits, in frames/s: reading and opening alone, writing prepared operations alone, of cars
    that are known."""
    say(f"{name}: the limits")
    greeted = work.assets * len(list(greetings(work, running=False)))
    records = work.assets * turns + greeted
    read_s, batches = limits.read(broker.url, f"limit-{name}", records)
    reading = records * work.frames_per_record / read_s
    store = limits.open_store(bench.mongod.url, f"bench_limit_{name}")
    prepared = limits.prepare(batches)
    known = next((place for place in range(len(batches)) if sum(map(len, batches[:place])) >= greeted), 0)
    limits.write(store, prepared[:known])
    written_s = limits.write(store, prepared[known:])
    writing = sum(map(len, batches[known:])) * work.frames_per_record / written_s
    bench.report.add(f"{name}: limit, consume and decode alone", reading, "frames/s")
    bench.report.add(f"{name}: limit, bulk write alone", writing, "frames/s")
    bench.report.add(f"{name}: limit, bulk write alone", sum(map(len, prepared[known:])) / written_s, "documents/s")
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
            deadline = time.monotonic() + LIMIT_S
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


def scenario_a(bench: Bench, broker: Server, work: Workload, workers: int = 1, seconds: int = 0) -> float:
    """500 cars with long batches; returns frames/s. At a fixed rate for `seconds`, too."""
    name = _named(f"A on {broker.name}", workers)
    fresh_topics(broker)
    with bench.fold(broker, "bench_A", _ROOM, workers) as fold:
        greet(fold, broker, work, running=False)
        rate = burst(bench, name, fold, broker, work, range(BEGUN, BEGUN + A_BACKLOG_TURNS))
        if seconds:
            paced(bench, "A", fold, broker, work._replace(interval_ms=1_000), seconds)
    bench.drop("bench_A")
    return rate


def scenario_b(bench: Bench, broker: Server, work: Workload, workers: int = 1, seconds: int = 0) -> float:
    """100,000 cars, a frame each; returns frames/s. At a fixed rate for `seconds`, too."""
    name = _named(f"B on {broker.name}", workers)
    fresh_topics(broker)
    if seconds and workers == 1:
        earlier = work._replace(start_ms=work.start_ms - _HOUR_MS)
        workload.send(broker.url, topics.FLEET_SIGNALS, map(earlier.record, earlier.turn(0)))
        memory(bench, broker, earlier)
    with bench.fold(broker, "bench_B", _ROOM, workers) as fold:
        greet(fold, broker, work, running=False)
        rate = burst(bench, name, fold, broker, work, range(BEGUN, BEGUN + B_TURNS))
        if seconds:
            later = work._replace(start_ms=work.start_ms + _HOUR_MS // 2)
            greet(fold, broker, later, running=True)
            burst(bench, f"{name}, a fleet that runs", fold, broker, later, range(BEGUN, BEGUN + B_TURNS))
            paced(bench, _named("B", workers), fold, broker, work, seconds)
    bench.drop("bench_B")
    return rate


def scenario_c(bench: Bench, broker: Server, seconds: int, workers: int = 1) -> None:
    """B at a fixed rate, with detection and history."""
    work = _with_one_frame(bench)
    fresh_topics(broker)
    told = {**_ROOM, "FOLD__DETECT": "true", "HISTORY__ENABLED": "true"}
    with bench.fold(broker, "bench_B", told, workers) as fold:
        greet(fold, broker, work, running=False)
        paced(bench, _named("C", workers), fold, broker, work, seconds)
    bench.drop("bench_B")


def _named(scenario: str, workers: int) -> str:
    return scenario + (f", {workers} workers" if workers > 1 else "")


def compare(
    bench: Bench, name: str, short: str, broker: Server, work: Workload, turns: int, rate: float, factor: float
) -> None:
    """The fold's rate against the limits and the sink of the same run, on records that lie in the log already."""
    fresh_topics(broker)
    for indexes in (*greetings(work, running=False), *map(work.turn, range(BEGUN, BEGUN + turns))):
        workload.send(broker.url, topics.FLEET_SIGNALS, map(work.record, indexes))
    limit = limits_of(bench, short, broker, work, turns)
    bench.report.at_least(f"{name}: share of the smaller limit", rate, "frames/s", limit, 0.7)
    if bench.with_sink:
        found = sink(bench, short, broker, work, max(2, turns if short == "A" else 2))
        bench.report.at_least(f"{name}: against Kafka Connect's sink", rate, "frames/s", found, factor)


def _with_long_batches(bench: Bench) -> Workload:
    return Workload(bench.size(500), 20, 10_000, int(time.time() * 1000) - 2 * _HOUR_MS)


def _with_one_frame(bench: Bench) -> Workload:
    return Workload(bench.size(100_000), 1, 10_000, int(time.time() * 1000) - 2 * _HOUR_MS)


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
        broker: Server = service.PatientKafka(bench.owner, bench.directory / "apache").start()
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
    work = _with_long_batches(bench)
    one = scenario_a(bench, broker, work, seconds=max(2, seconds // 2))
    if with_workers:
        two = scenario_a(bench, broker, work, workers=2)
        bench.report.at_least("A: two workers against one, on the same cores", two, "frames/s", one, 1.6)
    compare(bench, f"A on {broker.name}", "A", broker, work, A_TURNS, one, 5.0)


def b_and_c(bench: Bench, broker: Server, seconds: int, wanted: set[str]) -> None:
    """B, at a fixed rate, against its limits, and with two workers; and with detection and history at that rate: C."""
    work = _with_one_frame(bench)
    one = scenario_b(bench, broker, work, seconds=seconds)
    compare(bench, f"B on {broker.name}", "B", broker, work, 2, one, 2.0)
    if "workers" in wanted:
        two = scenario_b(bench, broker, work, workers=2, seconds=seconds)
        bench.report.at_least("B: two workers against one, on the same cores", two, "frames/s", one, 1.6)
    if "C" in wanted:
        scenario_c(bench, broker, seconds)
        if "workers" in wanted:
            scenario_c(bench, broker, seconds, workers=2)


def on_tansu(bench: Bench, wanted: set[str]) -> None:
    """The same backlogs on the other broker."""
    with kafka.Tansu(bench.owner, bench.directory / "tansu") as broker:
        if "A" in wanted:
            scenario_a(bench, broker, _with_long_batches(bench))
        if "B" in wanted:
            scenario_b(bench, broker, _with_one_frame(bench))


if __name__ == "__main__":
    app()
