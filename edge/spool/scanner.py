"""Reads the blocks of one segment forward and steps over what is damaged."""

import contextlib
from typing import Final, NamedTuple

from edge.spool import files
from edge.spool.disk import File
from edge.spool.records import StorageClass

_PAGE_BYTES: Final = 4096


class Block(NamedTuple):
    """A block whose header was whole. `body` is None when its bytes are not those that were written."""

    header: files.Header
    body: bytes | None


class Scanner:
    """Positioned behind the last block it returned.

    Reads `buffer_bytes` at once: a backlog of small blocks must not cost a system call each.
    """

    def __init__(self, file: File, epoch: bytes | None, storage_class: StorageClass, buffer_bytes: int) -> None:
        self.offset = len(files.FILE_MAGIC)
        self.tolerant = False
        """Take pages that the disk cannot read for damaged bytes instead of raising OSError."""
        self._file = file
        self._epoch = epoch
        self._storage_class = storage_class
        self._buffer_bytes = buffer_bytes
        self._buffer = b""
        self._buffer_offset = 0

    def next(self, limit: int) -> Block | None:
        """The next block that lies before `limit`, the number of bytes of the file that are durable."""
        while self.offset + files.HEADER_BYTES <= limit:
            header = self._header(limit)
            if header is not None:
                body = self._read(self.offset + files.HEADER_BYTES, header.length, limit)
                self.offset += files.HEADER_BYTES + header.length
                return Block(header, body if files.body_is_whole(header, body) else None)
            self._seek_magic(limit)
        return None

    def unfinished(self, offset: int, limit: int) -> bool:
        """Whether the bytes from `offset` to `limit` can be an append that a crash cut short."""
        if limit - offset < files.HEADER_BYTES:
            return True
        header = files.decode_header(self._read(offset, files.HEADER_BYTES, limit), 0)
        return header is not None and offset + files.HEADER_BYTES + header.length > limit

    def cut(self, length: int) -> None:
        """Cut the file off behind `length`; if the disk refuses, reading skips the rest as well."""
        with contextlib.suppress(OSError):
            self._file.truncate(length)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _header(self, limit: int) -> files.Header | None:
        header = files.decode_header(self._read(self.offset, files.HEADER_BYTES, limit), 0)
        if header is None or self._epoch not in (None, header.epoch) or header.storage_class != self._storage_class:
            return None
        return header if self.offset + files.HEADER_BYTES + header.length <= limit else None

    def _seek_magic(self, limit: int) -> None:
        """Move to where a block may begin, at least one byte ahead; to `limit` when there is none."""
        start = self.offset + 1
        while start < limit:
            window = self._window(start, limit)
            if not window:
                break  # the file is shorter than it was
            found = window.find(files.BLOCK_MAGIC)
            if found >= 0:
                self.offset = start + found
                return
            # the magic may begin in the window's last three bytes
            start += max(1, len(window) - len(files.BLOCK_MAGIC) + 1)
        self.offset = limit

    def _window(self, offset: int, limit: int) -> bytes:
        self._fill(offset, 1, limit)
        return self._buffer[offset - self._buffer_offset :]

    def _read(self, offset: int, length: int, limit: int) -> bytes:
        self._fill(offset, length, limit)
        start = offset - self._buffer_offset
        return self._buffer[start : start + length]

    def _fill(self, offset: int, length: int, limit: int) -> None:
        """Make the buffer hold what it can of the bytes at `offset`."""
        if self._buffer_offset <= offset and offset + length <= self._buffer_offset + len(self._buffer):
            return
        wanted = min(max(length, self._buffer_bytes), limit - offset)
        self._buffer = self._read_tolerantly(offset, wanted) if self.tolerant else self._file.read(offset, wanted)
        self._buffer_offset = offset

    def _read_tolerantly(self, offset: int, length: int) -> bytes:
        parts: list[bytes] = []
        end = offset + length
        while offset < end:
            page_length = min(_PAGE_BYTES - offset % _PAGE_BYTES, end - offset)
            try:
                parts.append(self._file.read(offset, page_length))
            except OSError:
                parts.append(bytes(page_length))
            offset += page_length
        return b"".join(parts)
