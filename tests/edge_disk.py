"""A disk in memory for the spool's tests: it can crash at any operation, run full, fail, and lie."""

import errno
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from edge.parcels import Parcel, unpacked
from edge.spool import records, spool
from edge.spool import series as names
from edge.spool.records import Bundle, Gap, Run, StorageClass
from wire.topics import Address, Channel, Kind


class Crash(BaseException):
    """The machine stops in the middle of an operation."""


_SECTOR_BYTES = (1, 16, 64, 512)
"""Disks write 512 bytes or none; smaller ones are harder to survive."""


@dataclass
class Inode:
    """A file's bytes as processes see them, and as they are on the platter."""

    data: bytes = b""
    durable: bytes = b""
    emptied: bool = False
    """Since the last sync: what is written now goes to other sectors."""
    deaf: bool = False
    """After a failed sync the kernel takes the pages for clean: later syncs say yes and do nothing."""

    def after_crash(self, chance: random.Random) -> bytes:
        """What was synced, with any sectors of what came behind, in any order, as far as the file's length was."""
        if self.emptied and chance.random() < 0.5:
            return self.durable
        old = b"" if self.emptied else self.durable
        length = chance.randint(*sorted((len(old), len(self.data))))
        old, new = (each.ljust(length, b"\0")[:length] for each in (old, self.data))
        if chance.random() < 0.5:
            cut = chance.randint(0, length)
            return new[:cut] + old[cut:]
        sector = chance.choice(_SECTOR_BYTES)
        return b"".join(chance.choice((old, new))[at : at + sector] for at in range(0, length, sector))


@dataclass
class MemoryDisk:
    """Counts its operations; `crash_at` names the one that crashes. `fault` may raise OSError in an operation."""

    names: dict[str, Inode] = field(default_factory=dict)
    durable_names: dict[str, Inode] = field(default_factory=dict)
    crash_at: int | None = None
    capacity_bytes: int | None = None
    fault: Callable[[str, str], None] | None = None
    operations: int = 0
    chance: random.Random = field(default_factory=lambda: random.Random(0))
    log: list[tuple[str, str]] = field(default_factory=list)

    def step(self, operation: str, name: str) -> bool:
        """Count an operation; True when the machine crashes in it."""
        self.operations += 1
        self.log.append((operation, name))
        if self.fault is not None:
            self.fault(operation, name)
        return self.operations == self.crash_at

    def crash_now(self, operation: str, name: str) -> None:
        if self.step(operation, name):
            raise Crash

    def list(self) -> list[str]:
        self.crash_now("list", "")
        return list(self.names)

    def create(self, name: str) -> "MemoryFile":
        self.crash_now("create", name)
        inode = self.names.setdefault(name, Inode())
        inode.data, inode.deaf, inode.emptied = b"", False, True
        return MemoryFile(self, name, inode)

    def open(self, name: str) -> "MemoryFile":
        self.crash_now("open", name)
        if name not in self.names:
            raise FileNotFoundError(errno.ENOENT, "no such file", name)
        return MemoryFile(self, name, self.names[name])

    def rename(self, old: str, new: str) -> None:
        self.crash_now("rename", old)
        self.names[new] = self.names.pop(old)

    def delete(self, name: str) -> None:
        self.crash_now("delete", name)
        self.names.pop(name, None)

    def sync_directory(self) -> None:
        self.crash_now("sync_directory", "")
        self.durable_names = dict(self.names)

    @property
    def used_bytes(self) -> int:
        return sum(len(inode.data) for inode in self.names.values())

    def after_crash(self) -> "MemoryDisk":
        """The disk that the next start finds: each name as it was synced or as it was last."""
        names: dict[str, Inode] = {}
        renamed = {id(inode): name for name, inode in self.names.items()}
        for name in sorted({*self.names, *self.durable_names}):
            old, new = self.durable_names.get(name), self.names.get(name)
            inode = self.chance.choice([old, new])
            if old is not None and id(old) in renamed and renamed[id(old)] != name:
                inode = self._one_of_two_names(old, name, renamed[id(old)], names)
            if inode is not None and id(inode) not in {id(each) for each in names.values()}:
                names[name] = inode
        found = {name: inode.after_crash(self.chance) for name, inode in names.items()}
        inodes = {name: Inode(data, data) for name, data in found.items()}
        return MemoryDisk(dict(inodes), dict(inodes), chance=self.chance, capacity_bytes=self.capacity_bytes)

    def _one_of_two_names(self, inode: Inode, old: str, new: str, names: dict[str, Inode]) -> Inode | None:
        """A rename is atomic: the file has the old name or the new one, never none."""
        if new in names and names[new] is inode:
            return None
        if self.chance.random() < 0.5:
            return inode
        names[new] = inode
        return self.names.get(old)


