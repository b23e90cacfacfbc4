"""Messages of the contract for property tests: good ones, ones with a fault, frames that are mostly good."""

import copy
import re
from typing import Any

import msgspec
from hypothesis import strategies as st

from wire import catalogue, limits, schemas

MESSAGES = [name for name in schemas.TYPES if not name.endswith("_headers")]

texts = st.text(st.characters(codec="utf-8"), max_size=12)
# integral fractions are left out: JSON Schema takes 1.0 for an integer, and the contract does not
fractions = st.floats(allow_nan=False, allow_infinity=False).filter(lambda number: not number.is_integer())
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | texts | st.binary(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts | st.integers(0, 300), inner, max_size=4),
    max_leaves=12,
)


def of_type(kind: msgspec.inspect.Type) -> st.SearchStrategy[Any]:
    """Values that a type of the contract allows, as JSON has them."""
    match kind:
        case msgspec.inspect.StructType():
            return of_struct(kind)
        case msgspec.inspect.UnionType():
            return st.one_of([of_type(choice) for choice in kind.types])
        case msgspec.inspect.LiteralType():
            return st.sampled_from(kind.values)
        case msgspec.inspect.EnumType():
            return st.sampled_from([choice.value for choice in kind.cls])
        case msgspec.inspect.IntType():
            return st.integers(kind.ge if kind.ge is not None else -(2**70), kind.le if kind.le is not None else 2**70)
        case msgspec.inspect.FloatType():
            positive = fractions.map(abs) if kind.ge is not None or kind.gt is not None else fractions
            return positive if kind.le is None else positive.map(lambda number: min(number, kind.le - 0.5))
        case msgspec.inspect.StrType():
            pattern = kind.pattern and kind.pattern.replace(r"\Z", "")
            matching = st.from_regex(re.compile(pattern), fullmatch=True) if pattern else texts
            return matching.filter(lambda text: (kind.min_length or 0) <= len(text) <= (kind.max_length or 10_000))
        case msgspec.inspect.DictType():
            keys = of_type(kind.key_type).map(str)  # JSON has no other keys
            return st.dictionaries(keys, of_type(kind.value_type), max_size=3)
        case msgspec.inspect.ListType():
            longest = min(4, kind.max_length or 4)
            return st.lists(of_type(kind.item_type), min_size=kind.min_length or 0, max_size=longest)
        case msgspec.inspect.BytesType():
            return st.just("AP8=")
        case msgspec.inspect.BoolType():
            return st.booleans()
        case msgspec.inspect.NoneType():
            return st.none()
        case msgspec.inspect.AnyType():
            return st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | fractions | texts
        case msgspec.inspect.Metadata():
            return of_type(kind.type)
    raise NotImplementedError(kind)


def of_struct(kind: msgspec.inspect.StructType) -> st.SearchStrategy[dict[str, Any]]:
    due = {field.encode_name: of_type(field.type) for field in kind.fields if field.required}
    free = {field.encode_name: of_type(field.type) for field in kind.fields if not field.required}
    if kind.tag_field is not None:
        due[kind.tag_field] = st.just(kind.tag)
    return st.fixed_dictionaries(due, optional=free)


GOOD = {name: of_type(msgspec.inspect.type_info(schemas.TYPES[name])) for name in MESSAGES}


EDGES = [
    -1, 0, 1, 1_879, 1_880, 2_200, 2_201, 2**53 - 1, 2**53, -(2**53) + 1, -(2**53),
    limits.TIME_MS_MIN - 1, limits.TIME_MS_MIN, limits.TIME_MS_MAX, limits.TIME_MS_MAX + 1,
]  # fmt: skip
"""Where the ranges of the contract end."""


@st.composite
def changed(draw: st.DrawFn, name: str) -> Any:
    """A good message with one place in it replaced, removed or added."""
    message = copy.deepcopy(draw(GOOD[name]))
    place = message
    while True:
        inner = [key for key, value in place.items() if isinstance(value, dict) and value]
        if not inner or draw(st.booleans()):
            break
        place = place[draw(st.sampled_from(inner))]
    strange = st.one_of(
        st.none(), st.booleans(), st.integers(-(2**60), 2**60), st.sampled_from(EDGES), fractions, texts,
        st.sampled_from([1, 64, 65, 256, 257, 1_024, 1_025]).map("x".__mul__), st.just([]), st.just({}),
    )  # fmt: skip
    key = draw(st.sampled_from(sorted(place)) | texts) if place else draw(texts)
    if key in place and draw(st.booleans()):
        del place[key]
    else:
        place[key] = draw(strange)
    return message


KEYS = st.sampled_from([key for number in (1, 2, 3, 5, 6, 9, 57, 63, 64) for key in (number, str(number))])
PATHS = st.sampled_from([signal.path for signal in catalogue.SIGNALS])
LIKELY = st.floats(0, 100) | st.integers(0, 100) | st.booleans() | st.sampled_from(["ON", "LOW", "x"]) | anything


@st.composite
def frame_maps(draw: st.DrawFn) -> dict[str, Any]:
    """Mostly good frames: what the quick way reads, and what it must leave to the slow way."""
    fields: dict[str, Any] = {"v": 1, "ts": draw(st.integers(1_700_000_000_000, 1_700_100_000_000))}
    fields |= draw(st.fixed_dictionaries({}, optional={"session": st.just("s1") | texts, "seq": st.integers(-1, 9)}))
    fields |= draw(st.fixed_dictionaries({}, optional={"capture": texts, "urgent": st.booleans(), "more": anything}))
    values: st.SearchStrategy[Any] = LIKELY
    if draw(st.booleans()):
        fields["dt"] = draw(st.lists(st.integers(-1_000, 1_000), min_size=1, max_size=3))
        values = st.lists(LIKELY | st.none(), min_size=len(fields["dt"]), max_size=len(fields["dt"])) | LIKELY
    return fields | {"signals": draw(st.dictionaries(KEYS | PATHS, values, max_size=5))}
