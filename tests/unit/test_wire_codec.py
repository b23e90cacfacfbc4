"""Bytes from anywhere become a value or a `Malformed`, never an exception."""

import msgpack
import pytest

from wire import codec, limits
from wire.malformed import Malformed, Reason


def reason(raw: bytes) -> Reason:
    decoded = codec.decode(raw)
    assert isinstance(decoded, Malformed), decoded
    return decoded.reason


@pytest.mark.parametrize("encode", [codec.to_msgpack, codec.to_json])
def test_a_map_survives_either_encoding(encode):
    value = {"text": "grün", "list": [1, 2.5, None, True], "map": {"deep": {"er": -1}}}
    assert codec.decode(encode(value)) == value


@pytest.mark.parametrize("space", [b" ", b"\t", b"\r\n", b"\n  "])
def test_json_may_begin_with_white_space(space):
    assert codec.decode(space + b'{"v":1}') == {"v": 1}


def test_bytes_survive_msgpack():
    assert codec.decode(codec.to_msgpack({"payload": b"\x00\xff"})) == {"payload": b"\x00\xff"}


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b'{"v":1', id="truncated JSON"),
        pytest.param(b'{"v":1} x', id="bytes after JSON"),
        pytest.param(b'{"v":NaN}', id="NaN in JSON"),
        pytest.param(b'{"v":1e400}', id="a JSON number beyond floats"),
        pytest.param(b'{"v":' + b"1" * 5_000 + b"}", id="a JSON integer of 5,000 digits"),
        pytest.param(b'{"v":"\xff"}', id="JSON that is not UTF-8"),
        pytest.param(b'{"v":"\\ud800"}', id="half a surrogate pair in JSON"),
        pytest.param(b'{"v":' * 13_000, id="JSON nested 13,000 deep"),
        pytest.param(b"\xef\xbb\xbf{}", id="a byte order mark"),
        pytest.param(b"\x82\xa1v\x01", id="truncated msgpack"),
        pytest.param(b"\x81\xa1v\x01\x00", id="bytes after msgpack"),
        pytest.param(b"\xc1", id="the byte that msgpack never uses"),
        pytest.param(b"\x81\xa1v\xa2\xff\xfe", id="msgpack text that is not UTF-8"),
        pytest.param(b"\x81\xa1v\xa3\xed\xa0\x80", id="a surrogate in msgpack text"),
        pytest.param(b"\x81\x90\x01", id="a list as a map key"),
        pytest.param(b"\x91" * 5_000 + b"\x00", id="msgpack nested 5,000 deep"),
        pytest.param(b"\xdd\xff\xff\xff\xff", id="a list that declares 4 billion items"),
        pytest.param(b"\xdf\xff\xff\xff\xff", id="a map that declares 4 billion items"),
        pytest.param(b"\xc6\xff\xff\xff\xff", id="4 GB of declared bytes"),
        pytest.param(b"\xdb\xff\xff\xff\xff", id="4 GB of declared text"),
        pytest.param(b"\x81\xa1v\xd6\xff\x00\x00\x00\x00", id="a timestamp extension"),
        pytest.param(b"\x81\xa1v\xc7\x00\xff", id="an empty timestamp extension"),
        pytest.param(b"\x81\xa1v\xc7\x00\x05", id="an empty extension"),
        pytest.param(b"\x81\xa1v\xd4\x05\x00", id="an extension of one byte"),
    ],
)
def test_what_cannot_be_read_says_so(raw):
    assert reason(raw) is Reason.NOT_DECODABLE


def test_a_list_may_hold_as_many_items_as_the_longest_message_needs_and_no_more():
    longest = codec.to_msgpack({"list": [None] * limits.ARRAY_ITEMS_MAX})
    assert not isinstance(codec.decode(longest), Malformed)
    assert reason(codec.to_msgpack({"list": [None] * (limits.ARRAY_ITEMS_MAX + 1)})) is Reason.NOT_DECODABLE


def test_declared_lists_do_not_reserve_memory_beyond_the_message():
    """Each header may claim as many items as the message has bytes; 1,000 nested ones would claim 16 GB."""
    raw = b"\xdd\x00\x16\x00\x00" * 1_000 + bytes(1_500_000)
    decoded = codec.decode(raw, bytes_max=2_000_000)
    assert isinstance(decoded, Malformed)
    assert "array" in decoded.detail


@pytest.mark.parametrize("encode", [codec.to_msgpack, codec.to_json])
def test_size_is_limited_to_the_byte(encode):
    frame = len(encode({"text": "x" * 60_000})) - 60_000
    assert not isinstance(codec.decode(encode({"text": "x" * (limits.PAYLOAD_BYTES_MAX - frame)})), Malformed)
    assert reason(encode({"text": "x" * (limits.PAYLOAD_BYTES_MAX - frame + 1)})) is Reason.TOO_LARGE


@pytest.mark.parametrize("encode", [codec.to_msgpack, codec.to_json])
def test_nesting_is_limited_to_the_level(encode):
    def nested(levels: int) -> dict[str, object]:
        inner: object = 0
        for _ in range(levels - 1):
            inner = [inner]
        return {"inner": inner}

    assert not isinstance(codec.decode(encode(nested(limits.NESTING_MAX))), Malformed)
    assert reason(encode(nested(limits.NESTING_MAX + 1))) is Reason.WRONG_SHAPE


def test_of_a_key_given_twice_the_last_value_holds():
    assert codec.decode(b'{"a":1,"a":2}') == {"a": 2}
    assert codec.decode(b"\x82\xa1a\x01\xa1a\x02") == {"a": 2}


@pytest.mark.parametrize("number", [2**63, 2**64 - 1, -(2**63)])
def test_the_integers_of_msgpack_survive(number):
    assert codec.decode(codec.to_msgpack({"n": number})) == {"n": number}


def test_a_reason_never_carries_the_whole_payload():
    decoded = codec.decode(b"\x81" + msgpack.packb("k" * 30_000))
    assert isinstance(decoded, Malformed)
    assert len(decoded.detail) < 300
