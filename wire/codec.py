"""Bytes to plain values and back: msgpack or JSON, within limits, without exceptions for bad input."""

from collections.abc import Iterable
from typing import Any, Final

import msgpack
import msgspec

from wire import limits
from wire.malformed import Malformed, Reason

CONTENT_TYPE_MSGPACK: Final = "application/msgpack"
CONTENT_TYPE_JSON: Final = "application/json"

JSON_FIRST_BYTES: Final = frozenset(b"{ \t\r\n")
_json_decode = msgspec.json.Decoder().decode
_json_encode = msgspec.json.Encoder().encode


def to_msgpack(value: object) -> bytes:
    """Encode plain values (None, bool, int, float, str, bytes, list, dict) as msgpack."""
    packed: bytes = msgpack.packb(value, use_bin_type=True)
    return packed


def to_json(value: object) -> bytes:
    """Encode plain values as JSON."""
    return _json_encode(value)


def decode(raw: bytes, bytes_max: int = limits.PAYLOAD_BYTES_MAX) -> Any | Malformed:
    """Decode one message; JSON when it begins like a JSON object, else msgpack.

    No msgpack map begins with a byte that may begin a JSON object, so the first byte is enough.
    Text that is not UTF-8, NaN in JSON, msgpack extensions, msgpack lists that declare more than any message
    holds, trailing bytes, nesting beyond the limit: `Malformed`.
    """
    if len(raw) > bytes_max:
        return Malformed(Reason.TOO_LARGE, f"{len(raw)} bytes, limit {bytes_max}")
    if not raw:
        return Malformed(Reason.NOT_DECODABLE, "empty payload")
    try:
        if raw[0] in JSON_FIRST_BYTES:
            value = _json_decode(raw)
        else:
            value = msgpack.unpackb(
                raw,
                strict_map_key=False,
                max_array_len=limits.ARRAY_ITEMS_MAX,
                max_ext_len=0,
                ext_hook=_refuse_extension,
            )
    # unpackb documents ValueError and its subclasses, but also lets TypeError (unhashable map key),
    # struct errors and RecursionError out for hostile input.
    except Exception as error:
        return Malformed(Reason.NOT_DECODABLE, f"{type(error).__name__}: {str(error)[:200]}")
    if too_deep(value, limits.NESTING_MAX):
        return Malformed(Reason.WRONG_SHAPE, f"nested deeper than {limits.NESTING_MAX}")
    return value


def _refuse_extension(code: int, _data: bytes) -> object:
    """`max_ext_len=0` still lets an empty extension in, as a type of value that nothing here expects."""
    raise ValueError(f"extension type {code}")


def too_deep(value: object, levels: int) -> bool:
    """Whether `value` nests lists and maps deeper than `levels`."""
    if isinstance(value, dict):
        items: Iterable[object] = value.values()
    elif isinstance(value, list):
        items = value
    else:
        return False
    return levels == 0 or any(too_deep(item, levels - 1) for item in items if isinstance(item, (dict, list)))
