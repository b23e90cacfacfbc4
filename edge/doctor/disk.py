"""Whether what the spool writes survives a power cut, and how long it lasts when Kafka is away."""

import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from edge.doctor import findings
from edge.doctor.findings import Finding

_PROBES: Final = 25
_PROBE_BYTES: Final = 4_096
_INSTANT_MS: Final = 0.02
"""A flush of a device's cache takes longer than this; faster means that nothing was flushed."""
_SLOW_MS: Final = 200.0
_VOLATILE: Final = frozenset({"tmpfs", "ramfs", "devtmpfs"})
_REMOTE: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "virtiofs", "fuse.sshfs"})
_NO_JOURNAL: Final = frozenset({"vfat", "exfat", "msdos", "ext2"})
_UNSAFE_OPTIONS: Final = frozenset({"nobarrier", "barrier=0"})
_DAY_S: Final = 86_400.0


class Mount(NamedTuple):
    """A line of /proc/self/mountinfo."""

    point: str
    kind: str
    options: frozenset[str]
    device: str


def mount_of(directory: Path, mountinfo: str) -> Mount | None:
    """The mount that `directory` lies on: the last of the longest mount points above it."""
    found: Mount | None = None
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields, rest = before.split(), after.split()
        if len(fields) < 6 or len(rest) < 3:
            continue
        point = fields[4].replace("\\040", " ")
        is_above = directory == Path(point) or Path(point) in directory.parents
        if is_above and (found is None or len(point) >= len(found.point)):
            options = frozenset(fields[5].split(",") + rest[2].split(","))
            found = Mount(point, rest[0], options, fields[2])
    return found


def check(directory: Path, bytes_max: int) -> Iterator[Finding]:
    """File system, speed and honesty of its syncs, and free space. Writes one file without a name, or a hidden one."""
    existing = _existing(directory)
    yield _file_system(existing)
    if not os.access(existing, os.W_OK | os.X_OK):
        yield findings.failed(
            "disk writable", f"{existing} may not be written by this user", f"make the agent's user own {directory}"
        )
        return
    try:
        yield _syncs(existing)
        yield _space(directory, existing, bytes_max)
    except OSError as error:
        yield findings.failed("disk sync", f"{existing}: {error.strerror or error}", "free space, or replace the disk")


def _existing(directory: Path) -> Path:
    path = directory.absolute()
    while not path.exists():
        path = path.parent
    return path.resolve()


def _file_system(directory: Path) -> Finding:
    name = "disk file system"
    try:
        mount = mount_of(directory, Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace"))
    except OSError:
        mount = None
    if mount is None:
        return findings.skipped(name, "cannot be told on this system")
    return judge_mount(mount, _write_cache(mount.device))


def judge_mount(mount: Mount, write_cache: str) -> Finding:
    """Whether this kind of file system keeps what it has synced."""
    name = "disk file system"
    detail = f"{mount.kind} on {mount.point}{write_cache}"
    if mount.kind in _VOLATILE:
        return findings.failed(name, detail, "this is memory: set spool.directory to a disk")
    if mount.options & _UNSAFE_OPTIONS:
        return findings.failed(name, f"{detail}, barriers off", "mount it without nobarrier or barrier=0")
    if "ro" in mount.options:
        return findings.failed(name, f"{detail}, read-only", "mount it read-write, or check the disk for errors")
    if mount.kind == "overlay":
        return findings.warning(name, detail, "a container's own layer goes with the container: mount a volume here")
    if mount.kind in _REMOTE:
        return findings.warning(name, detail, "durability is the file server's; a local disk is better")
    if mount.kind in _NO_JOURNAL:
        return findings.warning(name, detail, "it has no journal and may break at a power cut: use ext4, xfs or f2fs")
    return findings.ok(name, detail)


def _write_cache(device: str) -> str:
    """What the kernel knows of the device's cache; with `write back` each sync has to flush it, and does."""
    for place in ("queue", "../queue"):  # a partition's is its disk's
        with contextlib.suppress(OSError):
            return f", cache {Path('/sys/dev/block', device, place, 'write_cache').read_text().strip()}"
    return ""


def _syncs(directory: Path) -> Finding:
    times_ms: list[float] = []
    with _unnamed(directory) as descriptor:
        for _ in range(_PROBES):
            os.write(descriptor, os.urandom(_PROBE_BYTES))
            started = time.perf_counter()
            os.fdatasync(descriptor)
            times_ms.append((time.perf_counter() - started) * 1000)
    return judge_syncs(times_ms)


@contextlib.contextmanager
def _unnamed(directory: Path) -> Iterator[int]:
    """A file that no agent can see and no crash can leave behind; hidden and removed where that cannot be had."""
    try:
        descriptor = os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError:
        with tempfile.NamedTemporaryFile(dir=directory, prefix=".fleetfold-doctor-") as file:
            yield file.fileno()
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def judge_syncs(times_ms: list[float]) -> Finding:
    """Neither too slow for the load nor too fast to be true."""
    median_ms, worst_ms = statistics.median(times_ms), max(times_ms)
    detail = f"fdatasync of {_PROBE_BYTES} bytes: median {median_ms:.2f} ms, worst {worst_ms:.1f} ms"
    if median_ms < _INSTANT_MS:
        return findings.warning(
            "disk sync", detail, "too fast for a disk: is its cache, or the hypervisor's, safe in a power cut?"
        )
    if worst_ms > _SLOW_MS:
        return findings.warning("disk sync", detail, "slow syncs slow devices down: a better card or disk helps")
    return findings.ok("disk sync", detail)


def _space(directory: Path, existing: Path, bytes_max: int) -> Finding:
    status = os.statvfs(existing)
    free = status.f_bavail * status.f_frsize
    used = sum(file.stat().st_size for file in directory.glob("*") if file.is_file()) if directory.is_dir() else 0
    detail = f"{free / 1e6:,.0f} MB free, the spool has {used / 1e6:,.0f} of {bytes_max / 1e6:,.0f} MB"
    if status.f_favail == 0 and status.f_files > 0:
        return findings.failed("disk space", "no free inodes", "delete files on this file system")
    if free < bytes_max - used:
        return findings.warning(
            "disk space", detail, "the disk is full before spool.bytes_max is: lower it, or make room"
        )
    return findings.ok("disk space", detail)


def outage(bytes_max: int, bytes_per_s: float | None, origin: str) -> Finding:
    """How long Kafka may be away before the spool has to drop."""
    name = "outage that fits"
    if not bytes_per_s:
        return findings.skipped(
            name,
            f"{bytes_max / 1e6:,.0f} MB, at an unknown rate",
            "give --bytes-per-s, or http.port of a running agent",
        )
    days = bytes_max / bytes_per_s / _DAY_S
    detail = f"{days:,.1f} days at {bytes_per_s:,.0f} bytes/s ({origin})"
    if days < 1:
        return findings.warning(name, detail, "raise spool.bytes_max, or reduce what is collected")
    return findings.ok(name, detail)
