"""Twins kept in memory between batches, least recently used out first."""

from collections import OrderedDict
from collections.abc import Iterable

from cloud.twin import Twin


class Cache:
    """At most `twins_max` twins. A stale one does no harm: its compare-and-set fails and it is loaded again."""

    def __init__(self, twins_max: int) -> None:
        self._twins_max = twins_max
        self._twins: OrderedDict[str, Twin] = OrderedDict()

    def take(self, asset_id: str) -> Twin | None:
        """Remove and return a twin: while it is being folded it is nobody else's."""
        return self._twins.pop(asset_id, None)

    def put(self, twins: Iterable[Twin]) -> None:
        for twin in twins:
            self._twins[twin.asset_id] = twin
        while len(self._twins) > self._twins_max:
            self._twins.popitem(last=False)

    def clear(self) -> None:
        self._twins.clear()
