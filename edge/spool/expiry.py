"""How long ago the newest record of a segment was received.

Within one life of the process the monotonic clock tells, whatever the wall clock does. What an earlier life left is
as old as the wall clock says at the first look, by the first record of the segment behind it, which was received
later. A time before 2020 was taken by a clock that was never set and says nothing, nor does one that lies ahead: then
the age counts from that look, so that nothing expires too early.
"""

import contextlib
from typing import Final

from edge.clock import Clock
from edge.spool.chain import Chain
from edge.spool.disk import Disk
from edge.spool.scanner import Scanner

_CLOCK_SET_MS: Final = 1_577_836_800_000
"""2020-01-01 UTC."""
_BUFFER_BYTES: Final = 65_536
SEGMENTS_PER_AGE: Final = 10
"""A segment is closed after this part of the age limit, so that a record lives at most so much longer."""


def must_close(chain: Chain, age_s_max: float | None, now_s: float) -> bool:
    """Whether the segment that is being written spans enough time."""
    if age_s_max is None or not chain.segments:
        return False
    first_append_s = chain.segments[-1].first_append_s
    return first_append_s is not None and now_s - first_append_s > age_s_max / SEGMENTS_PER_AGE


def expired_count(disk: Disk, chain: Chain, age_s_max: float, clock: Clock) -> int:
    """How many of the oldest segments hold nothing younger than `age_s_max`. Raises OSError."""
    for index in range(len(chain.segments)):
        if age_s(disk, chain, index, clock) <= age_s_max:
            return index
    return len(chain.segments)


def age_s(disk: Disk, chain: Chain, index: int, clock: Clock) -> float:
    """Of the newest record of a segment. Raises OSError."""
    segment = chain.segments[index]
    if segment.last_append_s is None:
        segment.last_append_s = clock.monotonic_s() - _wall_age_s(disk, chain, index, clock)
    return clock.monotonic_s() - segment.last_append_s


def _wall_age_s(disk: Disk, chain: Chain, index: int, clock: Clock) -> float:
    is_newest = index == len(chain.segments) - 1
    received_ms = _received_ms(disk, chain, index if is_newest else index + 1, last=is_newest)
    if received_ms is None or received_ms < _CLOCK_SET_MS:
        return 0.0
    return max(0.0, (clock.now_ms() - received_ms) / 1000)


def _received_ms(disk: Disk, chain: Chain, index: int, last: bool) -> int | None:
    """Of the first record in a segment's first, or last, block."""
    segment = chain.segments[index]
    scanner = Scanner(disk.open(str(segment.name)), chain.epoch, chain.storage_class, _BUFFER_BYTES)
    received_ms: int | None = None
    with contextlib.closing(scanner):
        while (block := scanner.next(segment.size_bytes)) is not None:
            received_ms = block.header.received_ms
            if not last:
                break
    return received_ms
