"""Which dead letters a person means, by what was typed."""

from collections.abc import Sequence
from datetime import UTC, datetime

from cloud.dlq.letters import Wanted, topic_of
from cloud.queries import parsing
from cloud.queries.faults import Fault
from wire.malformed import Reason
from wire.topics import DEAD_LETTER_TOPICS


def wanted(
    topics: Sequence[str], reasons: Sequence[str], assets: Sequence[str], since: str | None, before: str | None
) -> Wanted | Fault:
    """All faults at once, a line each."""
    names = {name: topic_of(name) for name in topics}
    known = ", ".join(DEAD_LETTER_TOPICS)
    faults = [f"--topic {name!r:.60}: one of {known}" for name, found in names.items() if found is None]
    faults += [f"--reason {each!r:.40}: one of {', '.join(Reason)}" for each in reasons if each not in set(Reason)]
    times = {"--since": _moment(since), "--before": _moment(before)}
    faults += [f"{option}: {moment.text}" for option, moment in times.items() if isinstance(moment, Fault)]
    if faults:
        return Fault("\n".join(faults))
    since_ms, before_ms = (moment if isinstance(moment, int) else None for moment in times.values())
    chosen = tuple(found for found in names.values() if found is not None)
    return Wanted(chosen or DEAD_LETTER_TOPICS, frozenset(reasons), frozenset(assets), since_ms, before_ms)


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
