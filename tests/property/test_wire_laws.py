"""Laws of the contract: nothing raises, what is written is read, the schemas say what the code does."""

import json
import math
import re
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wire_strategies import GOOD, MESSAGES, anything, changed, frame_maps, of_type, texts
from wire import batches, codec, frames, quick, records, schemas, topics, vin
from wire.malformed import Malformed, Reason
from wire.messages import AnyEvent, Batch, Frame, plain, shaped
from wire.topics import Channel, Kind

BEGUN = st.sampled_from([b"", b'{"a":', b"\x82", b"\x81\x90", b"\x91" * 2000, b"\xdf\xff"])
"""Where JSON, maps, keys that are lists, deep nesting and long maps begin."""


@given(BEGUN, st.binary(max_size=300))
@settings(max_examples=500)
def test_no_bytes_raise(begun, rest):
    raw = begun + rest
    for read in (codec.decode, frames.decode, batches.decode, lambda raw: records.DeadLetter.read(raw, [])):
        read(raw)
    for shape in schemas.TYPES.values():
        assert isinstance(shaped(codec.decode(raw), shape), Malformed)


@given(st.dictionaries(texts | st.integers() | st.binary(max_size=3) | st.none(), anything, max_size=5))
@settings(max_examples=300)
def test_no_map_raises(value):
    try:
        raw = codec.to_msgpack(value)
    except OverflowError:  # an integer that msgpack has not
        return
    for name in MESSAGES:
        shaped(codec.decode(raw), schemas.TYPES[name])
    frame = frames.decode(raw)
    if isinstance(frame, Frame):
        frames.read(frame, frame.ts)


@given(st.dictionaries(st.sampled_from(["Vehicle.Speed", "1", 1, "57", 63, "no such"]), anything), st.data())
@settings(max_examples=300)
def test_no_value_of_a_signal_raises(signals, data):
    dt = data.draw(st.none() | st.lists(st.integers(-1_000, 1_000), min_size=1, max_size=4))
    frame = frames.decode(codec.to_msgpack({"v": 1, "ts": 1_700_000_000_000, "signals": signals, "dt": dt}))
    if isinstance(frame, Malformed):
        assert frame.reason is Reason.WRONG_SHAPE  # nested too deep
        return
    reading = frames.read(frame, frame.ts)
    assert isinstance(reading, frames.Reading)
    for sample in reading.samples:
        for value in sample.values.values():
            assert value is not None
            assert not isinstance(value, float) or math.isfinite(value)


@given(frame_maps(), st.booleans(), st.sampled_from([None, *Kind]), st.integers(-100_000_000, 100_000_000))
@settings(max_examples=1_000)
def test_the_quick_way_to_read_a_frame_gives_what_the_slow_way_gives(fields, json, kind, ahead_ms):
    raw = codec.to_json(stringified(fields)) if json else codec.to_msgpack(fields)
    received_ms = fields["ts"] + ahead_ms
    frame = frames.decode(raw)
    slowly = frame if isinstance(frame, Malformed) else frames.read(frame, received_ms, kind)
    assert repr(frames.open_payload(raw, received_ms, kind)) == repr(slowly)


def stringified(fields):
    return fields | {"signals": {str(key): value for key, value in fields["signals"].items()}}


@given(changed("batch") | GOOD["batch"])
@settings(max_examples=500)
def test_the_quick_way_to_read_a_batch_gives_what_the_slow_way_gives(fields):
    try:
        raw = codec.to_msgpack(fields)
    except OverflowError:  # an integer that msgpack has not
        return
    quickly, slowly = quick.batch(raw, 10**6), shaped(codec.decode(raw, 10**6), Batch)
    assert quickly == slowly or quickly is None or fields.keys() - set(Batch.__struct_fields__)


@pytest.mark.parametrize("key", ["Vehicle.Speed", 1, "1"])
@pytest.mark.parametrize("encode", [codec.to_msgpack, codec.to_json])
def test_what_is_well_formed_is_read_quickly(key, encode):
    signals = {key: 50.0} if encode is codec.to_msgpack else {str(key): 50.0}
    frame = quick.frame(encode({"v": 1, "ts": 1_700_000_000_000, "session": "a.b:c-1", "seq": 1, "signals": signals}))
    assert frame is not None
    assert quick.values(frame.signals, Kind.VEHICLE) == {1: 50.0}
    batch = Batch(1, Kind.VEHICLE, "car-1", Channel.SIGNALS, "g", "e", 0, [0], [0], [b"x"])
    assert quick.batch(batches.encode(batch), 10**6) == batch


