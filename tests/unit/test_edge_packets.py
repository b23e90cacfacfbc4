"""A broker's bytes to messages, whatever their form and wherever the reads cut them."""

import struct

import pytest

from edge.inbox import Connection, Delivery, Odd
from edge.packets import Parser, StreamError
from wire import limits

TOPIC = b"dt/fleet/vehicle/a/signals"


def length(value: int) -> bytes:
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes([*encoded, value])


def publish(
    message_id: int,
    payload: bytes,
    topic: bytes = TOPIC,
    properties: bytes | None = b"",
    qos: int = 1,
    retain: bool = False,
    duplicate: bool = False,
) -> bytes:
    """`properties` None: as MQTT 3.1.1 has it."""
    body = struct.pack(">H", len(topic)) + topic + (struct.pack(">H", message_id) if qos else b"")
    body += (b"" if properties is None else length(len(properties)) + properties) + payload
    return bytes([0x30 | duplicate << 3 | qos << 1 | retain]) + length(len(body)) + body


def read(parser: Parser, *parts: bytes) -> tuple[Delivery, list[bytes]]:
    delivery = Delivery(Connection(0, 1), 0)
    others = [packet for part in parts for packet in parser.feed(part, delivery)]
    return delivery, others


@pytest.fixture
def parser() -> Parser:
    return Parser(True, 1_048_576)


def test_messages_come_by_topic_in_order_with_their_ids(parser: Parser) -> None:
    stream = publish(1, b"a") + publish(2, b"b", b"other") + publish(3, b"c" * 300) + publish(4, b"d" * 20_000)
    delivery, others = read(parser, stream)
    assert delivery.payloads == {TOPIC: [b"a", b"c" * 300, b"d" * 20_000], b"other": [b"b"]}
    assert delivery.pubacks == [b"\0\1", b"\0\2", b"\0\3", b"\0\4"]
    assert (delivery.count, delivery.size_bytes, others) == (4, 20_302, [])


def test_every_cut_of_a_stream_reads_the_same(parser: Parser) -> None:
    stream = (
        publish(1, b"x" * 130)
        + b"\xd0\x00"
        + publish(2, b"y", retain=True, properties=b"\x03\x00\x01j")
        + publish(9, b"q2", qos=2)
        + publish(0, b"q0", qos=0)
        + publish(3, b"z", duplicate=True)
        + b"\x90\x04\x00\x01\x00\x01"
        + publish(4, b"")
    )
    whole = read(parser, stream)
    assert whole[0].count == 6
    for cut in range(len(stream)):
        assert read(Parser(True, 1_048_576), stream[:cut], stream[cut:]) == whole
    assert read(Parser(True, 1_048_576), *(bytes([byte]) for byte in stream)) == whole


def test_other_packets_are_handed_on_whole(parser: Parser) -> None:
    suback, pingresp = b"\x90\x04\x00\x01\x00\x01", b"\xd0\x00"
    delivery, others = read(parser, suback + publish(1, b"a") + pingresp)
    assert others == [suback, pingresp]
    assert delivery.count == 1


def test_each_quality_of_service_is_acknowledged_in_its_way(parser: Parser) -> None:
    delivery, _ = read(parser, publish(0, b"0", qos=0) + publish(7, b"1") + publish(8, b"2", qos=2))
    assert delivery.payloads == {TOPIC: [b"0", b"1", b"2"]}
    assert (delivery.pubacks, delivery.pubrecs) == ([b"\0\7"], [b"\0\x08"])


def test_a_broker_of_version_3_sends_no_properties() -> None:
    delivery, _ = read(
        Parser(False, 1_048_576), publish(1, b"\x00a", properties=None) + publish(2, b"", properties=None)
    )
    assert delivery.payloads == {TOPIC: [b"\x00a"]}
    assert delivery.odd == [Odd(TOPIC, b"", 0)]
    assert len(delivery.pubacks) == 2


@pytest.mark.parametrize(
    "properties",
    [
        b"\x03\x00\x10application/json",
        b"\x01\x01\x02\x00\x00\x00\x09",
        b"\x08\x00\x01r\x09\x00\x02\xff\xfe",
        b"\x26\x00\x01k\x00\x01v\x26\x00\x01k\x00\x01w",
        b"\x0b\x81\x01",
        b"\x08\x00\x0a" + "answer/\ufeff".encode(),
        b"\x26\x00\x01k\x01\x00" + b"v" * 256,
    ],
)
def test_properties_do_not_get_in_the_way(parser: Parser, properties: bytes) -> None:
    for _ in range(2):  # the second time it is known
        delivery, _ = read(parser, publish(1, b"a", properties=properties) + publish(2, b"b", properties=properties))
        assert delivery.payloads == {TOPIC: [b"a", b"b"]}
        assert len(delivery.pubacks) == 2


