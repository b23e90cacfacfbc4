"""A dead letter where it lies, and which of them are meant. Pure."""

from typing import Final, NamedTuple

from wire import topics
from wire.malformed import Reason
from wire.records import DeadLetter
from wire.topics import DEAD_LETTER_TOPICS

_LOST: Final = frozenset({Reason.EVICTED, Reason.CORRUPT})


class Buried(NamedTuple):
    """A dead letter and where it lies. `written_ms` is when it was buried."""

    topic: str
    partition: int
    offset: int
    letter: DeadLetter
    written_ms: int = 0

    @property
    def place(self) -> str:
        """`topic/partition/offset`: its name."""
        return f"{self.topic}/{self.partition}/{self.offset}"

    @property
    def tells_of_a_loss(self) -> bool:
        """Whether it holds no message, but says which ones are gone."""
        return self.letter.reason in _LOST and self.letter.origin.startswith("spool:")


class Wanted(NamedTuple):
    """Which dead letters: all that match everything that is given. Times are when the original was received."""

    topics: tuple[str, ...] = DEAD_LETTER_TOPICS
    reasons: frozenset[str] = frozenset()
    assets: frozenset[str] = frozenset()
    since_ms: int | None = None
    before_ms: int | None = None

    def matches(self, buried: Buried) -> bool:
        letter = buried.letter
        return (
            (not self.reasons or letter.reason in self.reasons)
            and (not self.assets or letter.asset_id in self.assets)
            and (self.since_ms is None or letter.time_ms >= self.since_ms)
            and (self.before_ms is None or letter.time_ms < self.before_ms)
        )


def topic_of(name: str) -> str | None:
    """A dead-letter topic by its name or by the name of the topic whose letters it takes."""
    for known in (name, topics.dead_letter_topic(name)):
        if known in DEAD_LETTER_TOPICS:
            return known
    return None
