"""The quick way to write signals gives the bytes of the plain way."""

from typing import Any

import bson
from bson.codec_options import CodecOptions, DatetimeConversion
from hypothesis import given
from hypothesis import strategies as st

from cloud import leaves, twin
from cloud.leaves import Leaves
from cloud.twin import Twin
from wire import catalogue
from wire.catalogue import Signal
from wire.topics import Kind

AS_MS: CodecOptions[dict[str, Any]] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_MS)
INTEGERS = {"uint8": 2**8 - 1, "uint16": 2**16 - 1, "uint32": 2**32 - 1, "int32": 2**31 - 1}


def value_of(signal: Signal) -> st.SearchStrategy[Any]:
    if signal.type in INTEGERS:
        return st.integers(0, INTEGERS[signal.type])
    simple = {"boolean": st.booleans(), "string[]": st.lists(st.text(max_size=9), max_size=12)}
    if signal.type in simple:
        return simple[signal.type]
    if signal.allowed:
        return st.sampled_from(sorted(signal.allowed))
    return st.text(max_size=20) if signal.type == "string" else st.floats(allow_nan=False)


KEPT = Leaves()


@given(st.data(), st.sets(st.sampled_from(catalogue.SIGNALS), max_size=30), st.sampled_from([KEPT, Leaves()]))
def test_signals_are_encoded_as_the_driver_encodes_them(
    data: st.DataObject, signals: set[Signal], kept: Leaves
) -> None:
    asset = Twin("a", Kind.VEHICLE)
    for signal in signals:
        asset.take(data.draw(st.integers(0, 4_102_444_799_999)), {signal.number: data.draw(value_of(signal))})
    plainly = bson.encode(twin.fold_fields(asset, 1)["signals"])
    assert kept.encode(asset.values, asset.moment_ms, asset.times) == plainly
    again = twin.from_document(twin.new_document("a", Kind.VEHICLE) | {"signals": bson.decode(plainly, AS_MS)})
    assert (again.signals, again.newest_ms) == (asset.signals, asset.newest_ms)


def test_layouts_are_forgotten_beyond_their_limit(monkeypatch: Any) -> None:
    monkeypatch.setattr(leaves, "LAYOUTS_MAX", 3)
    kept = Leaves()
    for number in range(1, 9):
        for text in ("a", "bb", "ccc", "dddd"):
            values = {number: 1.0 if number != 5 else text}
            if catalogue.BY_NUMBER[number].type in ("float", "string"):
                assert bson.decode(kept.encode(values, 1, {}))
    assert len(kept._layouts) <= 3
    assert all(len(layout.packers) <= 3 for layout in kept._layouts.values())
