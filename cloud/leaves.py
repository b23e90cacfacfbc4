"""The `signals` of a twin as BSON bytes, without plain values in between.

Twins of the same signals differ only in values and times, which lie at the same places in the bytes. So for each set
of signals there is a layout, constant bytes and places, filled by one `struct.pack`: 4 µs for 20 signals, where
nested dictionaries and their encoding take 35. What varies in length (texts, lists, and integers that may need 64
bits) is encoded first, and its lengths choose among the packers of a layout.
"""

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import bson

from wire import catalogue
from wire.catalogue import Value

LAYOUTS_MAX: Final = 2_000
"""Layouts kept, and packers of one; beyond that they are made anew: devices that differ so much gain nothing here."""

Values = Mapping[int, Value]
Times = Mapping[int, int]
Fragment = Callable[[Any], bytes]

_INT32: Final = struct.Struct("<i")
_INT64: Final = struct.Struct("<q")
_INT32_MAX: Final = 2**31 - 1
_FIXED: Final[Mapping[str, tuple[bytes, str]]] = MappingProxyType(
    {
        "float": (b"\x01", "d"),
        "double": (b"\x01", "d"),
        "boolean": (b"\x08", "?"),
        "uint8": (b"\x10", "i"),
        "uint16": (b"\x10", "i"),
        "int32": (b"\x10", "i"),
    }
)
"""Catalogue type → BSON type and how it is packed, where every value takes the same room."""


def tree_of(leaves: Mapping[int, Any]) -> dict[str, Any]:
    """Leaves by catalogue number as nested dictionaries, by path."""
    root: dict[str, Any] = {}
    for number, leaf in leaves.items():
        *branches, name = _STEPS[number]
        node = root
        for branch in branches:
            node = node.setdefault(branch, {})
        node[name] = leaf
    return root


def _walk(node: Mapping[str, Any]) -> Iterator[int]:
    for child in node.values():
        if isinstance(child, int):
            yield child
        else:
            yield from _walk(child)


_STEPS: Final = {signal.number: tuple(signal.path.split(".")) for signal in catalogue.SIGNALS}
TREE: Final = tree_of({number: number for number in _STEPS})
RANK: Final[Mapping[int, int]] = MappingProxyType({number: rank for rank, number in enumerate(_walk(TREE))})
"""Catalogue number → place in the tree of all signals, branch after branch: the order of a document's bytes."""


class _Packer(NamedTuple):
    """`arguments`: constant bytes with two empty places, value and time, between each two."""

    pack: Callable[..., bytes]
    arguments: list[Any]


class _Layout(NamedTuple):
    numbers: Sequence[int]
    """In the order of the bytes."""
    variable: list[tuple[int, Fragment]]
    """Place of a signal among the numbers, and what encodes its value."""
    packers: dict[tuple[int, ...], _Packer]


class Leaves:
    """Encodes signals; remembers layouts."""

    def __init__(self) -> None:
        self._layouts: dict[tuple[int, ...], _Layout] = {}

    def encode(self, values: Values, moment_ms: int, times: Times) -> bytes:
        """The VSS tree, each leaf `{value, ts}`; by catalogue number. A time that `times` lacks is `moment_ms`.

        Raises `struct.error` or `TypeError` where a value is not of its signal's type.
        """
        layout = self._layout(tuple(values))
        given: list[Any] = [values[number] for number in layout.numbers]
        for place, fragment in layout.variable:
            given[place] = fragment(given[place])
        lengths = tuple([len(given[place]) for place, _ in layout.variable])
        packer = layout.packers.get(lengths) or _packer(layout, lengths)
        arguments = packer.arguments.copy()
        arguments[1::4] = given
        arguments[3::4] = (
            [times.get(number, moment_ms) for number in layout.numbers] if times else [moment_ms] * len(given)
        )
        return packer.pack(*arguments)

    def _layout(self, numbers: tuple[int, ...]) -> _Layout:
        layout = self._layouts.get(numbers)
        if layout is not None:
            return layout
        if len(self._layouts) >= LAYOUTS_MAX:
            self._layouts.clear()
        ordered = sorted(numbers, key=RANK.__getitem__)
        types = [catalogue.BY_NUMBER[number].type for number in ordered]
        variable = [(place, _FRAGMENTS[type_]) for place, type_ in enumerate(types) if type_ not in _FIXED]
        layout = self._layouts[numbers] = _Layout(ordered, variable, {})
        return layout


def _packer(layout: _Layout, lengths: tuple[int, ...]) -> _Packer:
    if len(layout.packers) >= LAYOUTS_MAX:
        layout.packers.clear()
    length_of = dict(zip((layout.numbers[place] for place, _ in layout.variable), lengths, strict=True))
    tree = tree_of({number: number for number in layout.numbers})
    constants: list[bytes] = [b""]
    kinds: list[str] = []
    order: list[int] = []
    _emit(tree, length_of, constants, kinds, order)
    assert order == layout.numbers
    words = [f"{len(constant)}s" for constant in constants]
    pattern = "<" + words[0] + "".join(kind + word for kind, word in zip(kinds, words[1:], strict=True))
    arguments: list[Any] = [None] * (2 * len(constants) - 1)
    arguments[0::2] = constants
    packer = layout.packers[lengths] = _Packer(struct.Struct(pattern).pack, arguments)
    return packer


def _emit(
    node: Mapping[str, Any], length_of: Mapping[int, int], constants: list[bytes], kinds: list[str], order: list[int]
) -> int:
    """Append a document's bytes; returns how many. The length in front is filled in when it is known."""
    start = len(constants) - 1
    ahead = len(constants[start])
    constants[start] += b"\0\0\0\0"
    size = 5
    for name, child in node.items():
        head = b"\x03" + name.encode() + b"\0"
        constants[-1] += head
        inner = (
            _emit(child, length_of, constants, kinds, order)
            if isinstance(child, dict)
            else _emit_leaf(child, length_of, constants, kinds, order)
        )
        size += len(head) + inner
    constants[-1] += b"\0"
    filled = constants[start]
    constants[start] = filled[:ahead] + _INT32.pack(size) + filled[ahead + 4 :]
    return size


def _emit_leaf(
    number: int, length_of: Mapping[int, int], constants: list[bytes], kinds: list[str], order: list[int]
) -> int:
    type_, kind = _kind(number, length_of.get(number, 0))
    size = 4 + 7 + struct.calcsize(f"<{kind}") + 4 + 8 + 1
    constants[-1] += _INT32.pack(size) + type_ + b"value\0"
    kinds.append(kind)
    constants.append(b"\x09ts\0")
    kinds.append("q")
    constants.append(b"\0")
    order.append(number)
    return size


def _kind(number: int, length: int) -> tuple[bytes, str]:
    type_ = catalogue.BY_NUMBER[number].type
    if type_ in _FIXED:
        return _FIXED[type_]
    code = {"string": b"\x02", "string[]": b"\x04"}.get(type_) or (b"\x10" if length == _INT32.size else b"\x12")
    return code, f"{length}s"


def _text(value: str) -> bytes:
    encoded = value.encode()
    return _INT32.pack(len(encoded) + 1) + encoded + b"\0"


def _texts(value: list[str]) -> bytes:
    return bson.encode({str(place): text for place, text in enumerate(value)})


def _integer(value: int) -> bytes:
    """As small as it can be, as drivers do."""
    return _INT32.pack(value) if value <= _INT32_MAX else _INT64.pack(value)


_FRAGMENTS: Final[Mapping[str, Fragment]] = MappingProxyType({"string": _text, "string[]": _texts, "uint32": _integer})
