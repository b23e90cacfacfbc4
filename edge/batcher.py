"""Groups messages into batches of one asset, channel and stream of the spool. Pure: time comes in as an argument.

Order per asset, channel and stream is that of `add`. Memory is bounded by the caller, who stops adding at `size_bytes`.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from edge.parcels import Claim
from edge.spool.reader import Chunk
from edge.spool.records import Message


class Limits(NamedTuple):
    """A batch is full at `frames_max` payloads or before `bytes_max`, due `age_s` after its first."""

    frames_max: int
    bytes_max: int
    age_s: float


@dataclass(slots=True)
class Group:
    """Messages of one asset and channel, (sequence, message), and the records they settle."""

    opened_s: float
    members: list[tuple[int, Message]] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    size_bytes: int = 0

    def add(self, sequence: int, message: Message, chunk: Chunk) -> None:
        """Append one message."""
        self.members.append((sequence, message))
        self.size_bytes += len(message.payload)
        if self.claims and self.claims[-1].chunk is chunk:
            self.claims[-1] = Claim(chunk, self.claims[-1].record_count + 1)
        else:
            self.claims.append(Claim(chunk, 1))


_Key = tuple[str, str, str, bool, int]


class Batcher:
    """Groups leave in the order in which they were opened or filled."""

    def __init__(self, limits: Limits) -> None:
        self.size_bytes = 0
        """Payloads that are held."""
        self._limits = limits
        self._open: dict[_Key, Group] = {}  # in the order of opening, so the first is due first
        self._full: deque[Group] = deque()

    def set_limits(self, limits: Limits) -> None:
        """For what is added from now on."""
        self._limits = limits

    def add(self, sequence: int, message: Message, chunk: Chunk, now_s: float) -> None:
        """Put a message into its group."""
        # what is urgent lies in another class: its sequences are not in order with the others'
        key = (message.kind, message.asset_id, message.channel, message.urgent, chunk.stream)
        group = self._open.get(key)
        size = len(message.payload)
        if group is not None and group.size_bytes + size > self._limits.bytes_max:
            self._full.append(self._open.pop(key))
            group = None
        if group is None:
            group = self._open[key] = Group(now_s)
        group.add(sequence, message, chunk)
        self.size_bytes += size
        if len(group.members) >= self._limits.frames_max:
            self._full.append(self._open.pop(key))

    def pop(self, now_s: float, everything: bool = False) -> Group | None:
        """A group that is full or due, or with `everything` any; None when there is none."""
        group: Group | None = None
        if self._full:
            group = self._full.popleft()
        elif self._open:
            key = next(iter(self._open))
            if everything or now_s >= self._open[key].opened_s + self._limits.age_s:
                group = self._open.pop(key)
        if group is not None:
            self.size_bytes -= group.size_bytes
        return group

    @property
    def due_s(self) -> float | None:
        """When the next group is due; None when nothing is held."""
        if self._full:
            return 0.0
        return next(iter(self._open.values())).opened_s + self._limits.age_s if self._open else None

    def clear(self) -> None:
        """Forget everything: it will be read again."""
        self._open.clear()
        self._full.clear()
        self.size_bytes = 0
