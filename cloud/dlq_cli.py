"""`fleetfold-cloud dlq`: what could not be used, why, and what to do with it.

Answers go to stdout, notes and questions to stderr. Exit codes: see `runtime.exits`.
"""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer
from confluent_kafka import KafkaException
from pymongo.database import Database
from pymongo.errors import PyMongoError
from rich.console import Console
from rich.table import Table

from cloud import store
from cloud.config import CloudSettings
from cloud.deadletters import Graveyard, NotDeletedError
from cloud.dlq import actions, marks, show
from cloud.dlq.actions import Purge, Replay, Selected
from cloud.dlq.letters import Wanted, topic_of
from cloud.queries import formats, parsing
from cloud.queries.faults import Fault
from runtime import exits, logs, settings
from wire.malformed import Reason
from wire.topics import DEAD_LETTER_TOPICS

dlq_app: Final = typer.Typer(help="Messages that could not be used.", no_args_is_help=True)

_MONGO_TIMEOUT_MS: Final = 3_000
_LIMIT_MAX: Final = 100_000

ConfigOption = Annotated[
    Path | None, typer.Option(help="TOML file; the environment overrides it.", envvar="FLEETFOLD_CLOUD_CONFIG")
]
TopicOption = Annotated[list[str] | None, typer.Option(help="Only of this topic, e.g. fleet.signals.v1. Repeatable.")]
ReasonOption = Annotated[list[str] | None, typer.Option(help="Only this reason, e.g. wrong_shape. Repeatable.")]
AssetOption = Annotated[list[str] | None, typer.Option(help="Only of this asset. Repeatable.")]
SinceOption = Annotated[str | None, typer.Option(help="Received since: 90s, 2h or 7d ago, or 2026-01-31T12:00.")]
BeforeOption = Annotated[str | None, typer.Option(help="Received before: the same.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")]
DryOption = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@dlq_app.command("list")
def dlq_list(
    topic: TopicOption = None,
    reason: ReasonOption = None,
    asset: AssetOption = None,
    since: SinceOption = None,
    before: BeforeOption = None,
    limit: Annotated[int, typer.Option(min=1, max=_LIMIT_MAX, help="At most so many, the oldest first.")] = 50,
    counts: Annotated[bool, typer.Option("--counts", help="Only how many, by topic and reason.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List dead letters: where they came from, why they could not be used, whether they were replayed."""
    wanted, loaded = _wanted(topic, reason, asset, since, before), _load(config)
    shown: list[Selected] = []
    tally: Counter[tuple[str, str]] = Counter()
    with _graveyard(loaded) as graveyard, _database(loaded) as database:
        for selected in actions.select(graveyard.scan(wanted.topics), wanted, database if not counts else None):
            tally[selected.buried.topic, str(selected.buried.letter.reason)] += 1
            if len(shown) < limit and not counts:
                shown.append(selected)
    if counts:
        _print_counts(tally, as_json)
    elif as_json:
        typer.echo(json.dumps([show.fields(*selected) for selected in shown]))
    else:
        _print_letters(shown, tally)


@dlq_app.command("show")
def dlq_show(
    place: Annotated[str, typer.Argument(help="TOPIC/PARTITION/OFFSET, as `dlq list` prints it.")],
    bytes_max: Annotated[int, typer.Option("--bytes", min=0, help="At most so many bytes in hexadecimal.")] = 512,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show one dead letter: origin, reason, way back, and its bytes, decoded as far as they can be."""
    name, _, numbers = place.partition("/")
    partition, _, offset = numbers.partition("/")
    topic = topic_of(name)
    if topic is None or not (partition.isdigit() and offset.isdigit()):
        _fail(f"{place!r:.80} is no place such as fleet.signals.v1.dlq/0/17", exits.USAGE)
    loaded = _load(config)
    with _graveyard(loaded) as graveyard, _database(loaded) as database:
        buried = graveyard.at(topic, int(partition), int(offset))
        if buried is None:
            _fail(f"nothing lies at {place}: it expired, was purged, or never was", exits.FAILED)
        replayed = marks.of(database, [buried]).get(buried.place) if database is not None else None
    if as_json:
        typer.echo(json.dumps(show.fields(buried, replayed) | {"value_hex": buried.letter.value.hex()}, indent=2))
    else:
        typer.echo("\n".join(show.lines(buried, replayed, bytes_max)))


@dlq_app.command("replay")
def dlq_replay(
    topic: TopicOption = None,
    reason: ReasonOption = None,
    asset: AssetOption = None,
    since: SinceOption = None,
    before: BeforeOption = None,
    again: Annotated[bool, typer.Option("--again", help="Also those that were replayed before.")] = False,
    dry_run: DryOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Put dead letters back where they came from, to be processed again. Twice changes nothing in the twins."""
    wanted, loaded = _wanted(topic, reason, asset, since, before), _load(config)
    with _graveyard(loaded) as graveyard, _database(loaded) as database:
        if database is None:
            _fail("what was replayed is remembered in MongoDB, which does not answer", exits.UNREACHABLE)
        plan = actions.replay(graveyard, database, wanted, again, dry=True, progress=_silent)
        if not dry_run and plan.total:
            if not as_json:
                _print_replay(plan, "to replay")
            _confirm(f"put {plan.total} dead letters back?", yes)
            plan = actions.replay(graveyard, database, wanted, again, dry=False, progress=_progress)
    if as_json:
        typer.echo(json.dumps(_replay_fields(plan, dry_run)))
    else:
        _print_replay(plan, "to replay" if dry_run else "replayed")


@dlq_app.command("purge")
def dlq_purge(
    topic: TopicOption = None,
    before: BeforeOption = None,
    replayed: Annotated[bool, typer.Option("--replayed", help="Only those that were replayed.")] = False,
    dry_run: DryOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Delete dead letters for good, from the oldest on, up to the first that is to stay."""
    wanted, loaded = _wanted(topic, None, None, None, before), _load(config)
    with _graveyard(loaded) as graveyard, _database(loaded) as database:
        if replayed and database is None:
            _fail("what was replayed is remembered in MongoDB, which does not answer", exits.UNREACHABLE)
        everything = actions.select(graveyard.scan(wanted.topics), Wanted(wanted.topics), database)
        plan = actions.plan_purge(
            everything, lambda one: wanted.matches(one.buried) and (one.replayed is not None or not replayed)
        )
        if plan.held_back:
            typer.echo(f"{plan.held_back} more match, but lie behind letters that stay", err=True)
        if plan.letters and not dry_run:
            _confirm(f"delete {plan.letters} dead letters for good?", yes)
            _purge(graveyard, database, plan)
    if as_json:
        typer.echo(json.dumps({"deleted": plan.letters, "held_back": plan.held_back, "dry_run": dry_run}))
    else:
        typer.echo(f"{plan.letters} dead letters {'to delete' if dry_run else 'deleted'}")


def _wanted(
    topic: list[str] | None, reason: list[str] | None, asset: list[str] | None, since: str | None, before: str | None
) -> Wanted:
    names = {name: topic_of(name) for name in topic or ()}
    known = ", ".join(DEAD_LETTER_TOPICS)
    faults = [f"--topic {name!r:.60}: one of {known}" for name, found in names.items() if found is None]
    faults += [f"--reason {each!r:.40}: one of {', '.join(Reason)}" for each in reason or () if each not in set(Reason)]
    times = {"--since": _moment(since), "--before": _moment(before)}
    faults += [f"{option}: {moment.text}" for option, moment in times.items() if isinstance(moment, Fault)]
    if faults:
        _fail("\n".join(faults), exits.USAGE)
    since_ms, before_ms = (moment if isinstance(moment, int) else None for moment in times.values())
    chosen = tuple(found for found in names.values() if found is not None)
    return Wanted(chosen or DEAD_LETTER_TOPICS, frozenset(reason or ()), frozenset(asset or ()), since_ms, before_ms)


def _moment(text: str | None) -> int | Fault | None:
    """A duration ago or a date, in ms since 1970; a time without zone is UTC."""
    if text is None:
        return None
    now = datetime.now(UTC)
    ago = parsing.duration(text)
    if not isinstance(ago, Fault):
        return int((now - ago).timestamp() * 1000)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return Fault(f"{text!r:.40} is neither a duration such as 2h or 7d nor a date such as 2026-01-31T12:00")
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


@contextmanager
def _graveyard(loaded: CloudSettings) -> Iterator[Graveyard]:
    try:
        with Graveyard(loaded.kafka) as graveyard:
            yield graveyard
    except KafkaException as error:
        _fail(f"Kafka at {loaded.kafka.bootstrap_servers}: {error.args[0]}", exits.UNREACHABLE)


@contextmanager
def _database(loaded: CloudSettings) -> Iterator[Database[dict[str, Any]] | None]:
    """The database, or None with a note when it does not answer: dead letters can be read without it."""
    quick = loaded.mongo.model_copy(update={"timeout_ms": min(_MONGO_TIMEOUT_MS, loaded.mongo.timeout_ms)})
    with store.connect(quick) as client:
        try:
            client.admin.command("ping")
        except PyMongoError as error:
            typer.echo(f"MongoDB does not answer, so replays are not known ({type(error).__name__})", err=True)
            yield None
            return
        try:
            yield client[loaded.mongo.database]
        except PyMongoError as error:
            _fail(f"MongoDB: {type(error).__name__}", exits.UNREACHABLE)


def _purge(graveyard: Graveyard, database: Database[dict[str, Any]] | None, plan: Purge) -> None:
    try:
        actions.purge(graveyard, database, plan)
    except NotDeletedError as error:
        _fail(
            f"the broker deleted nothing: {error}. Not every broker knows DeleteRecords, Apache Kafka does",
            exits.FAILED,
        )


def _confirm(question: str, yes: bool) -> None:
    if not yes and not typer.confirm(question, err=True):
        _fail("nothing was done", exits.FAILED)


def _print_letters(shown: list[Selected], tally: Counter[tuple[str, str]]) -> None:
    if not shown:
        typer.echo("no dead letters")
        return
    table = Table("place", "asset", "reason", "detail", "bytes", "replayed", box=None)
    for buried, replayed in shown:
        letter = buried.letter
        texts = [buried.place, letter.asset_id, letter.reason, letter.detail[:80], str(letter.size)]
        table.add_row(*map(formats.printable, texts), "yes" if replayed is not None else "")
    Console().print(table)
    by_reason: Counter[str] = Counter()
    for (_, reason), count in tally.items():
        by_reason[reason] += count
    of_all = ", ".join(f"{count} {reason}" for reason, count in by_reason.most_common())
    typer.echo(f"{len(shown)} of {tally.total()}: {of_all}")


def _print_counts(tally: Counter[tuple[str, str]], as_json: bool) -> None:
    rows = [{"topic": topic, "reason": reason, "count": count} for (topic, reason), count in tally.most_common()]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    table = Table("topic", "reason", "count", box=None)
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console().print(table if rows else "no dead letters")


def _replay_fields(plan: Replay, dry: bool) -> dict[str, Any]:
    return {
        "replayed": 0 if dry else plan.total,
        "to_replay": plan.total if dry else 0,
        "topics": dict(plan.returned),
        "reasons": dict(plan.reasons),
        "already_replayed": plan.already,
        "stuck": dict(plan.stuck),
    }


def _print_replay(plan: Replay, verb: str) -> None:
    table = Table("letters", "", "", box=None)
    for topic, count in plan.returned.items():
        table.add_row(str(count), verb, f"to {topic}")
    if plan.already:
        table.add_row(str(plan.already), "left", "replayed before (--again takes them too)")
    for why, count in plan.stuck.most_common():
        table.add_row(str(count), "left", why)
    Console(stderr=verb == "to replay").print(table if table.rows else "no dead letters match")


def _progress(done: int) -> None:
    typer.echo(f"{done} put back", err=True)


def _silent(_done: int) -> None:
    """A plan needs no progress."""


def _load(config: Path | None) -> CloudSettings:
    try:
        loaded = settings.load(CloudSettings, config)
    except settings.ConfigError as error:
        _fail("\n".join(error.faults), exits.USAGE)
    logs.configure(loaded.log)
    return loaded


def _fail(message: str, code: int) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(code)