@pytest.mark.parametrize(
    "properties", [b"\xee\xee\xee", b"\x03\x00\x09j", b"\x03", b"\x0b\xff\xff\xff\xff", b"\x02\x00"]
)
def test_properties_that_cannot_be_read_make_a_message_odd_and_it_can_be_acknowledged(
    parser: Parser, properties: bytes
) -> None:
    delivery, _ = read(parser, publish(1, b"payload", properties=properties) + publish(2, b"next"))
    (odd,) = delivery.odd
    assert odd.malformed is not None
    assert odd.payload.endswith(b"payload")
    assert delivery.payloads == {TOPIC: [b"next"]}
    assert delivery.pubacks == [b"\0\1", b"\0\2"]


def test_a_topic_alias_stands_for_the_topic_it_was_said_with() -> None:
    parser = Parser(True, 1_048_576, topic_alias_max=2)
    alias = b"\x23\x00\x02"
    delivery, _ = read(parser, publish(1, b"a", properties=alias) + publish(2, b"b", b"", alias))
    assert delivery.payloads == {TOPIC: [b"a", b"b"]}
    delivery, _ = read(parser, publish(3, b"c", b"", alias))
    assert delivery.payloads == {TOPIC: [b"c"]}
    delivery, _ = read(parser, publish(4, b"d", b"other", alias) + publish(5, b"e", b"", alias))
    assert delivery.payloads == {b"other": [b"d", b"e"]}


@pytest.mark.parametrize(("allowed", "alias"), [(0, 1), (2, 3), (2, 0), (2, 2)])
def test_an_alias_beyond_what_was_allowed_or_never_said_is_odd(allowed: int, alias: int) -> None:
    parser = Parser(True, 1_048_576, topic_alias_max=allowed)
    delivery, _ = read(parser, publish(1, b"a", b"", b"\x23" + alias.to_bytes(2)))
    assert delivery.odd[0].malformed is not None
    assert delivery.pubacks == [b"\0\1"]


def test_payloads_that_are_empty_or_too_large_are_odd(parser: Parser) -> None:
    large = b"x" * (limits.PAYLOAD_BYTES_MAX + 1)
    delivery, _ = read(parser, publish(1, b"", retain=True) + publish(2, large) + publish(3, large[1:]))
    assert delivery.odd == [Odd(TOPIC, b"", 0, True), Odd(TOPIC, large, len(large))]
    assert delivery.payloads == {TOPIC: [large[1:]]}
    assert delivery.count == 3


@pytest.mark.parametrize("read_bytes", [1_000, 7_777, 1_000_000])
def test_of_a_packet_over_the_limit_only_its_beginning_is_kept(read_bytes: int) -> None:
    parser = Parser(True, 100_000)
    stream = publish(1, b"a") + publish(2, b"x" * 500_000) + publish(3, b"c") + publish(4, b"y" * 300_000) + b"\xd0\x00"
    held = 0
    delivery = Delivery(Connection(0, 1), 0)
    others: list[bytes] = []
    for start in range(0, len(stream), read_bytes):
        others += parser.feed(stream[start : start + read_bytes], delivery)
        held = max(held, sum(map(len, parser._parts)))
    assert delivery.payloads == {TOPIC: [b"a", b"c"]}
    assert [(odd.size, len(odd.payload) < 100_000) for odd in delivery.odd] == [(500_000, True), (300_000, True)]
    assert delivery.pubacks == [b"\0\1", b"\0\2", b"\0\3", b"\0\4"]
    assert others == [b"\xd0\x00"]
    assert held <= max(100_000, read_bytes)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x30\xff\xff\xff\xff\x01",
        b"\x32\x00",
        b"\x32\x01\x00",
        b"\x32\x04\x00\x09ab",
        b"\x32\x03\x00\x01a",
        b"\x36\x05\x00\x01a\x00\x01",
        b"\x90\xff\xff\x7f",
    ],
)
def test_what_cannot_be_acknowledged_ends_the_stream(parser: Parser, garbage: bytes) -> None:
    with pytest.raises(StreamError):
        read(parser, publish(1, b"a") + garbage + b"\0" * 8)
