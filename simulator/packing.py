"""Frames of many devices at once as msgpack: whole columns are written, no frame is packed by itself, unless there are
but a few: numpy takes as long for one as for fifty. The bytes are the same.

A frame is a row of pieces of bytes. A piece is the same in every row but for the number in it, so numpy fills the
numbers of all rows into copies of it and lays each down where its row has got to. Numbers have the width of their
type in the catalogue, not the shortest that msgpack knows.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgpack
import numpy as np
from numpy.typing import NDArray

from simulator.arrays import Flags, Floats, Integers, Rows, Texts, where_true
from simulator.columns import Column, Table
from wire.catalogue import BY_PATH

Pieces = NDArray[np.void]

_FIXSTR: Final = 0xA0
_FIXSTR_MAX: Final = 31
_HEAD: Final = b"\x85\xa1v\x01\xa2ts\xcf"  # a map of five; v: 1; ts: a uint64
_SIGNALS: Final = b"\xa7signals\xde"  # a map whose length has two bytes
_SESSION: Final = b"\xa7session"
_SEQUENCE: Final = b"\xa3seq\xce"  # a uint32
_FRAME_BYTES: Final = len(_HEAD) + 8 + len(_SIGNALS) + 2 + len(_SESSION) + 1 + len(_SEQUENCE) + 4


_FEW: Final = 40
"""Frames of so many rows are packed one by one: it takes as long then."""
_STRUCT_OF: Final = {">f8": ">d", ">u1": ">B", ">u2": ">H", ">u4": ">I", ">i4": ">i"}


class _Form(NamedTuple):
    """How a number is written: a marker, then `number` (a numpy type) of the value plus `offset`."""

    marker: bytes
    number: str
    offset: int = 0

    @property
    def length(self) -> int:
        return len(self.marker) + np.dtype(self.number).itemsize


_FLOAT: Final = _Form(b"\xcb", ">f8")
_FLAG: Final = _Form(b"", ">u1", 0xC2)  # msgpack's false; true is the next one
_INTEGERS: Final = {
    "uint8": _Form(b"\xcc", ">u1"),
    "uint16": _Form(b"\xcd", ">u2"),
    "uint32": _Form(b"\xce", ">u4"),
    "int32": _Form(b"\xd2", ">i4"),
}


class _Variable(NamedTuple):
    """Texts of a column as msgpack, `packed`, and padded: `padded [text, longest]`, `lengths [text]`."""

    packed: list[bytes]
    padded: NDArray[np.uint8]
    lengths: Integers


class Packer:
    """Packs the columns of one table under one set of keys: paths, or catalogue numbers."""

    def __init__(
        self, table: Table, keys: Sequence[str] | Sequence[int], texts: Mapping[int, _Variable] | None = None
    ) -> None:
        """`texts` are those of another packer of the table."""
        self._forms = [_form(column) for column in table.columns]
        self.texts = texts or {
            index: _variable(table.texts[column.path])
            for index, column in enumerate(table.columns)
            if self._forms[index] is None
        }
        self._keys: list[bytes] = [msgpack.packb(key) for key in keys]
        lengths = [len(key) + (form.length if form else 0) for key, form in zip(self._keys, self._forms, strict=True)]
        self._fixed_lengths = np.array(lengths, dtype=np.int64)
        self._cells = [self._cell(column) for column in range(len(self._forms))]

    def _cell(self, column: int) -> Callable[[float], bytes]:
        """What writes one key and value of a column."""
        key, form = self._keys[column], self._forms[column]
        if form is None:
            texts = self.texts[column].packed
            return lambda value: key + texts[int(value)]
        before, offset = key + form.marker, form.offset
        number = struct.Struct(_STRUCT_OF[form.number])
        pack, kind = number.pack, float if form.number == _FLOAT.number else int
        return lambda value: before + pack(kind(value) + offset)

    def frames(self, send: Flags, values: Floats, ts_ms: int, sessions: Texts, sequences: Integers) -> list[bytes]:
        """A frame for each row of `values [rows, columns]`, with the cells where `send`."""
        if len(values) <= _FEW:
            return self._one_by_one(send, values, ts_ms, sessions.tolist(), sequences.tolist())
        session_lengths = np.char.str_len(sessions)
        assert session_lengths.max(initial=0) <= _FIXSTR_MAX
        rows = np.arange(len(values))
        assembly = Assembly(self._lengths(send, values) + session_lengths + _FRAME_BYTES)
        assembly.put(rows, _filled(_HEAD, ">u8", np.full(len(values), ts_ms)))
        assembly.put(rows, _filled(_SIGNALS, ">u2", send.sum(axis=1)))
        for column in where_true(np.asarray(send.any(axis=0))).tolist():
            chosen = where_true(send[:, column])
            self._put(assembly, column, chosen, values[chosen, column])
        for length in np.unique(session_lengths).tolist():
            chosen = where_true(session_lengths == length)
            before = _SESSION + bytes([_FIXSTR | length])
            assembly.put(chosen, _filled(before, f"S{length}", sessions[chosen].astype(f"S{length}")))
        assembly.put(rows, _filled(_SEQUENCE, ">u4", sequences))
        return assembly.rows()

    def _one_by_one(
        self, send: Flags, values: Floats, ts_ms: int, sessions: list[bytes], sequences: list[int]
    ) -> list[bytes]:
        columns, numbers = iter(np.nonzero(send)[1].tolist()), iter(values[send].tolist())
        head, frames = _HEAD + ts_ms.to_bytes(8, "big") + _SIGNALS, []
        for count, session, sequence in zip(send.sum(axis=1).tolist(), sessions, sequences, strict=True):
            parts = [head, count.to_bytes(2, "big")]
            parts += [self._cells[next(columns)](next(numbers)) for _ in range(count)]
            parts += (_SESSION, bytes([_FIXSTR | len(session)]), session, _SEQUENCE, sequence.to_bytes(4, "big"))
            frames.append(b"".join(parts))
        return frames

    def _lengths(self, send: Flags, values: Floats) -> Integers:
        lengths: Integers = send @ self._fixed_lengths
        for column, texts in self.texts.items():
            chosen = where_true(send[:, column])
            lengths[chosen] += texts.lengths[values[chosen, column].astype(np.intp)]
        return lengths

    def _put(self, assembly: "Assembly", column: int, rows: Rows, values: Floats) -> None:
        key, form = self._keys[column], self._forms[column]
        if form is not None:
            assembly.put(rows, _filled(key + form.marker, form.number, values + form.offset if form.offset else values))
            return
        texts, which = self.texts[column], values.astype(np.intp)
        lengths = texts.lengths[which]
        for length in np.unique(lengths).tolist():
            of_length = lengths == length
            packed = np.ascontiguousarray(texts.padded[which[of_length], :length])
            assembly.put(rows[of_length], _filled(key, f"V{length}", packed.view(f"V{length}").ravel()))


class Assembly:
    """Rows of bytes of known `lengths`, one after the other in one buffer."""

    def __init__(self, lengths: Integers) -> None:
        self._ends = np.cumsum(lengths)
        self._at = self._ends - lengths
        self._buffer = np.empty(int(lengths.sum()), dtype=np.uint8)

    def put(self, rows: Rows, pieces: Pieces) -> None:
        """Append one piece to each of `rows`, which are distinct."""
        size = pieces.dtype.itemsize
        # Every place of the buffer as the beginning of a piece, so that numpy copies pieces and not bytes.
        places: Pieces = np.ndarray(len(self._buffer) - size + 1, f"V{size}", self._buffer, strides=(1,))
        places[self._at[rows]] = pieces.view(f"V{size}")
        self._at[rows] += size

    def rows(self) -> list[bytes]:
        """Each row by itself, once all are complete."""
        assert (self._at == self._ends).all(), "a row has another length than announced"
        whole, ends = self._buffer.tobytes(), self._ends.tolist()
        return [whole[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]


def _form(column: Column) -> _Form | None:
    """None for texts, whose length varies."""
    if column.form == "integer":
        return _INTEGERS[BY_PATH[column.path].type]
    return {"float": _FLOAT, "flag": _FLAG}.get(column.form)


def _variable(texts: Sequence[Any]) -> _Variable:
    packed: list[bytes] = [msgpack.packb(text) for text in texts]
    lengths = np.array([len(text) for text in packed], dtype=np.int32)
    longest = int(lengths.max(initial=1))
    padded = np.array(packed, dtype=f"S{longest}")
    return _Variable(packed, padded.view(np.uint8).reshape(len(packed), longest), lengths)


def _filled(before: bytes, number: str, values: NDArray[Any]) -> Pieces:
    """A piece for each of `values`: the same bytes before, and its own number."""
    pieces: Pieces = np.empty(len(values), dtype=[("before", f"V{len(before)}"), ("number", number)])
    pieces["before"] = np.void(before)
    pieces["number"] = values
    return pieces
