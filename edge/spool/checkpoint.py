"""The files `checkpoint.0` and `checkpoint.1`: how far Kafka has confirmed each class.

Each is one line of text, overwritten in place so that a full disk cannot refuse it: CRC32C of the rest as 8 hexadecimal
digits, a space, a JSON object:

    {"epoch": "<hex>", "generation": 7,
     "spans": {"signals": [[<sequence>, <ordinal>, <sequence>, <ordinal>], …], "events": […]}}

The spans of a class are those of its lanes, oldest first (see `lanes`): the position of the first record that may not
be confirmed, and the limit, which the last has not: it goes on to the end. What lies in none is confirmed.

The files are written in turn, with a generation that rises; a start takes the newest that is whole. A segment may go
only when neither needs it. Without a whole one, reading starts at the oldest segment: records are sent again, none is
skipped.
"""

import contextlib
import json
from collections.abc import Mapping
from typing import Final, NamedTuple

import google_crc32c

from edge.spool.chain import PAGE_BYTES, Position
from edge.spool.disk import Disk
from edge.spool.lanes import Span
from edge.spool.records import StorageClass

NAMES: Final = ("checkpoint.0", "checkpoint.1")

Spans = Mapping[StorageClass, list[Span]]


class Saved(NamedTuple):
    """What one of the files says."""

    generation: int
    spans: Spans


class Checkpoint:
    """`spans`: where reading started, or what was last saved. Raises OSError when the files cannot be read."""

    def __init__(self, disk: Disk, epoch: bytes) -> None:
        self._disk = disk
        self._epoch = epoch
        self.written_bytes = 0
        """Since the start."""
        self.page_bytes = 0
        """Of the pages written."""
        self._saved = [read(disk, name, epoch) for name in NAMES]

    @property
    def newest(self) -> Spans | None:
        """What the newest whole file says."""
        whole = [saved for saved in self._saved if saved is not None]
        return max(whole, key=lambda saved: saved.generation).spans if whole else None

    def says(self, spans: Spans) -> bool:
        """Whether every whole file says this, and there is one."""
        whole = [saved for saved in self._saved if saved is not None]
        return bool(whole) and all(saved.spans == spans for saved in whole)

    def save(self, spans: Spans) -> None:
        """Replace the older file; durable on return. After an OSError the newer stays."""
        generations = [-1 if saved is None else saved.generation for saved in self._saved]
        older = generations.index(min(generations))
        saved = Saved(max(generations) + 1, spans)
        line = _line(self._epoch, saved)
        self._saved[older] = None  # until it is written, nobody knows what it says
        _overwrite(self._disk, NAMES[older], line)
        self._saved[older] = saved
        self.page_bytes += PAGE_BYTES
        self.written_bytes += len(line)

    def needs(self, storage_class: StorageClass, first_ordinal: int, end_ordinal: int) -> bool:
        """Whether a start could want to read records of this range."""
        whole = [saved for saved in self._saved if saved is not None]
        return not whole or any(
            span.needs(first_ordinal, end_ordinal) for saved in whole for span in saved.spans[storage_class]
        )


def _overwrite(disk: Disk, name: str, line: bytes) -> None:
    if name not in disk.list():
        file = disk.create(name)
        with contextlib.closing(file):
            file.append(bytes(PAGE_BYTES))
            file.sync()
        disk.sync_directory()
    file = disk.open(name)
    with contextlib.closing(file):
        file.overwrite(line)
        file.sync()


def _line(epoch: bytes, saved: Saved) -> bytes:
    named = {storage_class.label: [_flat(span) for span in members] for storage_class, members in saved.spans.items()}
    text = json.dumps({"epoch": epoch.hex(), "generation": saved.generation, "spans": named}).encode()
    line = f"{google_crc32c.value(text):08x} ".encode() + text + b"\n"
    assert len(line) <= PAGE_BYTES
    return line


def read(disk: Disk, name: str, epoch: bytes) -> Saved | None:
    """What a file says; None when it is not there or not whole."""
    try:
        file = disk.open(name)
    except OSError:
        return None
    with contextlib.closing(file):
        try:
            return _parse(file.read(0, PAGE_BYTES), epoch)
        except OSError:
            return None


def _parse(raw: bytes, epoch: bytes) -> Saved | None:
    checksum, _, text = raw.partition(b"\n")[0].partition(b" ")
    if checksum != f"{google_crc32c.value(text):08x}".encode():
        return None
    content = json.loads(text)  # its checksum is right: we wrote it
    if content["epoch"] != epoch.hex():
        return None
    spans = {StorageClass[label.upper()]: [_span(*flat) for flat in lanes] for label, lanes in content["spans"].items()}
    return Saved(content["generation"], spans)


def _flat(span: Span) -> list[int]:
    return [*span.position, *(span.limit or ())]


def _span(sequence: int, ordinal: int, *limit: int) -> Span:
    return Span(Position(sequence, ordinal), Position(*limit) if limit else None)
