"""`fleetfold-cloud status`: how the twin service does. Exit code 0: well; 1: not; 3: a server does not answer."""

import json
import time
from typing import NamedTuple, NoReturn

import typer
from rich.console import Console, Group, RenderableType
from rich.table import Table

from cloud import mongo
from cloud.config import CloudSettings
from cloud.queries.formats import printable
from cloud.status import brokers, database, workers
from cloud.status.report import Partition, Report, Worker
from runtime import exits


class Asking(NamedTuple):
    """What is asked, and what counts as well."""

    urls: tuple[str, ...]
    lag_max_s: float
    timeout_s: float
    every_partition: bool
    watch_s: float | None
    as_json: bool


def run(loaded: CloudSettings, asking: Asking) -> NoReturn:
    """Ask, print, and end with what it comes to; with `watch_s` again and again, until interrupted."""
    console = Console()
    while True:
        report = ask(loaded, list(asking.urls) or _configured(loaded), asking.timeout_s)
        problems = list(report.problems(asking.lag_max_s))
        if asking.as_json:
            typer.echo(json.dumps(report.plain(asking.lag_max_s)))
        else:
            console.print(_shown(report, problems, asking.every_partition))
        if asking.watch_s is None:
            raise typer.Exit(_code(report, problems))
        time.sleep(asking.watch_s)


def _code(report: Report, problems: list[str]) -> int:
    if not (report.kafka.reachable and report.mongo.reachable):
        return exits.UNREACHABLE
    return exits.FAILED if problems else exits.OK


def ask(loaded: CloudSettings, urls: list[str], timeout_s: float) -> Report:
    """Everybody who knows something."""
    quick = loaded.mongo.model_copy(update={"timeout_ms": int(timeout_s * 1000)})
    with mongo.connect(quick) as client:
        stored = database.ask(client[loaded.mongo.database])
    history = loaded.kafka.history_group_id if loaded.history.enabled else None
    return Report(brokers.ask(loaded.kafka, timeout_s, history), stored, [workers.ask(url, timeout_s) for url in urls])


def _configured(loaded: CloudSettings) -> list[str]:
    """The workers' addresses, where the config fixes the first's port."""
    http = loaded.http
    host = f"[{http.address}]" if ":" in http.address else http.address
    if not (http.enabled and http.port):
        return []
    return [f"http://{host}:{http.port + number}" for number in range(loaded.fold.workers)]


def _shown(report: Report, problems: list[str], every_partition: bool) -> RenderableType:
    partitions = [one for one in report.kafka.partitions if every_partition or one.lag_records]
    parts: list[RenderableType] = [_summary(report)]
    if partitions:
        parts += ["", _lags(partitions)]
    if report.workers:
        parts += ["", _workers(report.workers)]
    parts += ["", *(f"not well: {printable(problem)}" for problem in problems)] if problems else ["", "all is well"]
    return Group(*parts)


def _summary(report: Report) -> Table:
    kafka, mongo = report.kafka, report.mongo
    table = Table(box=None, show_header=False)
    members = "unknown" if kafka.members is None else str(len(kafka.members))
    letters = {topic: count for topic, count in kafka.dead_letters.items() if count}
    table.add_row("Kafka", "answers" if kafka.reachable else "does not answer")
    table.add_row("group", f"{kafka.group}: {kafka.group_state or 'unknown'}, workers: {members}")
    for member in kafka.members or ():
        table.add_row("", f"{printable(member.client_id)} at {printable(member.host)}: {member.partitions} partitions")
    table.add_row("lag", f"{report.lag_records} records, {report.lag_s:.1f} s")
    if kafka.history_lag_records is not None:
        table.add_row("history", f"{kafka.history_lag_records} records not kept yet")
    table.add_row("MongoDB", f"answers in {mongo.round_trip_ms:g} ms" if mongo.reachable else "does not answer")
    table.add_row("twins", f"{mongo.twins}, silent: {mongo.silent_twins}, events: {mongo.events}")
    table.add_row("findings", f"{mongo.open_anomalies} open")
    table.add_row("dead letters", f"{sum(letters.values())}, replayed: {mongo.replayed_letters}")
    for topic, count in letters.items():
        table.add_row("", f"{count} in {topic}")
    return table


def _lags(partitions: list[Partition]) -> Table:
    table = Table("topic", "partition", "committed", "end", "lag", "seconds", box=None)
    for one in partitions:
        committed = "-" if one.committed is None else str(one.committed)
        seconds = "?" if one.lag_s is None else f"{one.lag_s:.1f}"
        table.add_row(one.topic, str(one.partition), committed, str(one.end), str(one.lag_records), seconds)
    return table


def _workers(several: list[Worker]) -> Table:
    table = Table(
        "worker", "folded", "re-sent", "uncertain", "conflicts", "waits", "records/turn", "age p50", "p99", box=None
    )
    for one in several:
        if not one.reachable:
            table.add_row(one.url, "does not answer")
            continue
        counts = (one.folded, one.duplicates, one.uncertain, one.conflicts, one.waits, one.records_per_turn)
        table.add_row(one.url, *map(str, counts), *(_seconds(age_s) for age_s in (one.age_p50_s, one.age_p99_s)))
        table.add_row("", ", ".join(f"{stage} {mean_ms:g} ms" for stage, mean_ms in one.stage_ms.items()))
    return table


def _seconds(age_s: float | None) -> str:
    return "-" if age_s is None else f"≤ {age_s:g} s"
