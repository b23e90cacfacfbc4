"""Twins kept in memory between batches, least recently used out first."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from cloud import filling
from cloud.twin import Twin
from wire import catalogue
from wire.topics import Kind

BYTES_MAX: Final = 1_000_000_000
_MEASURED_EVERY: Final = 16
"""Writes of a twin after which its size is looked at again: that costs 1.2 µs, and most twins grow slowly."""
_OUTGROWN: Final = 2
"""A document of so many times the bytes: the twin has grown since, and is looked at again at once."""
_TWIN_BYTES: Final = 2_200
_SIGNAL_BYTES: Final = 80
_WINDOW_BYTES: Final = 410
_INTERVAL_BYTES: Final = 130
_POSITION_BYTES: Final = 300
_FINDING_BYTES: Final = 1_200
_STATE_BYTES: Final = 250
_TEXT_BYTES: Final = 50
_FILLED_BYTES: Final = 500
_TEXTS: Final = {
    kind: tuple(one.number for one in catalogue.SIGNALS if one.kind is kind and one.type in ("string", "string[]"))
    for kind in Kind
}


class Cache:
    """At most `twins_max` twins, and of about `bytes_max`: a twin of 20 signals takes 4 to 7 KB, one with a hundred
    times that in lost pieces and lists of texts is possible, too.

    A stale one does no harm: its compare-and-set fails and it is loaded again.
    """

    def __init__(self, twins_max: int, bytes_max: int = BYTES_MAX) -> None:
        self._twins_max, self._bytes_max = twins_max, bytes_max
        self._twins: OrderedDict[str, Twin] = OrderedDict()
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._twins)

    def take(self, asset_id: str) -> Twin | None:
        """Remove and return a twin: while it is being folded it is nobody else's."""
        held = self._twins.pop(asset_id, None)
        if held is not None:
            self.size_bytes -= held.size_bytes
            if held.filled is not None:
                filling.restore(held)
        return held

    def at_hand(self, key: bytes) -> Twin | None:
        """The twin of a record's key, left where it is."""
        return self._twins.get(key.decode("utf-8", "replace"))

    def used(self, asset_ids: Iterable[str]) -> None:
        """These twins, which were left where they are, were used last."""
        for asset_id in asset_ids:
            if asset_id in self._twins:
                self._twins.move_to_end(asset_id)

    def written(self, changes: Iterable[tuple[Twin, int]]) -> None:
        """The bytes that documents have now, of twins that were taken: in memory one needs no fewer, so it may have
        outgrown what it was."""
        for twin in [twin for twin, size_bytes in changes if size_bytes > _OUTGROWN * twin.size_bytes]:
            twin.size_bytes = 0

    def put(self, twins: Iterable[Twin]) -> None:
        for twin in twins:
            self.take(twin.asset_id)
            if not twin.size_bytes or twin.revision % _MEASURED_EVERY == 0:
                twin.size_bytes = bytes_of(twin)
            self._twins[twin.asset_id] = twin
            self.size_bytes += twin.size_bytes
        while len(self._twins) > self._twins_max or self.size_bytes > self._bytes_max:
            _, oldest = self._twins.popitem(last=False)
            self.size_bytes -= oldest.size_bytes

    def clear(self) -> None:
        self._twins.clear()
        self.size_bytes = 0


def bytes_of(twin: Twin) -> int:
    """About what a twin takes in memory, rather more than less; the parts as CPython 3.11 was seen to need them."""
    values = twin.values
    size = _TWIN_BYTES + _SIGNAL_BYTES * len(values) + _WINDOW_BYTES * len(twin.windows)
    size += _POSITION_BYTES * len(twin.positions) + _STATE_BYTES * (len(twin.detectors) + len(twin.closed))
    size += _FINDING_BYTES * len(twin.findings)
    if twin.filled is not None:
        size += _FILLED_BYTES + len(twin.filled.raw)
    for window in twin.windows.values():
        if window.missing:
            size += _INTERVAL_BYTES * len(window.missing)
    for number in _TEXTS[twin.kind]:
        if number in values:
            value = values[number]
            if isinstance(value, str):
                size += len(value)
            elif isinstance(value, list):
                size += sum([_TEXT_BYTES + len(text) for text in value])
    return size