@dataclass
class MemoryFile:
    """An open file of a `MemoryDisk`."""

    disk: MemoryDisk
    name: str
    inode: Inode

    def append(self, data: bytes) -> None:
        room = len(data)
        try:
            crashes = self.disk.step("append", self.name)
        except OSError:
            self.inode.data += data[: self.disk.chance.randint(0, room)]
            raise
        if self.disk.capacity_bytes is not None:
            room = min(room, max(0, self.disk.capacity_bytes - self.disk.used_bytes))
        if crashes:
            room = self.disk.chance.randint(0, room)
        self.inode.data += data[:room]
        if crashes:
            raise Crash
        if room < len(data):
            raise OSError(errno.ENOSPC, "no space left on device")

    def overwrite(self, data: bytes) -> None:
        crashes = self.disk.step("overwrite", self.name)
        self.inode.data = data + self.inode.data[len(data) :]
        self.inode.deaf = False  # the page is written as a whole
        if crashes:
            raise Crash

    def sync(self) -> None:
        try:
            self.disk.crash_now("sync", self.name)
        except OSError:
            self.inode.deaf = True
            raise
        if not self.inode.deaf:
            self.inode.durable, self.inode.emptied = self.inode.data, False

    def read(self, offset: int, length: int) -> bytes:
        self.disk.crash_now("read", self.name)
        return self.inode.data[offset : offset + length]

    def size(self) -> int:
        return len(self.inode.data)

    def truncate(self, length: int) -> None:
        self.disk.crash_now("truncate", self.name)
        self.inode.data = self.inode.data[:length]
        if not self.inode.deaf or length <= len(self.inode.durable):
            self.inode.durable, self.inode.deaf, self.inode.emptied = self.inode.data, False, False

    def close(self) -> None:
        pass


@dataclass
class ManualClock:
    """Time that moves when a test says so, and while someone sleeps."""

    wall_ms: int = 1_750_000_000_000
    elapsed_s: float = 0.0

    def now_ms(self) -> int:
        return self.wall_ms

    def monotonic_s(self) -> float:
        return self.elapsed_s

    def sleep(self, seconds: float) -> None:
        self.advance_ms(seconds * 1000)

    def advance_ms(self, milliseconds: float) -> None:
        self.wall_ms += round(milliseconds)
        self.elapsed_s += milliseconds / 1000


ROOMY = spool.Limits(bytes_max=100_000_000, segment_bytes=1_000_000, read_bytes=4096)


def open_spool(disk: Any, limits: spool.Limits = ROOMY, clock: ManualClock | None = None) -> spool.Spool:
    """A spool whose first epoch is known."""
    return spool.Spool.open(disk, limits, clock or ManualClock(), lambda length: b"\xee" * length)


def message(
    number: int, channel: Channel = Channel.SIGNALS, asset_id: str = "car-1", size: int = 0, urgent: bool = False
) -> Bundle:
    """A bundle of one payload that names it."""
    return bundle([number], channel, asset_id, size, urgent)


def bundle(
    numbers: list[int],
    channel: Channel = Channel.SIGNALS,
    asset_id: str = "car-1",
    size: int = 0,
    urgent: bool = False,
) -> Bundle:
    """A bundle whose payloads name them."""
    series = names.of(Address(Kind.VEHICLE, asset_id, channel), urgent)
    runs = [Run(1_750_000_000_000 + number, 1) for number in numbers]
    return records.bundle(series, runs, [f"{number}:".encode() + b"x" * size for number in numbers])


def numbers_of(record: Bundle) -> list[int]:
    """The inverse of `bundle`."""
    return [int(each.payload.partition(b":")[0]) for each in records.messages(record)]


def number_of(record: Bundle) -> int:
    """The inverse of `message`."""
    (number,) = numbers_of(record)
    return number


def numbers_in(parcel: Parcel) -> list[int]:
    """The numbers of the messages in a batch; a dead letter has none."""
    return [int(each.payload.partition(b":")[0]) for _, each in unpacked(parcel)] if parcel.is_batch else []


def put(into: spool.Spool, *bundles: Bundle) -> None:
    """Make payloads durable."""
    into.stage(list(bundles))
    into.commit()


def read_all(source: spool.Spool, storage_class: StorageClass, confirm: bool = True) -> list[tuple[int, Any]]:
    """Everything of a class that was not read yet, as (sequence, record)."""
    entries: list[tuple[int, Any]] = []
    while (chunk := source.read(storage_class)) is not None:
        entries += chunk.entries
        if confirm:
            source.confirm(chunk, chunk.remaining)
    return entries


def segments(disk: MemoryDisk) -> list[str]:
    """Names of segment files, oldest first."""
    return sorted(name for name in disk.names if name.endswith(".seg"))


def gaps(source: spool.Spool) -> list[Gap]:
    """The gap records that wait, made durable and read."""
    if source.must_commit:
        source.commit()
    return [record for _, record in read_all(source, StorageClass.EVENTS) if isinstance(record, Gap)]
