"""`fleetfold-cloud dlq`: what could not be used, why, and what to do with it.

Answers go to stdout, notes and questions to stderr. Exit codes: see `runtime.exits`.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from pymongo.database import Database
from rich.console import Console

from cloud import dlq_session
from cloud.deadletters import Graveyard, NotDeletedError
from cloud.dlq import actions, choosing, marks, show, tables
from cloud.dlq.actions import Purge, Selected
from cloud.dlq.letters import Wanted, topic_of
from cloud.dlq_session import Manner
from cloud.queries.faults import Fault
from cloud.query_session import fail
from runtime import exits

dlq_app: Final = typer.Typer(help="Messages that could not be used.", no_args_is_help=True)

_LIMIT_MAX: Final = 100_000
_UNKNOWN: Final = "what was replayed is remembered in MongoDB, which does not answer"

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
    wanted = _wanted(topic, reason, asset, since, before)
    shown: list[Selected] = []
    tally: Counter[tuple[str, str]] = Counter()
    with dlq_session.opened(config) as (graveyard, database):
        for selected in actions.select(graveyard.scan(wanted.topics), wanted, database if not counts else None):
            tally[selected.buried.topic, str(selected.buried.letter.reason)] += 1
            if len(shown) < limit and not counts:
                shown.append(selected)
    if as_json:
        rows = tables.count_fields(tally) if counts else [show.fields(*selected) for selected in shown]
        typer.echo(json.dumps(rows))
    elif not tally:
        typer.echo("no dead letters")
    else:
        Console().print(tables.counts(tally) if counts else tables.letters(shown))
        if not counts:
            typer.echo(f"{len(shown)} of {tally.total()}: {tables.by_reason(tally)}")


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
        fail([f"{place!r:.80} is no place such as fleet.signals.v1.dlq/0/17"], exits.USAGE)
    with dlq_session.opened(config) as (graveyard, database):
        buried = graveyard.at(topic, int(partition), int(offset))
        if buried is None:
            fail([f"nothing lies at {place}: it expired, was purged, or never was"], exits.FAILED)
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
    wanted, manner = _wanted(topic, reason, asset, since, before), Manner(dry_run, yes, as_json)
    with dlq_session.opened(config) as (graveyard, database):
        if database is None:
            fail([_UNKNOWN], exits.UNREACHABLE)
        plan = actions.replay(graveyard, database, wanted, again, dry=True, progress=_silent)
        if not as_json and not dry_run and plan.total:
            Console(stderr=True).print(tables.replay(plan, "to replay"))
        if manner.goes_on(plan.total, "put {} dead letters back?"):
            plan = actions.replay(graveyard, database, wanted, again, dry=False, progress=_progress)
    manner.say(tables.replay_fields(plan, dry_run), tables.replay(plan, "to replay" if dry_run else "replayed"))


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
    wanted, manner = _wanted(topic, None, None, None, before), Manner(dry_run, yes, as_json)
    with dlq_session.opened(config) as (graveyard, database):
        if replayed and database is None:
            fail([_UNKNOWN], exits.UNREACHABLE)
        everything = actions.select(graveyard.scan(wanted.topics), Wanted(wanted.topics), database)
        plan = actions.plan_purge(
            everything, lambda one: wanted.matches(one.buried) and (one.replayed is not None or not replayed)
        )
        if plan.held_back:
            typer.echo(f"{plan.held_back} more match, but lie behind letters that stay", err=True)
        if manner.goes_on(plan.letters, "delete {} dead letters for good?"):
            _purge(graveyard, database, plan)
    fields = {"deleted": plan.letters, "held_back": plan.held_back, "dry_run": dry_run}
    manner.say(fields, f"{plan.letters} dead letters {'to delete' if dry_run else 'deleted'}")


def _wanted(
    topic: list[str] | None, reason: list[str] | None, asset: list[str] | None, since: str | None, before: str | None
) -> Wanted:
    found = choosing.wanted(topic or (), reason or (), asset or (), since, before)
    if isinstance(found, Fault):
        fail([found.text], exits.USAGE)
    return found


def _purge(graveyard: Graveyard, database: Database[dict[str, Any]] | None, plan: Purge) -> None:
    try:
        actions.purge(graveyard, database, plan)
    except NotDeletedError as error:
        fail(
            [f"the broker deleted nothing: {error}. Not every broker knows DeleteRecords, Apache Kafka does"],
            exits.FAILED,
        )


def _progress(done: int) -> None:
    typer.echo(f"{done} put back", err=True)


def _silent(_done: int) -> None:
    """A plan needs no progress."""
