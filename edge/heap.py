"""The C library's heap: made to give back what a burst of messages needed."""

import contextlib
import ctypes
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
"""[glibc malloc.h] mallopt(3)."""
_MAPPED_BYTES: Final = 2_097_152
"""Blocks as large are mapped each, and so given back each."""
_FREE_BYTES: Final = 8_388_608
"""With more that is free at its end the heap is cut."""


def keep_small() -> None:
    """Before threads start. Left alone, glibc raises both thresholds with the blocks it sees and keeps an arena per
    thread: chunks and batches then leave holes that are never given back (10 MB and more of RSS). With thresholds
    below what a read, a compressor and a request take and give back, the kernel clears these pages again each time:
    with 512 KB a quarter of the agent's processor time (measured).
    """
    with contextlib.suppress(AttributeError, OSError):  # another C library has no mallopt, and may not need it
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _FREE_BYTES)
