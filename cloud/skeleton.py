"""What stands where in a BSON document. Pure.

[BSON] A document: its length, elements, a NUL. An element: its type, its name, a NUL, its value.
"""

import struct
from typing import Final

_INT32: Final = struct.Struct("<i")
DOUBLE, _TEXT, _MAP, _LIST, FLAG, DATE, _NULL, INTEGER, LONG = 0x01, 0x02, 0x03, 0x04, 0x08, 0x09, 0x0A, 0x10, 0x12
"""Types of values."""
_WIDTHS: Final = {DOUBLE: 8, FLAG: 1, DATE: 8, _NULL: 0, INTEGER: 4, LONG: 8}

Path = tuple[str, ...]
Places = dict[Path, tuple[int, int]]
"""Names, from the outermost → type and place of the value."""


def walk(raw: bytes) -> tuple[Places, bytes]:
    """Where each value stands, and a mask of the bytes that say what stands where: types, names and lengths.

    Raises `LookupError` for what twins do not have.
    """
    found: Places = {}
    says = bytearray(len(raw))
    if _walk(raw, 0, (), found, says) != len(raw):
        raise LookupError("bytes behind the document")
    return found, bytes(says)


def _walk(raw: bytes, at: int, path: Path, found: Places, says: bytearray) -> int:
    """Note where each value stands, and which bytes say so (255); returns the place behind the document at `at`."""
    size: int = _INT32.unpack_from(raw, at)[0]
    end = at + size
    _mark(says, at, at + 4)
    at += 4
    while raw[at]:
        type_, named = raw[at], raw.index(0, at + 1)
        name, value = raw[at + 1 : named].decode(), named + 1
        _mark(says, at, value)
        found[*path, name] = (type_, value)
        if type_ in (_MAP, _LIST):
            at = _walk(raw, value, (*path, name), found, says)
        elif type_ == _TEXT:
            _mark(says, value, value + 4)
            at = value + 4 + _INT32.unpack_from(raw, value)[0]
        else:
            at = value + _WIDTHS[type_]
    _mark(says, at, at + 1)
    if at + 1 != end:
        raise LookupError("the document's length is another")
    return end


def _mark(says: bytearray, first: int, end: int) -> None:
    says[first:end] = b"\xff" * (end - first)
