"""A set tried on recorded frames: how much would be sent. Nothing is."""

import itertools
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, Final

from edge import receive
from edge.receive import Arrival
from edge.rules.engine import Engine, Limits
from edge.rules.plan import Plan
from edge.spool import records
from edge.spool import series as names
from edge.spool.records import Message
from wire import frames
from wire.malformed import Malformed
from wire.topics import Channel

_CHUNK: Final = 500
_LIMITS: Final = Limits(assets_max=1_000_000, ring_bytes_max=2**30)


class _Sum:
    """Frames, samples and bytes, and these as a compressor would leave them."""

    def __init__(self) -> None:
        self.frames = self.with_signals = self.samples = self.size_bytes = self.compressed_bytes = 0

    def add(self, arrivals: dict[bytes, Arrival]) -> None:
        for series, arrival in arrivals.items():
            if names.address_of(series).channel is not Channel.SIGNALS:
                continue
            for payload in arrival.payloads:
                samples = _samples(payload)
                self.frames += 1
                self.with_signals += samples > 0
                self.samples += samples
            self.size_bytes += sum(map(len, arrival.payloads))
            self.compressed_bytes += len(zlib.compress(b"".join(arrival.payloads), 6))


def _samples(payload: bytes) -> int:
    frame = frames.decode(payload)
    if isinstance(frame, Malformed):
        return 0
    if frame.dt is None:
        return sum(value is not None for value in frame.signals.values())
    columns = [column for column in frame.signals.values() if isinstance(column, list)]
    return sum(value is not None for column in columns for value in column)


def run(plan: Plan, recorded: Iterable[Message]) -> dict[str, Any]:
    """Plain values: totals before and after, and per rule."""
    engine = Engine(_LIMITS, lambda: 0.0)
    engine.adopt(plan)
    before, after = _Sum(), _Sum()
    for chunk in _chunks(recorded):
        before.add(chunk)
        after.add(engine.apply(chunk))
    return {
        "version": plan.version,
        "frames": before.frames,
        "frames_sent": after.frames,
        "frames_with_signals": after.with_signals,
        "samples": before.samples,
        "samples_sent": after.samples,
        "bytes": before.size_bytes,
        "bytes_sent": after.size_bytes,
        "compressed_bytes": before.compressed_bytes,
        "compressed_bytes_sent": after.compressed_bytes,
        "rules": [
            {"rule": each.name, "kept": each.kept, "withheld": each.withheld, "captures": 0, "captured": 0}
            for each in (*plan.collectors, plan.unnamed)
        ]
        + [
            {"rule": each.name, "kept": 0, "withheld": 0, "captures": each.captures, "captured": each.samples}
            for each in plan.traps
        ],
    }


def _chunks(recorded: Iterable[Message]) -> Iterator[dict[bytes, Arrival]]:
    remaining = iter(recorded)
    while members := list(itertools.islice(remaining, _CHUNK)):
        arrivals: dict[bytes, Arrival] = {}
        for each in members:
            receive.add(arrivals, names.of(each.address), [each.payload], records.Run(each.received_ms, 1))
        yield arrivals
