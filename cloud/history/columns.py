"""Columns of values to bytes and back. Pure.

A column is one msgpack array whose first item names its form:

    ["m", values]                                         as they are: short columns
    ["i", count, scale, order, width, bases, body]        whole numbers, divided by 10^scale
    ["f", count, width, body]                             IEEE 754, little-endian
    ["t", table, column]                                  texts or lists of texts: column of positions in table

"i": the numbers were replaced `order` times by their differences (0, 1 or 2; arithmetic wraps at 64 bits); `bases`
holds the first number of each time, the body the rest as signed little-endian integers of `width` bytes.
Bodies are byte planes (all first bytes, then all second bytes …) in one zstd frame.

Fixed widths and not varints: an array operation reads a whole column, and zstd finds what a varint would save.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgpack
import numpy as np
import zstandard
from numpy.typing import NDArray

from wire.catalogue import Value

Column = NDArray[Any]
"""int64, float64 or object (texts, lists of texts), one dimension."""

SHORT: Final = 32
"""Up to so many values stay as they are: an array operation costs more than it saves."""

_SCALES: Final = range(7)
_EXACT: Final = 2.0**53
_LEVEL: Final = 3


def encode(column: Column) -> bytes:
    """Bytes that `decode` turns into an equal column."""
    if len(column) <= SHORT:
        return _packed(["m", column.tolist()])
    if column.dtype == object:
        return _packed(_texts(column.tolist()))
    if column.dtype == np.int64:
        return _packed(_integers(column, 0))
    return _packed(_floats(column))


def encode_short(values: Sequence[Value]) -> bytes:
    """The same for values that are no array yet, whatever their number."""
    return _packed(["m", values])


def decode(raw: bytes, dtype: type) -> Column:
    """The column in `raw` as int64, float64 or object."""
    form, *fields = msgpack.unpackb(raw)
    if form == "m":
        return array(fields[0], dtype)
    if form == "t":
        table, positions = fields
        return array(table, object)[decode(positions, np.int64)]
    if form == "f":
        count, width, body = fields
        return _planes(body, count, f"<f{width}").astype(dtype)
    count, scale, order, width, bases, body = fields
    numbers = _planes(body, count - order, f"<i{width}").astype(np.int64)
    for base in reversed(bases):
        numbers = np.cumsum(np.concatenate((np.array([base], dtype=np.int64), numbers)))
    return numbers.astype(dtype) if scale == 0 else (numbers / 10.0**scale).astype(dtype)


def _packed(fields: list[Any]) -> bytes:
    return bytes(msgpack.packb(fields))


def array(values: Sequence[Any], dtype: type) -> Column:
    """A column from plain values."""
    if dtype is not object:
        return np.array(values, dtype=dtype)
    column = np.empty(len(values), dtype=object)
    for place, value in enumerate(values):  # as a whole, lists of texts would become a matrix
        column[place] = value
    return column


def _texts(values: list[Any]) -> list[Any]:
    keys = [tuple(value) if isinstance(value, list) else value for value in values]
    place = {key: position for position, key in enumerate(dict.fromkeys(keys))}
    table = [list(key) if isinstance(key, tuple) else key for key in place]
    return ["t", table, encode(np.array([place[key] for key in keys], dtype=np.int64))]


def _integers(numbers: NDArray[np.int64], scale: int) -> list[Any]:
    bases: list[int] = []
    best, order = numbers, 0
    rest = numbers
    for _ in range(2):
        bases.append(int(rest[0]))
        rest = np.diff(rest)
        if _width(rest) < _width(best) or (_width(rest) == _width(best) and _spread(rest) < _spread(best)):
            best, order = rest, len(bases)
    width = _width(best)
    return ["i", len(numbers), scale, order, width, bases[:order], _body(best.astype(f"<i{width}"))]


def _width(numbers: NDArray[np.int64]) -> int:
    if not len(numbers):
        return 1
    low, high = int(numbers.min()), int(numbers.max())
    return next(width for width in (1, 2, 4, 8) if -(2 ** (8 * width - 1)) <= low and high < 2 ** (8 * width - 1))


def _spread(numbers: NDArray[np.int64]) -> float:
    """About how much there is to say: the mean distance from 0."""
    return float(np.abs(numbers.astype(np.float64)).mean()) if len(numbers) else 0.0


def _floats(values: NDArray[np.float64]) -> list[Any]:
    """Decimal fractions become whole numbers where that is exact (of −0 the sign is lost)."""
    with np.errstate(over="ignore"):  # what is too large for a form is kept in another
        for scale in _SCALES:
            factor = 10.0**scale
            scaled = np.rint(values * factor)
            if np.abs(scaled).max() >= _EXACT:
                break
            numbers = scaled.astype(np.int64)
            if np.array_equal(numbers / factor, values):
                return _integers(numbers, scale)
        narrow = values.astype("<f4")
        exact = np.array_equal(narrow.astype(np.float64), values)
        return ["f", len(values), 4, _body(narrow)] if exact else ["f", len(values), 8, _body(values.astype("<f8"))]


def _body(column: Column) -> bytes:
    planes = column.view(np.uint8).reshape(len(column), column.dtype.itemsize).T
    return zstandard.compress(planes.tobytes(), _LEVEL)


def _planes(body: bytes, count: int, dtype: str) -> Column:
    width = np.dtype(dtype).itemsize
    raw = zstandard.decompress(body, max_output_size=count * width)
    return np.ascontiguousarray(np.frombuffer(raw, np.uint8).reshape(width, count).T).view(dtype).reshape(count)
