"""Putting dead letters back and deleting them: what would be done, and doing it.

A letter is marked after the brokers have what was put back; a crash between the two puts it back once more, which
the twins do not notice.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from pymongo.database import Database

from cloud.deadletters import Graveyard, Place
from cloud.dlq import marks
from cloud.dlq.letters import Buried, Wanted
from cloud.dlq.returning import Return, Stuck, way_back

Document = dict[str, Any]

CHUNK: Final = 500
"""Letters put back between two looks at the clock and the marks."""


class Selected(NamedTuple):
    """A letter, and when it was put back before."""

    buried: Buried
    replayed: datetime | None


@dataclass(slots=True)
class Replay:
    """What a replay did, or would do: letters by destination, those already replayed, those that cannot go by why."""

    returned: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    already: int = 0
    stuck: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        return self.returned.total()


def select(letters: Iterable[Buried], wanted: Wanted, database: Database[Document] | None) -> Iterator[Selected]:
    """The letters that match, with what is known about earlier replays (nothing without a database)."""
    for chunk in marks.chunks(filter(wanted.matches, letters), CHUNK):
        replayed = marks.of(database, chunk) if database is not None else {}
        yield from (Selected(buried, replayed.get(buried.place)) for buried in chunk)


def replay(
    graveyard: Graveyard,
    database: Database[Document],
    wanted: Wanted,
    again: bool,
    dry: bool,
    progress: Callable[[int], None],
) -> Replay:
    """Put every letter back that matches and was not put back before (with `again`: or was).

    Letters that were buried since it began are left for the next time: they may be the same messages again.
    """
    began_ms = time.time_ns() // 1_000_000
    done = Replay()
    batch: list[tuple[Buried, Return]] = []
    for selected in select(graveyard.scan(wanted.topics), wanted, database):
        if selected.buried.written_ms > began_ms:
            continue
        _sort(selected, again, done, batch)
        if len(batch) == CHUNK and not dry:
            _return(graveyard, database, batch)
            progress(done.total)
    if not dry:
        _return(graveyard, database, batch)
        held_from = {place: first for place, (first, _) in graveyard.ends(wanted.topics).items()}
        marks.forget(database, held_from)  # those of letters that expired meanwhile
    return done


def _sort(selected: Selected, again: bool, done: Replay, batch: list[tuple[Buried, Return]]) -> None:
    if selected.replayed is not None and not again:
        done.already += 1
        return
    way = way_back(selected.buried)
    if isinstance(way, Stuck):
        done.stuck[way.why] += 1
        return
    done.returned[way.topic] += 1
    done.reasons[selected.buried.letter.reason] += 1
    batch.append((selected.buried, way))


def _return(graveyard: Graveyard, database: Database[Document], batch: list[tuple[Buried, Return]]) -> None:
    graveyard.put_back(way for _, way in batch)
    marks.add(database, [buried for buried, _ in batch], datetime.now(UTC))
    batch.clear()


class Purge(NamedTuple):
    """Per partition the offset before which everything goes, and how many letters that are."""

    before: Mapping[Place, int]
    letters: int
    held_back: int
    """Letters that match, but lie behind one that stays."""


def plan_purge(letters: Iterable[Selected], goes: Callable[[Selected], bool]) -> Purge:
    """Kafka deletes from the oldest on: up to the first letter that is to stay, per partition."""
    before: dict[Place, int] = {}
    closed: set[Place] = set()
    gone = held_back = 0
    for selected in letters:
        place = (selected.buried.topic, selected.buried.partition)
        if not goes(selected):
            closed.add(place)
        elif place in closed:
            held_back += 1
        else:
            before[place] = selected.buried.offset + 1
            gone += 1
    return Purge(before, gone, held_back)


def purge(graveyard: Graveyard, database: Database[Document] | None, plan: Purge) -> None:
    """Delete what was planned, and the marks of it."""
    graveyard.delete_before(dict(plan.before))
    if database is not None:
        marks.forget(database, plan.before)
