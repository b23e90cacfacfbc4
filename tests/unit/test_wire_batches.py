"""A batch as the value of a Kafka record."""

import pytest

from wire import batches, codec, limits
from wire.malformed import Malformed, Reason
from wire.messages import Batch, plain
from wire.topics import Channel, Kind


def batch(frames: int = 2, **changes) -> Batch:
    given = {
        "v": 1,
        "kind": Kind.VEHICLE,
        "asset_id": "car-1",
        "channel": Channel.SIGNALS,
        "gateway": "gw-1",
        "epoch": "e1",
        "first_sequence": 10,
        "sequence_offsets": list(range(frames)),
        "received_ms": [1_700_000_000_000] * frames,
        "payloads": [b"\x00\xff"] * frames,
    }
    return Batch(**{**given, **changes})


def refused(value: bytes) -> Malformed:
    decoded = batches.decode(value)
    assert isinstance(decoded, Malformed), decoded
    return decoded


def with_(**changes) -> bytes:
    return codec.to_msgpack({**plain(batch()), **changes})


def test_a_batch_is_read_as_it_was_written():
    assert batches.decode(batches.encode(batch())) == batch()


@pytest.mark.parametrize("frames", [1, 15, 16, 200, limits.BATCH_FRAMES_MAX])
@pytest.mark.parametrize("jump", [0, 1, 100, 1_000, 64_000, 100_000])
def test_an_assembled_batch_is_byte_for_byte_an_encoded_one(frames, jump):
    first = 2**40
    late = frames // 3
    sequences = [range(first, first + frames - late), range(first + jump + frames - late, first + jump + frames)]
    sequences = [each for each in sequences if each]
    runs = [(1_700_000_000_000, frames - late), (1_700_000_000_007, late)]
    payloads = [bytes([number % 256]) * number for number in range(frames)]
    whole = batch(
        channel=Channel.CONNECTION,
        kind=Kind.STATION,
        asset_id="a" * 64,
        first_sequence=first,
        sequence_offsets=[sequence - first for each in sequences for sequence in each],
        received_ms=[time_ms for time_ms, count in runs for _ in range(count)],
        payloads=payloads,
    )
    packed = [codec.to_msgpack(each) for each in payloads]
    assembler = batches.Assembler("gw-1")
    around = assembler.around(Kind.STATION, Channel.CONNECTION, "e1")
    assert assembler.assemble(around, b"a" * 64, sequences, runs, packed) == batches.encode(whole)
    if frames == 1:
        (one,), (time_ms, _) = sequences, runs[0]
        assert assembler.assemble_one(around, b"a" * 64, one.start, time_ms, *packed) == batches.encode(whole)


def test_the_largest_batch_is_read():
    frames = limits.BATCH_FRAMES_MAX
    full = batch(frames, payloads=[b"x" * (limits.BATCH_BYTES_MAX // frames)] * frames)
    assert batches.decode(batches.encode(full)) == full


@pytest.mark.parametrize("frames", [0, limits.BATCH_FRAMES_MAX + 1])
def test_a_batch_outside_the_limits_is_a_bug_where_it_is_written_and_refused_where_it_is_read(frames):
    with pytest.raises(AssertionError):
        batches.encode(batch(frames))
    assert refused(codec.to_msgpack(plain(batch(frames)))).reason in (Reason.WRONG_SHAPE, Reason.NOT_DECODABLE)


@pytest.mark.parametrize("name", ["sequence_offsets", "received_ms", "payloads"])
def test_lists_of_different_length_are_a_bug_where_written_and_refused_where_read(name):
    shorter = batch(**{name: getattr(batch(), name)[:1]})
    with pytest.raises(AssertionError):
        batches.encode(shorter)
    assert "differ in length" in refused(codec.to_msgpack(plain(shorter))).detail


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"v": 2}, id="another version"),
        pytest.param({"v": True}, id="true is not 1"),
        pytest.param({"kind": "plane"}, id="unknown kind"),
        pytest.param({"asset_id": "A/#"}, id="an asset id that is none"),
        pytest.param({"channel": "cmd"}, id="unknown channel"),
        pytest.param({"gateway": ""}, id="no gateway"),
        pytest.param({"first_sequence": -1}, id="a negative sequence"),
        pytest.param({"first_sequence": 2**64 - 1}, id="a sequence beyond JSON"),
        pytest.param({"sequence_offsets": [0, -1]}, id="a negative offset"),
        pytest.param({"received_ms": [0, 10**18]}, id="a time that no calendar has"),
        pytest.param({"received_ms": [0.5, 1]}, id="half a millisecond"),
        pytest.param({"payloads": [b"", 7]}, id="a payload that is no bytes"),
        pytest.param({"payloads": None}, id="no payloads"),
    ],
)
def test_a_wrong_field_refuses_the_batch(changes):
    assert refused(with_(**changes)).reason is Reason.WRONG_SHAPE


def test_a_gateway_whose_clock_was_never_set_can_still_deliver():
    decoded = batches.decode(with_(received_ms=[0, 5]))
    assert isinstance(decoded, Batch)
    assert decoded.received_ms == [0, 5]


def test_fields_of_a_newer_agent_are_ignored():
    assert batches.decode(with_(compression="none")) == batch()


@pytest.mark.parametrize("value", [b"", b"\x00", b"{}", b"\x80", b"null", b"\xc0", b"\x93\x01\x02\x03"])
def test_other_values_are_refused(value):
    refused(value)
