"""Dead letters and what is done with them as tables for people and fields for scripts. Pure."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from rich.table import Table

from cloud.dlq.actions import Replay, Selected
from cloud.queries.formats import printable

_DETAIL_CHARS_MAX: Final = 80

Tally = Counter[tuple[str, str]]
"""How many, by topic and reason."""


def letters(shown: Sequence[Selected]) -> Table:
    """A row for each."""
    table = Table("place", "asset", "reason", "detail", "bytes", "replayed", box=None)
    for buried, replayed in shown:
        letter = buried.letter
        texts = [buried.place, letter.asset_id, letter.reason, letter.detail[:_DETAIL_CHARS_MAX], str(letter.size)]
        table.add_row(*map(printable, texts), "yes" if replayed is not None else "")
    return table


def by_reason(tally: Tally) -> str:
    """How many of each, the most frequent first."""
    reasons: Counter[str] = Counter()
    for (_, reason), count in tally.items():
        reasons[reason] += count
    return ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())


def count_fields(tally: Tally) -> list[dict[str, Any]]:
    """The most frequent first."""
    return [{"topic": topic, "reason": reason, "count": count} for (topic, reason), count in tally.most_common()]


def counts(tally: Tally) -> Table:
    """The same as a table."""
    table = Table("topic", "reason", "count", box=None)
    for row in count_fields(tally):
        table.add_row(*map(str, row.values()))
    return table


def replay_fields(plan: Replay, dry: bool) -> dict[str, Any]:
    """What was put back, or would be, and what stays where it is."""
    return {
        "replayed": 0 if dry else plan.total,
        "to_replay": plan.total if dry else 0,
        "topics": dict(plan.returned),
        "reasons": dict(plan.reasons),
        "already_replayed": plan.already,
        "stuck": dict(plan.stuck),
    }


def replay(plan: Replay, verb: str) -> Table | str:
    """The same as a table."""
    table = Table("letters", "", "", box=None)
    for topic, count in plan.returned.items():
        table.add_row(str(count), verb, f"to {topic}")
    if plan.already:
        table.add_row(str(plan.already), "left", "replayed before (--again takes them too)")
    for why, count in plan.stuck.most_common():
        table.add_row(str(count), "left", why)
    return table if table.rows else "no dead letters match"
