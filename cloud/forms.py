"""Documents as forms with blanks: what a write of a twin sends differs from the last one only in numbers, which stand
at the same places in the bytes. Pure.

A form is found by walking one such document. Another one fits when its bytes are the same wherever it says what stands
where: types, names, lengths. What else stands there (a session's name, other windows, counters) stays as it is.
"""

import struct
from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any, Final, NamedTuple

from msgspec import Struct

from cloud import leaves, skeleton
from cloud.search import STEPS
from wire import catalogue
from wire.catalogue import Value

FORMS_MAX: Final = 500
"""Forms kept; beyond that they are found anew."""
_WALKS_AT_ONCE: Final = 50
_WALKS: Final = 0.02
"""Walks for each document that fits nothing known: one takes 300 µs."""

_NUMBERS: Final[Mapping[int, str]] = {
    skeleton.DOUBLE: "<f8",
    skeleton.FLAG: "<u1",
    skeleton.DATE: "<i8",
    skeleton.INTEGER: "<i4",
    skeleton.LONG: "<i8",
}
"""BSON type → how numpy calls the number."""
_CODES: Final = {"<f8": "d", "<u1": "?", "<i8": "q", "<i4": "i"}
"""numpy's type → how `struct` calls it."""
_DUE: Final[Mapping[str, tuple[str, ...]]] = {
    "float": ("<f8",),
    "double": ("<f8",),
    "boolean": ("<u1",),
    "uint8": ("<i4",),
    "uint16": ("<i4",),
    "int32": ("<i4",),
    "uint32": ("<i4", "<i8"),
    "string": (),
    "string[]": (),
}
"""Catalogue type → how its numbers are stored, see `leaves`."""


class Blank(NamedTuple):
    """Where a number stands; `number`: its numpy type."""

    at: int
    number: str


class Numbers(NamedTuple):
    """What stands in a document's blanks; `values` by catalogue number, `ts_ms`: their time."""

    revision: int
    frames: int
    samples: int
    heard: int
    offset: int
    next: int
    newest_ms: int
    last_seen_ms: int
    ts_ms: int
    values: dict[int, Value]


class Form:
    """The blanks of documents of `length` bytes; `values` by catalogue number, `texts` are signals without blank.

    `place`, `window`: which of the twin's positions and windows, counted from 0, move with these frames. Raises
    `LookupError` for a document that is no such form. `popular`: many twins have it.
    """

    popular = False

    def __init__(self, raw: bytes, place: int, window: int) -> None:
        found, says = skeleton.walk(raw)
        self.length = len(raw)
        self._says = int.from_bytes(says, "little")
        self._said = int.from_bytes(raw, "little") & self._says
        blanks = {path: Blank(at, _NUMBERS[type_]) for path, (type_, at) in found.items() if type_ in _NUMBERS}
        signals = {path[1:-1]: path for path in found if path[0] == "signals" and path[-1] == "value"}
        numbers = {_number(steps): path for steps, path in signals.items()}
        self.values = {number: blanks[path] for number, path in numbers.items() if path in blanks}
        self.texts = tuple(number for number, path in numbers.items() if path not in blanks)
        self.times = [blanks["signals", *steps, "ts"] for steps in signals]
        at, seen = ("fold", "positions", str(place)), ("fold", "windows", str(window))
        self.revision, self.heard = blanks["revision",], blanks["fold", "heard"]
        self.frames, self.samples = blanks["counters", "frames"], blanks["counters", "samples"]
        self.offset, self.next, self.newest_ms = blanks[*at, "3"], blanks[*seen, "3"], blanks[*seen, "4"]
        self.last_seen = blanks["connection.last_seen",]
        self.location = [blanks[path] for path in blanks if path[:2] == ("location", "coordinates")]
        """Longitude and latitude, or nothing."""
        self._check()
        mine = [self.revision, self.frames, self.samples, self.heard, self.offset, self.next, self.newest_ms]
        self._read = _reader([*mine, self.last_seen, self.times[0], *self.values.values()])
        self.searched = [number for number in self.values if number in STEPS]
        """Those of its values that have coarse copies."""

    def _check(self) -> None:
        if any(blank.number != "<i8" for blank in (*self.times, self.newest_ms, self.last_seen)):
            raise LookupError("a time without a value")
        if any(blank.number != "<f8" for blank in self.location):
            raise LookupError("a place in whole degrees")
        for number, blank in self.values.items():
            if blank.number not in _DUE[catalogue.BY_NUMBER[number].type]:
                raise LookupError("a value from before its signal changed its type")

    def read(self, raw: bytes) -> Numbers:
        """The numbers of one document."""
        numbers = self._read(raw)
        return Numbers._make((*numbers[:9], dict(zip(self.values, numbers[9:], strict=True))))

    def fits(self, raw: bytes) -> bool:
        """Whether this document has its numbers at the same places."""
        return len(raw) == self.length and int.from_bytes(raw, "little") & self._says == self._said


class Forms:
    """Finds the form of a document; remembers forms. A fleet of which no two documents are alike does not make it walk
    through each: only a few of so many."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int, int], list[Form]] = {}
        self._count = 0
        self._allowance = float(_WALKS_AT_ONCE)

    def of(self, raw: bytes, place: int, window: int) -> Form | None:
        """None: this document is none, or was not looked at."""
        for form in self._known.get((len(raw), place, window), ()):
            if form.fits(raw):
                return form
        self._allowance = min(_WALKS_AT_ONCE, self._allowance + _WALKS)
        if self._allowance < 1:
            return None
        self._allowance -= 1
        try:
            made = Form(raw, place, window)
        except LookupError:
            return None
        if self._count >= FORMS_MAX:
            self._known.clear()
            self._count = 0
        self._known.setdefault((len(raw), place, window), []).append(made)
        self._count += 1
        return made


def _reader(blanks: list[Blank]) -> Callable[[bytes], tuple[Any, ...]]:
    """What reads these numbers from a document, in one go."""
    pattern, behind = "<", 0
    for blank in sorted(blanks):
        pattern += f"{blank.at - behind}x{_CODES[blank.number]}"
        behind = blank.at + struct.calcsize(f"<{_CODES[blank.number]}")
    unpack, chosen = struct.Struct(pattern).unpack_from, itemgetter(*map(sorted(blanks).index, blanks))
    return lambda raw: chosen(unpack(raw))


def _number(steps: skeleton.Path) -> int:
    node: Any = leaves.TREE
    for step in steps:
        node = node[step]
    assert isinstance(node, int)
    return node


Sender = tuple[int, str, str, str]
"""Partition, the topic's id, session, gateway: while these are the same, only numbers change."""


class Filled(Struct):
    """A form, filled in: `raw` is the document as it was written last.

    `copies`: the numbers that questions find it by (float64, in the order of `searched`), longitude and latitude, when
    it was seen; `codes`: its texts as detectors see them. `size_bytes`: see `Change`.
    """

    form: Form
    raw: bytes
    sender: Sender
    texts: list[Value]
    copies: bytes
    codes: bytes
    size_bytes: int
