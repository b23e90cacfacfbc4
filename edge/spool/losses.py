"""Losses that no durable gap record names yet, and the files that name them until one does.

A loss is owed from the moment that it counts. `gap_records` takes what is owed to be appended; once that is durable
the files of the same names are `settled`, and deleted when the checkpoint has passed what they name.
"""

from collections import Counter
from typing import Final

from edge.spool.disk import Disk
from edge.spool.files import GapName
from edge.spool.records import Gap, StorageClass
from wire.malformed import Reason

_DETAILS: Final = {
    Reason.EVICTED: "the spool reached its limit, the oldest of the lowest class went",
    Reason.EXPIRED: "older than its class is kept",
    Reason.CORRUPT: "the spool's files were damaged or incomplete",
}


class Losses:
    """`counts`: records that are gone, since the start."""

    def __init__(self, disk: Disk) -> None:
        self.counts: Counter[tuple[StorageClass, Reason]] = Counter()
        self._disk = disk
        self._owed: list[GapName] = []
        self._settled: list[GapName] = []

    @property
    def are_owed(self) -> bool:
        """Whether gap records have to be appended."""
        return bool(self._owed)

    @property
    def are_settled(self) -> bool:
        """Whether files of losses can go."""
        return bool(self._settled)

    def owe(self, gap: GapName) -> None:
        """Records are gone."""
        self._owed.append(gap)
        self.counts[gap.storage_class, gap.reason] += gap.record_count

    def owe_again(self, gaps: list[GapName]) -> None:
        """Losses that were counted before: the records that named them go."""
        self._owed += gaps

    def keep_names(self, gaps: list[GapName]) -> None:
        """`owe_again`, with files of their names, which tell a start after a crash. Raises OSError."""
        for gap in gaps:
            self._disk.create(str(gap)).close()
        if gaps:
            self._disk.sync_directory()
            self.owe_again(gaps)

    def gap_records(self, now_ms: int) -> tuple[list[Gap], tuple[GapName, ...]]:
        """All that is owed, as records and by name; from now on it is up to the caller."""
        owed = tuple(self._owed)
        self._owed.clear()
        return [Gap(now_ms, *gap, _DETAILS[gap.reason]) for gap in owed], owed

    def settle(self, gaps: tuple[GapName, ...]) -> None:
        """Their records are durable."""
        self._settled += gaps

    def delete_files(self) -> None:
        """Of what is settled and checkpointed. Raises OSError; another try may succeed."""
        for gap in self._settled:
            self._disk.delete(str(gap))
        self._settled.clear()
