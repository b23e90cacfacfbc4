"""Packets and their way: what leaves is MQTT, what is answered is forgotten, what is not is sent again in order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from simulator import packets
from simulator.devices import UNCOUNTED, Message
from simulator.packets import Packets, ProtocolError
from simulator.window import Window
from wire.topics import Channel, Kind

ID_AT = slice(-3, -1)


def _message(number, channel=Channel.SIGNALS, size=5):
    return Message(0, Kind.VEHICLE, f"car-{number}", channel, bytes([number % 256]) * size)


def _packets(count, first=0):
    return Packets([_message(first + number) for number in range(count)], range(first, first + count))


def _ack(*ids):
    return b"".join(b"\x40\x02" + number.to_bytes(2, "big") for number in ids)


@pytest.mark.parametrize("channel", list(Channel))
@pytest.mark.parametrize("size", [0, 70, 79, 80, 90, 200, 16_300, 16_400, 65_536])
def test_a_packet_is_what_paho_would_write(channel, size):
    message = _message(7, channel, size)
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
    topic = f"{'state' if channel is Channel.CONNECTION else 'dt'}/fleet/vehicle/car-7/{channel}"
    written = []
    client._packet_queue = lambda _command, packet, *_: written.append(bytes(packet))
    client._sock = object()
    client._send_publish(258, topic.encode(), message.payload, 1, channel is Channel.CONNECTION)
    client._sock = None
    ours = Packets([message], [0])
    assert [bytes(ours.number(0, np.array([258])))] == written


def test_a_packet_that_is_sent_again_says_so():
    window = Window(10)
    window.add(_packets(2))
    first = bytes(window.take())
    assert first[0] == 0x32
    again = window.again()
    assert again[0] == 0x3A
    assert again[len(again) // 2] == 0x3A
    assert again.replace(b"\x3a", b"\x32") == first.replace(b"\x3a", b"\x32")


@pytest.mark.parametrize("torn", range(1, 12))
def test_answers_are_read_however_they_are_torn(torn):
    data = _ack(1, 2) + b"\xd0\x00" + b"\x40\x03\x00\x03\x10" + b"\x40\x04\x01\x04\x87\x00" + _ack(5)
    acknowledged, refused, rest = [], [], b""
    for begin in range(0, len(data), torn):
        answers = packets.read(rest + data[begin : begin + torn])
        acknowledged += answers.acknowledged.tolist()
        refused += answers.refused.tolist()
        rest = answers.rest
        assert answers.reason is None
    assert (acknowledged, refused, rest) == ([1, 2, 3, 5], [260], b"")


def test_a_broker_that_disconnects_says_why():
    assert "0x8e" in packets.read(_ack(9) + b"\xe0\x02\x8e\x00").reason
    assert "0x00" in packets.read(b"\xe0\x00").reason


@pytest.mark.parametrize("data", [b"\x30\x04\x00\x01a\x00", b"\x40\x80\x01\x00"])
def test_what_nobody_may_send_to_a_publisher_is_an_error(data):
    with pytest.raises(ProtocolError):
        packets.read(data)


def test_the_window_bounds_what_is_on_its_way():
    window = Window(4)
    window.add(_packets(6))
    assert len(window.take()) == 4 * len(_packets(1).data)
    assert window.take() is None
    assert (window.outstanding, window.backlog) == (4, 2)
    assert window.settle(np.array([2])).tolist() == [1]
    assert len(window.take()) == len(_packets(1).data)
    assert (window.outstanding, window.backlog) == (4, 1)


def test_answers_that_nobody_waits_for_mean_nothing():
    window = Window(4)
    window.add(_packets(2))
    window.take()
    assert window.settle(np.array([3, 9, 60_000])).tolist() == []
    assert window.settle(np.array([1, 1])).tolist() == [0]
    assert window.settle(np.array([1])).tolist() == []
    assert window.outstanding == 1


def test_repeated_messages_have_no_position():
    window = Window(4)
    window.add(Packets([_message(1), _message(1)], [7, UNCOUNTED]))
    window.take()
    assert window.settle(np.array([1, 2])).tolist() == [7]
    assert window.outstanding == 0


@given(st.data(), st.integers(1, 6))
def test_whatever_the_order_of_answers_each_message_is_settled_once_and_the_rest_is_sent_again_in_order(data, size):
    """A model: a list of what is out. Ids are never given twice at a time."""
    window, out, settled, made = Window(size), [], [], 0
    for action in data.draw(st.lists(st.sampled_from(["add", "take", "settle", "again"]), max_size=60)):
        if action == "add":
            count = data.draw(st.integers(0, 5))
            window.add(_packets(count, made))
            made += count
        elif action == "take":
            while (sent := window.take()) is not None:
                out += _numbered(bytes(sent))
        elif action == "settle" and out:
            chosen = data.draw(st.lists(st.sampled_from(out), unique=True))
            settled += window.settle(np.array([number for number, _ in chosen], dtype=np.int64)).tolist()
            out = [one for one in out if one not in chosen]
        else:
            assert _numbered(window.again()) == out
        assert len({number for number, _ in out}) == len(out) == window.outstanding <= size
        assert window.backlog + len(out) + len(settled) == made
    assert len(settled) == len(set(settled))
    assert sorted(settled + [position for _, position in out]) == list(range(made - window.backlog))


def _numbered(data):
    """(packet id, number of the message) of each packet."""
    found = []
    while data:
        length = 2 + data[1]
        topic = int.from_bytes(data[2:4], "big")
        asset = data[4 : 4 + topic].split(b"/")[3]
        found.append((int.from_bytes(data[4 + topic : 6 + topic], "big"), int(asset.removeprefix(b"car-"))))
        data = data[length:]
    return found
