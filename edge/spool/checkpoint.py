"""The file `checkpoint`: how far Kafka has confirmed each class.

One line of text: CRC32C of the rest as 8 hexadecimal digits, a space, a JSON object:

    {"epoch": "<hex>", "spans": {"signals": [[<sequence>, <ordinal>, <sequence>, <ordinal>], …], "events": […]}}

The spans of a class are those of its lanes, oldest first (see `lanes`): the position of the first record that may not
be confirmed, and the limit, which the last has not: it goes on to the end. What lies in none is confirmed. The file is
replaced as a whole. Without a readable one, reading starts at the oldest segment: records are sent again, none is
skipped.
"""

import json
from collections.abc import Mapping
from typing import Final

import google_crc32c

from edge.spool.chain import Position
from edge.spool.disk import Disk
from edge.spool.lanes import Span
from edge.spool.records import StorageClass

NAME: Final = "checkpoint"
TEMPORARY_NAME: Final = "checkpoint.new"
_BYTES_MAX: Final = 4096

Spans = Mapping[StorageClass, list[Span]]


def write(disk: Disk, epoch: bytes, spans: Spans) -> int:
    """Replace the checkpoint; durable on return. After an OSError the old or the new one stays. Returns its bytes."""
    named = {storage_class.label: [_flat(span) for span in members] for storage_class, members in spans.items()}
    text = json.dumps({"epoch": epoch.hex(), "spans": named})
    file = disk.create(TEMPORARY_NAME)
    try:
        line = f"{google_crc32c.value(text.encode()):08x} {text}\n".encode()
        file.append(line)
        file.sync()
    finally:
        file.close()
    disk.rename(TEMPORARY_NAME, NAME)
    disk.sync_directory()
    return len(line)


def read(disk: Disk, epoch: bytes) -> dict[StorageClass, list[Span]] | None:
    """The spans, or None when there is no readable checkpoint of this epoch."""
    try:
        file = disk.open(NAME)
    except OSError:
        return None
    try:
        raw = file.read(0, _BYTES_MAX)
    except OSError:
        return None
    finally:
        file.close()
    return _parse(raw, epoch)


def _parse(raw: bytes, epoch: bytes) -> dict[StorageClass, list[Span]] | None:
    checksum, _, text = raw.rstrip(b"\n").partition(b" ")
    if checksum != f"{google_crc32c.value(text):08x}".encode():
        return None
    content = json.loads(text)  # its checksum is right: we wrote it
    if content["epoch"] != epoch.hex():
        return None
    return {StorageClass[label.upper()]: [_span(*flat) for flat in lanes] for label, lanes in content["spans"].items()}


def _flat(span: Span) -> list[int]:
    return [*span.position, *(span.limit or ())]


def _span(sequence: int, ordinal: int, *limit: int) -> Span:
    return Span(Position(sequence, ordinal), Position(*limit) if limit else None)
