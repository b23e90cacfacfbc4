"""Parcels of topics that take nothing at present: one is tried now and then, the others wait in order. Pure."""

from dataclasses import dataclass, field
from typing import Final

from edge.parcels import Parcel

_DELAY_S_MIN: Final = 1.0
_DELAY_S_MAX: Final = 30.0


@dataclass(slots=True)
class _Topic:
    why: str
    due_s: float
    delay_s: float = _DELAY_S_MIN
    trial: Parcel | None = None
    waiting: list[Parcel] = field(default_factory=list)


class Parking:
    """By topic. A topic leaves when one of its parcels was delivered."""

    def __init__(self) -> None:
        self._topics: dict[str, _Topic] = {}

    def __len__(self) -> int:
        return sum(len(topic.waiting) + (topic.trial is not None) for topic in self._topics.values())

    @property
    def why(self) -> str | None:
        """For people: the first topic that is parked, and its error."""
        return next((f"{name}: {topic.why}" for name, topic in self._topics.items()), None)

    def is_parked(self, topic: str) -> bool:
        """Whether a topic takes nothing."""
        return topic in self._topics

    def must_wait(self, parcel: Parcel) -> bool:
        """Whether a parcel has to wait for the trial of another."""
        topic = self._topics.get(parcel.topic)
        return topic is not None and topic.trial is not parcel

    def park(self, parcel: Parcel, why: str, now_s: float) -> None:
        """A parcel that was refused for its topic's sake, or that has to wait behind such a one."""
        topic = self._topics.setdefault(parcel.topic, _Topic(why, now_s + _DELAY_S_MIN))
        topic.why = why
        if topic.trial is parcel:
            topic.trial = None
            topic.delay_s = min(_DELAY_S_MAX, topic.delay_s * 2)
            topic.due_s = now_s + topic.delay_s
        topic.waiting.append(parcel)

    def wait(self, parcel: Parcel) -> None:
        """Put a parcel behind those of its topic."""
        self._topics[parcel.topic].waiting.append(parcel)

    def trial(self, now_s: float) -> Parcel | None:
        """The first parcel of a topic that should be tried again."""
        for topic in self._topics.values():
            if topic.trial is None and topic.waiting and now_s >= topic.due_s:
                topic.waiting.sort(key=lambda parcel: parcel.sequence)
                topic.trial = topic.waiting.pop(0)
                return topic.trial
        return None

    def release(self, name: str) -> list[Parcel]:
        """A parcel of this topic was delivered: the others, in order."""
        topic = self._topics.pop(name, None)
        return sorted(topic.waiting, key=lambda parcel: parcel.sequence) if topic else []

    def clear(self) -> None:
        """Forget everything."""
        self._topics.clear()
