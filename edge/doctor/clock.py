"""Whether the gateway knows what time it is: samples are ordered and aged by the time in them."""

import ctypes
import ctypes.util
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from edge.doctor import findings
from edge.doctor.findings import Finding

_EARLIEST: Final = 1_767_225_600.0
"""2026-01-01 UTC. Before this program was written: a clock without battery begins at 1970 or at a build date."""
_STATUS_UNSYNCHRONIZED: Final = 0x0040  # STA_UNSYNC of adjtimex(2)
_ERROR_S_MAX: Final = 1.0
_AHEAD_S_MAX: Final = 60.0


class _Timex(ctypes.Structure):
    """The beginning of `struct timex`, adjtimex(2); the rest is room."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


class Kernel(NamedTuple):
    """What the kernel thinks of its clock."""

    is_synchronized: bool
    error_s_max: float


def kernel() -> Kernel | None:
    """By adjtimex(2), which only reads here; None where that is not to be had."""
    try:
        library = ctypes.CDLL(ctypes.util.find_library("c") or "libc.so.6", use_errno=True)
        answer = _Timex()
        if library.adjtimex(ctypes.byref(answer)) < 0:
            return None
    except (OSError, AttributeError):
        return None
    return Kernel(not answer.status & _STATUS_UNSYNCHRONIZED, answer.maxerror / 1e6)


def check(directory: Path) -> Finding:
    """`directory` is the spool's: nothing in it should be from the future."""
    return judge(time.time(), kernel(), _newest_s(directory))


def _newest_s(directory: Path) -> float | None:
    try:
        return max((file.stat().st_mtime for file in directory.iterdir()), default=None)
    except OSError:
        return None


def judge(now_s: float, state: Kernel | None, newest_s: float | None) -> Finding:
    """From the time, what the kernel says of it, and the youngest file of the spool."""
    shown = datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    advice = "enable NTP (systemctl enable --now systemd-timesyncd, or chrony) or a battery-backed clock"
    if now_s < _EARLIEST:
        return findings.failed("clock", f"it is {shown}, which cannot be", advice)
    if newest_s is not None and newest_s > now_s + _AHEAD_S_MAX:
        behind = f"the spool's newest file is {newest_s - now_s:,.0f} s ahead of the clock ({shown})"
        return findings.warning("clock", behind, f"the clock went back: {advice}")
    if state is None:
        return findings.skipped("clock", f"{shown}; whether it is synchronized cannot be told here")
    if not state.is_synchronized:
        return findings.warning("clock", f"{shown}, not synchronized", advice)
    if state.error_s_max > _ERROR_S_MAX:
        return findings.warning("clock", f"{shown}, off by up to {state.error_s_max:.1f} s", advice)
    return findings.ok("clock", f"{shown}, synchronized within {state.error_s_max * 1000:.0f} ms")