@given(st.dictionaries(texts, anything, max_size=5))
def test_msgpack_round_trip(value):
    decoded = codec.decode(codec.to_msgpack(value))
    assert isinstance(decoded, Malformed) or repr(decoded) == repr(value)  # repr: NaN differs from itself


@pytest.mark.parametrize("encode", [codec.to_msgpack, codec.to_json])
@pytest.mark.parametrize("name", MESSAGES)
@given(data=st.data())
@settings(max_examples=30)
def test_every_message_round_trips(name, encode, data):
    message = shaped(data.draw(GOOD[name]), schemas.TYPES[name])
    assert isinstance(message, msgspec.Struct), message
    assert shaped(codec.decode(encode(plain(message)), 2**20), schemas.TYPES[name]) == message


@given(of_type(msgspec.inspect.type_info(Batch)), st.lists(st.binary(max_size=50), min_size=1, max_size=5))
def test_the_bytes_in_a_batch_are_those_of_the_device(fields, payloads):
    many = {"payloads": payloads, "sequence_offsets": [0] * len(payloads), "received_ms": [0] * len(payloads)}
    batch = shaped({**fields, **many}, Batch)
    assert isinstance(batch, Batch)
    assert batches.decode(batches.encode(batch)) == batch


@given(st.text(), st.text(), st.binary(max_size=50), st.integers(0, 4_102_444_799_999), st.sampled_from(list(Reason)))
def test_dead_letters_round_trip(detail, origin, raw, time_ms, reason):
    letter = records.DeadLetter.of(raw, Malformed(reason, detail), origin, time_ms)
    read = records.DeadLetter.read(letter.value, letter.headers())
    replaced = {name: getattr(letter, name).encode("utf-8", "replace").decode() for name in ("detail", "origin")}
    assert read == letter._replace(**replaced)


@given(st.lists(st.tuples(st.sampled_from(["dlq_reason", "dlq_time_ms", "dlq_size", "ce_subject"]), st.binary())))
def test_no_headers_raise(headers):
    letter = records.DeadLetter.read(None, headers)
    records.iso_time(letter.time_ms)


@given(st.text(max_size=40) | st.from_regex(r"\A(dt|state)/fleet/(vehicle|station|x)/[a-zA-Z0-9#-]{0,5}/\w{0,10}\Z"))
def test_a_topic_is_refused_or_is_what_we_would_write(topic):
    address = topics.parse_mqtt_topic(topic)
    assert isinstance(address, Malformed) or topics.mqtt_topic(*address) == topic


@given(st.from_regex(r"\A[0-9A-HJ-NPR-Z]{13}[0-9]{4}\Z"), st.integers(0, 16), st.sampled_from("0123456789ABCXYZ"))
def test_exactly_one_check_digit_is_right(number, position, character):
    right = number[:8] + vin.check_digit(number) + number[9:]
    assert vin.fault(right) is None
    wrong = right[:position] + character + right[position + 1 :]
    if wrong != right and position == 8:
        assert vin.fault(wrong) is not None


@given(st.text())
def test_no_text_raises_as_a_vin(text):
    vin.fault(text)


@pytest.mark.parametrize("name", MESSAGES)
@given(data=st.data())
@settings(max_examples=150)
def test_wire_and_schema_refuse_the_same(name, data):
    """But for what a schema cannot say: whether base64 is base64, and an integer beyond 2^53 where any number may
    stand."""
    message = data.draw(changed(name))
    value = json.loads(json.dumps(message))
    shape = schemas.TYPES[name]
    read = shaped(value, AnyEvent if name.endswith("_event") else shape)  # as the services read events
    accepted = isinstance(read, shape) if isinstance(shape, type) else not isinstance(read, Malformed)
    if not accepted and (name == "batch" or holds_huge_integer(value)):
        return
    faults = [fault.message for fault in VALIDATORS[name].iter_errors(value)]
    assert accepted == (not faults), faults


def holds_huge_integer(value: Any) -> bool:
    if isinstance(value, dict):
        return any(holds_huge_integer(item) for item in value.values())
    return type(value) is int and abs(value) >= 2**53


def ecma_pattern(_validator: Any, pattern: str, text: Any, _schema: Any) -> Any:
    """`$` is the end of the text in ECMA-262, as JSON Schema has it; in Python also what is before a last line end."""
    exact = pattern[:-1] + r"\Z" if pattern.endswith("$") else pattern
    if isinstance(text, str) and re.search(exact, text) is None:
        yield jsonschema.ValidationError(f"{text!r} does not match {pattern}")


VALIDATORS = {
    name: jsonschema.validators.extend(jsonschema.Draft202012Validator, {"pattern": ecma_pattern})(schemas.schema(name))
    for name in MESSAGES
}
