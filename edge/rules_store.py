"""The file `rules` in the spool's directory: the sets that were published for this gateway, for a start without a link.

One line of text: CRC32C of the rest as 8 hexadecimal digits, a space, a JSON object of set by origin (`gateway`,
`all`). It is replaced as a whole. Without a readable one the agent waits for what is published.
"""

import contextlib
import json
from typing import Final

import google_crc32c

from edge.rules.desk import PUBLISHED, Stored
from edge.spool.disk import Disk
from wire.collection import SET_BYTES_MAX

NAME: Final = "rules"
_TEMPORARY_NAME: Final = "rules.new"
_BYTES_MAX: Final = 4 * SET_BYTES_MAX


class DamagedError(Exception):
    """The file is there, but is not what was written."""


def write(disk: Disk, stored: Stored) -> None:
    """Durable on return. Raises OSError; then the old or the new file is there."""
    text = json.dumps({origin: json.loads(raw) for origin, raw in stored.items()}, ensure_ascii=False).encode()
    file = disk.create(_TEMPORARY_NAME)
    with contextlib.closing(file):
        file.append(f"{google_crc32c.value(text):08x} ".encode() + text + b"\n")
        file.sync()
    disk.rename(_TEMPORARY_NAME, NAME)
    disk.sync_directory()


def read(disk: Disk) -> Stored:
    """What was written last; empty without a file. Raises DamagedError, OSError."""
    if NAME not in disk.list():
        return {}
    file = disk.open(NAME)
    with contextlib.closing(file):
        raw = file.read(0, _BYTES_MAX)
    checksum, _, text = raw.rstrip(b"\n").partition(b" ")
    if checksum != f"{google_crc32c.value(text):08x}".encode():
        raise DamagedError(f"{NAME}: the checksum is wrong")
    content = json.loads(text)  # its checksum is right: we wrote it
    return {origin: json.dumps(content[origin]).encode() for origin in PUBLISHED if origin in content}
