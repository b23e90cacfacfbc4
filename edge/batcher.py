"""Groups bundles into batches of one asset, channel and stream of the spool. Pure: time comes in as an argument.

Order per asset, channel and stream is that of `add`. Memory is bounded by the caller, who stops adding at `size_bytes`.
"""

from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import NamedTuple

from edge.parcels import Claim
from edge.spool import records
from edge.spool.reader import Chunk
from edge.spool.records import Bundle


class Limits(NamedTuple):
    """A batch is full at `frames_max` payloads or before `bytes_max`, due `age_s` after its first."""

    frames_max: int
    bytes_max: int
    age_s: float


@dataclass(slots=True)
class Group:
    """Bundles of one series and stream, (first sequence, bundle), and the records they settle."""

    opened_s: float
    members: list[tuple[int, Bundle]]
    claims: list[Claim]
    count: int
    """Of payloads."""
    size_bytes: int

    def add(self, sequence: int, bundle: Bundle, chunk: Chunk) -> None:
        """Append one bundle."""
        _, _, count, packed = bundle
        self.members.append((sequence, bundle))
        self.count += count
        self.size_bytes += len(packed)
        claimed, claimed_count = self.claims[-1]
        if claimed is chunk:
            self.claims[-1] = Claim(chunk, claimed_count + count)
        else:
            self.claims.append(Claim(chunk, count))


class Batcher:
    """Groups leave in the order in which they were opened or filled."""

    def __init__(self, limits: Limits) -> None:
        self.size_bytes = 0
        """Payloads that are held."""
        self.bundle_count = 0
        """Of what is held."""
        self._limits = limits
        self._open: OrderedDict[tuple[bytes, int], Group] = OrderedDict()
        """In the order of opening, so the first is due first. A dict looks for its first among all that it had."""
        self._full: deque[Group] = deque()

    def set_limits(self, limits: Limits) -> None:
        """For what is added from now on."""
        self._limits = limits

    def add(self, sequence: int, bundle: Bundle, chunk: Chunk, now_s: float) -> None:
        """Put a bundle into its group; one that is larger than a batch may be is split."""
        frames_max, bytes_max, _ = self._limits
        _, _, count, packed = bundle
        if count > 1 and (count > frames_max or len(packed) > bytes_max):
            for part in records.split(bundle, frames_max, bytes_max):
                self._add(sequence, part, chunk, now_s)
                sequence += part.payload_count
        else:
            self._add(sequence, bundle, chunk, now_s)

    def _add(self, sequence: int, bundle: Bundle, chunk: Chunk, now_s: float) -> None:
        frames_max, bytes_max, _ = self._limits
        series, _, count, packed = bundle
        size = len(packed)
        key = (series, chunk.stream)
        group = self._open.get(key)
        if group is not None and (group.count + count > frames_max or group.size_bytes + size > bytes_max):
            self._full.append(self._open.pop(key))
            group = None
        if group is None:
            group = self._open[key] = Group(now_s, [(sequence, bundle)], [Claim(chunk, count)], count, size)
        else:
            group.add(sequence, bundle, chunk)
        self.size_bytes += size
        self.bundle_count += 1
        if group.count >= frames_max:
            self._full.append(self._open.pop(key))

    def pop(self, now_s: float, everything: bool = False) -> Group | None:
        """A group that is full or due, or with `everything` any; None when there is none."""
        group: Group | None = None
        if self._full:
            group = self._full.popleft()
        elif self._open:
            key, oldest = next(iter(self._open.items()))
            if everything or now_s >= oldest.opened_s + self._limits.age_s:
                del self._open[key]
                group = oldest
        if group is not None:
            self.size_bytes -= group.size_bytes
            self.bundle_count -= len(group.members)
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
        self.size_bytes = self.bundle_count = 0
