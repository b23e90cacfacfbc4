"""The C library's heap: made to give back what a burst of messages needed."""

import contextlib
import ctypes
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
"""[glibc malloc.h] mallopt(3)."""
_LARGE_BYTES: Final = 524_288


def keep_small() -> None:
    """Before threads start. Left alone, glibc raises both thresholds with the blocks it sees and keeps an arena per
    thread: chunks and batches then leave holes that are never given back (10 MB and more of RSS). With a threshold
    below a read of the socket or what a compressor works with, each of these would be mapped and cleared page by page:
    a quarter of the Kafka client's time.
    """
    with contextlib.suppress(AttributeError, OSError):  # another C library has no mallopt, and may not need it
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _LARGE_BYTES)
