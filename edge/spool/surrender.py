"""What the spool gives up: the oldest segment of a class when space runs out, what is older than its class allows."""

from typing import Final

from edge.clock import Clock
from edge.spool import carry, expiry
from edge.spool.chain import Chain
from edge.spool.disk import Disk
from edge.spool.files import GapName
from edge.spool.lanes import Lanes
from edge.spool.losses import Losses
from edge.spool.records import StorageClass
from wire.malformed import Reason

_CARRY_TRIES_MAX: Final = 10
"""So often a segment that is to be given up is read for gap records; then what the disk cannot read goes unread."""


class Surrender:
    """Of one spool."""

    def __init__(
        self,
        disk: Disk,
        clock: Clock,
        chains: dict[StorageClass, Chain],
        lanes: dict[StorageClass, Lanes],
        losses: Losses,
    ) -> None:
        self._disk = disk
        self._clock = clock
        self._chains = chains
        self._lanes = lanes
        self._losses = losses
        self._carry_tries = 0

    def evict(self) -> bool:
        """Give up the oldest segment of the lowest class that has more than one; False when none has.

        The rename is the moment that its records count as lost. Raises OSError.
        """
        crowded = [each for each in StorageClass if len(self._chains[each].segments) > 1]
        if crowded:
            self._evict(min(crowded))
        return bool(crowded)

    def _evict(self, storage_class: StorageClass) -> None:
        chain, lanes = self._chains[storage_class], self._lanes[storage_class]
        oldest, boundary = chain.segments[0], chain.start_of(1)
        lost = lanes.lost_before(boundary)
        if lost is None:
            self._disk.delete(str(oldest.name))
        else:
            self._losses.keep_names(self._gaps_in(storage_class, 1))
            gap = GapName(*lost, Reason.EVICTED)
            self._disk.rename(str(oldest.name), str(gap))
            self._losses.owe(gap)
        chain.forget(0)
        lanes.skip_to(boundary)
        if lost is not None:
            self._disk.sync_directory()
            self._disk.create(str(gap)).close()  # empties it: the name says all, and the space is needed

    def _gaps_in(self, storage_class: StorageClass, segment_count: int) -> list[GapName]:
        """Losses that nobody has heard of, named in the oldest segments of a class. Raises OSError, not for ever."""
        if storage_class is not StorageClass.EVENTS:
            return []
        chain, spans = self._chains[storage_class], self._lanes[storage_class].spans
        self._carry_tries += 1
        found = carry.undelivered(self._disk, chain, segment_count, spans, self._carry_tries >= _CARRY_TRIES_MAX)
        self._carry_tries = 0
        return found

    def expire(self, storage_class: StorageClass, age_s_max: float) -> None:
        """Give up what is older, by whole segments. Raises OSError; another try may succeed.

        The files stay until the gap record is durable and the checkpoint has passed them, as if all were delivered.
        """
        chain, lanes = self._chains[storage_class], self._lanes[storage_class]
        count = expiry.expired_count(self._disk, chain, age_s_max, self._clock)
        if not count:
            return
        boundary = chain.start_of(count)
        lost = lanes.lost_before(boundary)
        if lost is not None:
            self._losses.owe_again(self._gaps_in(storage_class, count))
            lanes.skip_to(boundary)
            self._losses.owe(GapName(*lost, Reason.EXPIRED))
