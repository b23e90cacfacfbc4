"""New firmware over the air during a run: which devices, when, and what is told of it.

A device loads the new version while it works. When its time has come it restarts, is dark while it installs, and its
next birth names the new version; one that is off then is updated once it is on. Devices with the quirk `old_format`
were left half-updated: they have the old version, and speak the old format until their update is complete.
"""

import heapq
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

from simulator.arrays import Flags, Rows, stream
from simulator.settings import FleetSection
from wire.topics import Kind

VERSIONS: Final = {
    Kind.VEHICLE: ("tcu 4.2.0", "tcu 4.3.1", "tcu 5.0.0", "tcu 5.1.0"),
    Kind.STATION: ("2.4.1", "2.5.0", "3.0.2", "3.1.0"),
}
"""From the oldest to the one that is rolled out during a run."""
NEWEST: Final = 3
INSTALLS_S: Final = 90.0
"""How long a device is dark."""
_AGAIN_S: Final = 20.0
"""After that one that was off is looked at again."""


class Update(NamedTuple):
    """As the truth knows it: a device was taken from one version to another."""

    asset_id: str
    before: str
    after: str
    at_ms: int


class Campaign:
    """What is still to be updated: time, in simulated seconds since the start, and device, by kind of asset."""

    def __init__(
        self, settings: FleetSection, kind_of: Callable[[int], Kind], free: Rows, half_updated_s: Mapping[int, float]
    ) -> None:
        """`free`: devices that may be chosen; `half_updated_s`: when the update of others is complete."""
        random = stream(settings.seed, "updates")
        chosen = random.permutation(free)[: round(settings.updates * len(free))]
        times_s = random.random(len(chosen)) * settings.updates_within_s
        due_s = dict(zip(chosen.tolist(), times_s.tolist(), strict=True)) | dict(half_updated_s)
        self._due: dict[Kind, list[tuple[float, int]]] = {kind: [] for kind in Kind}
        for device, at_s in due_s.items():
            heapq.heappush(self._due[kind_of(device)], (at_s, device))

    def due(self, now_s: float, kind: Kind, first_device: int, awake: Flags) -> Iterator[int]:
        """Rows of the devices of a kind, counted from `first_device`, that are updated now."""
        heap = self._due[kind]
        while heap and heap[0][0] <= now_s:
            _, device = heap[0]
            if awake[device - first_device]:
                heapq.heappop(heap)
                yield device - first_device
            else:
                heapq.heapreplace(heap, (now_s + _AGAIN_S, device))
