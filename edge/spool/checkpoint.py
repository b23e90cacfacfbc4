"""The file `checkpoint`: how far Kafka has confirmed each class.

One line of text: CRC32C of the rest as 8 hexadecimal digits, a space, a JSON object:

    {"epoch": "<hex>", "positions": {"signals": [<sequence>, <ordinal>], "events": […]}}

A position is that of the first record that may not be confirmed. The file is replaced as a whole. Without a
readable one, reading starts at the oldest segment: records are sent again, none is skipped.
"""

import json
from collections.abc import Mapping
from typing import Final

import google_crc32c

from edge.spool.disk import Disk
from edge.spool.reader import Position
from edge.spool.records import StorageClass

NAME: Final = "checkpoint"
TEMPORARY_NAME: Final = "checkpoint.new"
_BYTES_MAX: Final = 4096

Positions = Mapping[StorageClass, Position]


def write(disk: Disk, epoch: bytes, positions: Positions) -> None:
    """Replace the checkpoint; durable on return. After an OSError the old or the new one is there."""
    named = {storage_class.label: list(position) for storage_class, position in positions.items()}
    text = json.dumps({"epoch": epoch.hex(), "positions": named})
    file = disk.create(TEMPORARY_NAME)
    try:
        file.append(f"{google_crc32c.value(text.encode()):08x} {text}\n".encode())
        file.sync()
    finally:
        file.close()
    disk.rename(TEMPORARY_NAME, NAME)
    disk.sync_directory()


def read(disk: Disk, epoch: bytes) -> dict[StorageClass, Position] | None:
    """The positions, or None when there is no readable checkpoint of this epoch."""
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


def _parse(raw: bytes, epoch: bytes) -> dict[StorageClass, Position] | None:
    checksum, _, text = raw.rstrip(b"\n").partition(b" ")
    if checksum != f"{google_crc32c.value(text):08x}".encode():
        return None
    content = json.loads(text)  # its checksum is right: we wrote it
    if content["epoch"] != epoch.hex():
        return None
    return {StorageClass[label.upper()]: Position(*pair) for label, pair in content["positions"].items()}
