"""The disk as the spool sees it: a flat directory of files that grow at their end, and two small ones in place.

Durability follows POSIX: bytes are safe after `File.sync`, names after `Disk.sync_directory`.
Every method raises OSError as the operating system does; a caller that cannot append goes on later.
"""

import contextlib
import errno
import fcntl
import os
from pathlib import Path
from typing import Protocol

_LOCK_NAME = "lock"


class File(Protocol):
    """An open file."""

    def append(self, data: bytes) -> None:
        """Write at the end, all of `data`; after an OSError a part of it may be there."""

    def overwrite(self, data: bytes) -> None:
        """Write at the beginning, over what is there; after an OSError or a crash it may be old, new or mixed."""

    def sync(self) -> None:
        """Return when everything appended so far survives a power cut."""

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes; fewer only at the end of the file."""

    def size(self) -> int:
        """Bytes in the file."""

    def truncate(self, length: int) -> None:
        """Cut off what lies behind `length`."""

    def close(self) -> None:
        """Give the handle back; says nothing about durability."""


class Disk(Protocol):
    """One directory."""

    def list(self) -> list[str]:
        """The names of all files."""

    def create(self, name: str) -> File:
        """A new, empty file to write; an old one of that name is emptied."""

    def open(self, name: str) -> File:
        """An existing file, to read and to truncate."""

    def rename(self, old: str, new: str) -> None:
        """Atomic; replaces `new`."""

    def delete(self, name: str) -> None:
        """Remove a file; one that is not there is no error."""

    def sync_directory(self) -> None:
        """Return when every create, rename and delete so far survives a power cut."""


class LockedError(Exception):
    """Another process writes to this spool."""


class SystemFile:
    """A file of the operating system."""

    def __init__(self, path: Path, flags: int) -> None:
        self._descriptor = os.open(path, flags | os.O_CLOEXEC, 0o640)

    def append(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            written = os.write(self._descriptor, rest)
            if written == 0:
                raise OSError(errno.EIO, "write accepted nothing")
            rest = rest[written:]

    def overwrite(self, data: bytes) -> None:
        if os.pwrite(self._descriptor, data, 0) != len(data):
            raise OSError(errno.EIO, "write accepted a part")

    def sync(self) -> None:
        os.fdatasync(self._descriptor)  # flushes the size as well, but not the times

    def read(self, offset: int, length: int) -> bytes:
        parts: list[bytes] = []
        while length > 0:
            part = os.pread(self._descriptor, length, offset)
            if not part:
                break
            parts.append(part)
            offset += len(part)
            length -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def truncate(self, length: int) -> None:
        os.ftruncate(self._descriptor, length)
        os.fsync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)


class Directory:
    """A directory of the operating system, locked against other writers until `close`.

    With `writable=False` nothing is created or locked: for looking at a spool that an agent may be using.
    Raises LockedError, OSError.
    """

    def __init__(self, path: Path, writable: bool = True) -> None:
        self._path = path
        self._lock: int | None = None
        if writable:
            _make(path)
            self._lock = _lock(path / _LOCK_NAME)
        self._mode = os.O_RDWR if writable else os.O_RDONLY
        self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def list(self) -> list[str]:
        return [entry.name for entry in os.scandir(self._path) if entry.is_file(follow_symlinks=False)]

    def create(self, name: str) -> File:
        return SystemFile(self._path / name, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)

    def open(self, name: str) -> File:
        return SystemFile(self._path / name, self._mode)

    def rename(self, old: str, new: str) -> None:
        (self._path / old).replace(self._path / new)

    def delete(self, name: str) -> None:
        (self._path / name).unlink(missing_ok=True)

    def sync_directory(self) -> None:
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Give the lock back."""
        os.close(self._descriptor)
        if self._lock is not None:
            os.close(self._lock)


def _make(path: Path) -> None:
    """Create a directory with its parents so that they survive a power cut."""
    missing = [each for each in (path, *path.parents) if not each.exists()]
    path.mkdir(mode=0o750, parents=True, exist_ok=True)
    for each in missing:
        descriptor = os.open(each.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        os.fsync(descriptor)
        os.close(descriptor)


def _lock(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = _holder(descriptor)
        os.close(descriptor)
        raise LockedError(f"{path.parent} is in use by another agent{holder}") from error
    with contextlib.suppress(OSError):  # the number is for people; a full disk must not stop the start
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def _holder(descriptor: int) -> str:
    text = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
    return f", process {text}" if text.isdigit() else ""
