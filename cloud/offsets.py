"""How far the log is done, partition by partition, and what of that the group is still to be told. Pure."""

from collections.abc import Iterable

from cloud.frontier import Frontier
from cloud.inbox import Record
from cloud.sharing import Place


class Offsets:
    """Frontiers of the partitions that are read; those that are given up are forgotten: their new owner commits."""

    def __init__(self) -> None:
        self._frontiers: dict[Place, Frontier] = {}
        self._committed: dict[Place, int] = {}

    def read(self, place: Place, offset: int) -> bool:
        """A record was read. False: the log, or its reading, began anew."""
        frontier = self._frontiers.get(place)
        if frontier is None:
            frontier = self._frontiers[place] = Frontier()
        return frontier.read(offset)

    def done(self, records: Iterable[Record]) -> None:
        """These are durable elsewhere."""
        for record in records:
            frontier = self._frontiers.get((record.topic, record.partition))
            if frontier is not None:
                frontier.done(record.offset)

    def due(self) -> dict[Place, int]:
        """What the group does not know yet: the first record of each partition that was read and is not done."""
        return {
            place: at for place, one in self._frontiers.items() if (at := one.position) != self._committed.get(place)
        }

    def committed(self, known: dict[Place, int]) -> None:
        """The group knows these now."""
        self._committed |= {place: at for place, at in known.items() if place in self._frontiers}

    def forget(self, places: Iterable[Place]) -> None:
        """Others read these now."""
        for place in places:
            self._frontiers.pop(place, None)
            self._committed.pop(place, None)
