"""How the uplink is used, by what it costs. Pure."""

from typing import NamedTuple

from edge.link import LinkCost
from edge.spool.records import StorageClass


class Upload(NamedTuple):
    """Limits are bytes per second over the wire, 0 for none.

    What is received while older records have waited for `backlog_age_s` is sent beside these once Kafka takes records
    again, and gets `live_share_percent` of the bytes; 0: everything is sent in the order received. While events and
    signals wait, signals get `signals_share_percent` of the bytes; 0: only what events leave.
    """

    live_share_percent: int = 50
    backlog_age_s: float = 30.0
    bytes_per_s: int = 0
    metered_bytes_per_s: int = 0
    metered_classes: frozenset[StorageClass] = frozenset(StorageClass)
    signals_share_percent: int = 10

    def held(self, cost: LinkCost) -> frozenset[StorageClass]:
        """Classes that wait for a free link."""
        return frozenset(StorageClass) - self.metered_classes if cost is LinkCost.METERED else frozenset()

    def limit(self, cost: LinkCost) -> int:
        """Bytes per second."""
        return self.metered_bytes_per_s or self.bytes_per_s if cost is LinkCost.METERED else self.bytes_per_s
