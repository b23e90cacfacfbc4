"""What becomes of an MQTT message before anything else happens to it."""

import pytest

from edge import receive
from edge.inbox import Connection, Delivery, Odd
from edge.receive import Judged
from edge.spool.records import Message, Refused, messages
from wire import limits
from wire.malformed import Reason
from wire.topics import Address, Channel, Kind


def judge(topic: str, payload: bytes = b"x", retain: bool = False, malformed: str | None = None) -> Judged:
    delivery = Delivery(Connection(0, 1), 1_750_000_000_000, count=1)
    if malformed is None and 0 < len(payload) <= limits.PAYLOAD_BYTES_MAX:
        delivery.payloads[topic.encode()] = [payload]
    else:
        delivery.odd.append(Odd(topic.encode(), payload, len(payload), retain, malformed))
    return receive.judge([delivery])


def refused(topic: str, payload: bytes = b"x", malformed: str | None = None) -> Refused:
    judged = judge(topic, payload, malformed=malformed)
    assert not judged.arrivals
    (record,) = judged.refused
    return record


def test_a_payload_goes_on_as_it_came() -> None:
    judged = judge("dt/fleet/vehicle/car-1/signals", b"\xff\x00 no frame")
    (arrival,) = judged.arrivals.values()
    address = Address(Kind.VEHICLE, "car-1", Channel.SIGNALS)
    assert messages(arrival.bundle()) == [Message(1_750_000_000_000, address, b"\xff\x00 no frame")]


def test_payloads_of_a_stream_come_together_in_order_with_their_times() -> None:
    deliveries = [
        Delivery(
            Connection(0, 1),
            received_ms,
            {b"dt/fleet/vehicle/a/signals": payloads, b"dt/fleet/vehicle/b/signals": [b"other"]},
        )
        for received_ms, payloads in ((5, [b"0", b"1"]), (5, [b"2"]), (7, [b"3"]))
    ]
    bundles = [arrival.bundle() for arrival in receive.judge(deliveries).arrivals.values()]
    assert [[(each.received_ms, each.payload) for each in messages(bundle)] for bundle in bundles] == [
        [(5, b"0"), (5, b"1"), (5, b"2"), (7, b"3")],
        [(5, b"other"), (5, b"other"), (7, b"other")],
    ]


@pytest.mark.parametrize(
    ("topic", "reason"),
    [
        ("dt/fleet/spaceship/x/signals", Reason.BAD_TOPIC),
        ("dt/fleet/vehicle/x/connection", Reason.BAD_TOPIC),
        ("dt/fleet/vehicle/a/b/signals", Reason.BAD_TOPIC),
        ("dt/fleet/vehicle/a\0b/signals", Reason.BAD_TOPIC),
        ("dt/fleet/vehicle/#/signals", Reason.BAD_ASSET_ID),
        ("dt/fleet/vehicle/" + "a" * 10_000 + "/signals", Reason.BAD_ASSET_ID),
        ("", Reason.BAD_TOPIC),
    ],
)
def test_a_bad_topic_is_a_dead_letter_of_no_asset_on_the_topic_of_signals(topic: str, reason: Reason) -> None:
    record = refused(topic, b"bytes")
    assert (record.reason, record.asset_id, record.payload) == (reason, "", b"bytes")
    assert record.kafka_topic == "fleet.signals.v1.dlq"
    assert record.origin.isprintable()
    assert len(record.origin) < 250


def test_a_payload_over_the_limit_is_a_dead_letter_of_its_asset_with_its_size() -> None:
    record = refused("dt/fleet/vehicle/car-1/events", b"x" * (limits.PAYLOAD_BYTES_MAX + 1))
    assert (record.reason, record.asset_id) == (Reason.TOO_LARGE, "car-1")
    assert record.kafka_topic == "fleet.events.v1.dlq"
    assert record.size == len(record.payload) == limits.PAYLOAD_BYTES_MAX + 1
    at_limit = judge("dt/fleet/vehicle/car-1/events", b"x" * limits.PAYLOAD_BYTES_MAX)
    assert at_limit.arrivals
    assert not at_limit.refused


def test_a_huge_payload_is_cut_and_its_size_kept() -> None:
    record = refused("dt/fleet/vehicle/car-1/signals", b"x" * (limits.DEAD_LETTER_BYTES_MAX + 1))
    assert len(record.payload) == limits.DEAD_LETTER_BYTES_MAX
    assert record.size == limits.DEAD_LETTER_BYTES_MAX + 1


def test_an_empty_retained_message_is_nothing() -> None:
    for nothing in (
        judge("dt/fleet/vehicle/car-1/signals", b"", retain=True),
        judge("state/fleet/vehicle/car-1/connection", b""),
    ):
        assert nothing == Judged(cleared=1)


def test_an_empty_message_that_is_not_retained_is_a_dead_letter() -> None:
    assert refused("dt/fleet/vehicle/car-1/signals", b"").reason is Reason.NOT_DECODABLE


def test_a_packet_that_could_not_be_decoded_is_a_dead_letter_whatever_its_topic() -> None:
    record = refused("dt/fleet/vehicle/car-1/signals", b"raw", malformed="no UTF-8")
    assert (record.reason, record.detail) == (Reason.BAD_TOPIC, "no UTF-8")


def test_a_topic_that_is_no_text_is_a_dead_letter() -> None:
    delivery = Delivery(Connection(0, 1), 0, {b"dt/fleet/vehicle/\xff\xfe/signals": [b"a"]})
    (record,) = receive.judge([delivery]).refused
    assert (record.reason, record.detail) == (Reason.BAD_TOPIC, "topic is not UTF-8")
    assert record.origin == r"mqtt:dt/fleet/vehicle/\xff\xfe/signals"


def test_a_clock_that_shows_nonsense_is_cut_to_the_range_of_the_contract() -> None:
    assert receive.within_range(-5) == 0
    assert receive.within_range(10**18) == limits.TIME_MS_MAX
