"""The interpreter's search for reference cycles, at a size that fits what a process keeps in memory."""

import gc
from typing import Final

_YOUNG_OBJECTS: Final = 200_000
"""More than a turn's worth: what a turn makes is gone, by its count of references, before a search begins.

By default (700) every few frames begin one, and the searches of everything kept cost a frame more than all else:
with 50,000 twins in the cache 32 of 71 µs of processor time, and 120 of 217 µs while the cache fills. History kept
120,000 records for 29 µs each, for 23 without. A simulated frame costs 9.0 µs with the default, 8.2 without.
"""


def search_rarely() -> None:
    """Search rarely, and never again through what was made until now. To be called when a service is put together."""
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS)
