"""Groups bundles into batches of one asset, channel and stream of the spool. Pure: time comes in as an argument.

Order per asset, channel and stream is that of `add`. Memory is bounded by the caller, who stops adding at `held_bytes`.
"""

import math
from typing import Final, NamedTuple

import msgspec

from edge.parcels import Claim
from edge.spool import records
from edge.spool.reader import Chunk
from edge.spool.records import Bundle

BUNDLE_BYTES: Final = 1_200
"""What a bundle costs in memory beside its payloads, about."""


class Limits(NamedTuple):
    """A batch is full at `frames_max` payloads or before `bytes_max`, due `age_s` after its first."""

    frames_max: int
    bytes_max: int
    age_s: float


class Group(msgspec.Struct, gc=False):
    """Bundles of one series and stream, (first sequence, bundle), and the records they settle."""

    opened_s: float
    members: list[tuple[int, Bundle]]
    claims: list[Claim]
    count: int
    """Of payloads."""
    size_bytes: int
    """Of payloads."""

    def add(self, sequence: int, bundle: Bundle, chunk: Chunk) -> None:
        """Append one bundle."""
        count = bundle.payload_count
        self.members.append((sequence, bundle))
        self.count += count
        self.size_bytes += len(bundle.packed)
        last = self.claims[-1]
        if last.chunk is chunk:
            self.claims[-1] = Claim(chunk, last.record_count + count)
        else:
            self.claims.append(Claim(chunk, count))

    @property
    def held_bytes(self) -> int:
        """What it costs in memory, about."""
        return self.size_bytes + BUNDLE_BYTES * len(self.members)


class Batcher:
    """Groups leave in the order in which they were opened or filled."""

    def __init__(self, limits: Limits) -> None:
        self.held_bytes = 0
        """What is held, with what it costs beside its payloads."""
        self._limits = limits
        self._open: dict[tuple[bytes, int], Group] = {}
        """In the order of opening, so the first is due first."""
        self._full: list[Group] = []

    @property
    def age_s(self) -> float:
        """When a group is due, after it was opened."""
        return self._limits.age_s

    def set_limits(self, limits: Limits) -> None:
        """For what is added from now on."""
        self._limits = limits

    def add(self, sequence: int, bundle: Bundle, chunk: Chunk, now_s: float) -> None:
        """Put a bundle into its group; one that is larger than a batch may be is split."""
        frames_max, bytes_max, _ = self._limits
        count, size = bundle.payload_count, len(bundle.packed)
        if count > 1 and (count > frames_max or size > bytes_max):
            for part in records.split(bundle, frames_max, bytes_max):
                self.add(sequence, part, chunk, now_s)
                sequence += part.payload_count
            return
        key = (bundle.series, chunk.stream)
        group = self._open.get(key)
        if group is not None and (group.count + count > frames_max or group.size_bytes + size > bytes_max):
            self._full.append(self._open.pop(key))
            group = None
        if group is None:
            group = self._open[key] = Group(now_s, [(sequence, bundle)], [Claim(chunk, count)], count, size)
        else:
            group.add(sequence, bundle, chunk)
        self.held_bytes += BUNDLE_BYTES + size
        if group.count >= frames_max:
            self._full.append(self._open.pop(key))

    def pop(self, now_s: float, held_bytes_max: float = math.inf) -> list[Group]:
        """Groups that are full or due, and the oldest others while more than `held_bytes_max` are held."""
        groups, self._full = self._full, []
        held_bytes = self.held_bytes - sum(group.held_bytes for group in groups)
        opened_s = now_s - self._limits.age_s
        leaving: list[Group] = []
        for group in self._open.values():
            if group.opened_s > opened_s and held_bytes <= held_bytes_max:
                break
            leaving.append(group)
            held_bytes -= group.held_bytes
        for group in leaving:
            del self._open[group.members[0][1].series, group.claims[0].chunk.stream]
        self.held_bytes = held_bytes
        return groups + leaving if groups else leaving

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
        self.held_bytes = 0
