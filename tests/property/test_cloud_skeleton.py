"""Where things stand in a document, against what the driver reads there."""

import struct
from typing import Any

import bson
from bson.datetime_ms import DatetimeMS
from bson.int64 import Int64
from hypothesis import given
from hypothesis import strategies as st

from cloud import skeleton
from tests.plain_world import AS_MS

NAMES = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=5)
TIMES = st.integers(0, 4 * 10**12).map(DatetimeMS)
NUMBERS = st.integers(-(2**31), 2**31 - 1) | st.integers(2**31, 2**53) | st.floats(allow_nan=False) | st.booleans()
LEAVES = NUMBERS | st.none() | TIMES | st.text(max_size=5)
DOCUMENTS: st.SearchStrategy[dict[str, Any]] = st.dictionaries(
    NAMES,
    st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3)),
    max_size=5,
)
_READ = {skeleton.DOUBLE: "<d", skeleton.FLAG: "<?", skeleton.DATE: "<q", skeleton.INTEGER: "<i", skeleton.LONG: "<q"}


def _leaves(value: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Containers, too, as themselves."""
    found: dict[tuple[str, ...], Any] = {path: value} if path else {}
    if isinstance(value, list):
        value = {str(place): item for place, item in enumerate(value)}
    if isinstance(value, dict):
        for name, inner in value.items():
            found |= _leaves(inner, (*path, name))
    return found


@given(DOCUMENTS)
def test_every_number_is_found_where_it_stands(document: dict[str, Any]) -> None:
    raw = bson.encode(document)
    found, says = skeleton.walk(raw)
    leaves = _leaves(bson.decode(raw, AS_MS))
    assert found.keys() == leaves.keys()
    assert len(says) == len(raw)
    for path, (type_, at) in found.items():
        if type_ not in _READ:
            continue
        (number,) = struct.unpack_from(_READ[type_], raw, at)
        value = leaves[path]
        assert number == (int(value) if isinstance(value, DatetimeMS) else value)
        assert not any(says[at : at + struct.calcsize(_READ[type_])]), "what changes says nothing"


@given(DOCUMENTS, DOCUMENTS)
def test_documents_that_say_the_same_have_everything_at_the_same_places(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    for changed in (other, _with_other_numbers(one)):
        first, second = bson.encode(one), bson.encode(changed)
        found, says = skeleton.walk(first)
        same = len(first) == len(second) and all(
            not told or mine == theirs for told, mine, theirs in zip(says, first, second, strict=True)
        )
        assert same == (skeleton.walk(second) == (found, says) and len(first) == len(second))


def _with_other_numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _with_other_numbers(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_with_other_numbers(inner) for inner in value]
    if isinstance(value, bool):
        return not value
    if isinstance(value, Int64) or (isinstance(value, int) and value > 2**31):
        return value + 1
    return 17 if isinstance(value, int) else value + 0.5 if isinstance(value, float) else value
