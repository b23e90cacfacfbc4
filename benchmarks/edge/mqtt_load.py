"""MQTT 5 at the speed of the socket, for benchmarks: fill the session of a client that is away, and empty it.

A client library would need more of the machine to load the agent than the agent needs to take the load.
"""

import contextlib
import socket
import time
from collections.abc import Iterator
from typing import Final

import msgspec

from wire.topics import MQTT_FILTERS, Channel, Kind, mqtt_topic

CHUNK_BYTES: Final = 262_144
_WINDOW: Final = 4_000
_SESSION_EXPIRY_S: Final = 3_600
_encode: Final = msgspec.msgpack.Encoder().encode


def packets(assets: int, count: int) -> Iterator[bytes]:
    """PUBLISH at QoS 1 of `count` frames of 300 bytes (a few more for large numbers), `assets` devices in turn.

    Message ids go round from 1 to 65535.
    """
    heads = [b"\x00" + bytes([len(topic)]) + topic for topic in map(_topic, range(assets))]
    started_ms = time.time_ns() // 1_000_000
    for number in range(count):
        asset, seq = number % assets, number // assets
        frame = {
            "v": 1,
            "session": f"boot-{started_ms}-{asset:06d}",
            "seq": seq,
            "ts": started_ms + 100 * seq,
            "signals": {
                "Vehicle.Speed": 30.0 + (number * 7919 % 1000) / 10,
                "Vehicle.Powertrain.TractionBattery.CurrentVoltage": 380.0 + (number * 104729 % 997) / 50,
                "Vehicle.Powertrain.TractionBattery.StateOfCharge.Current": 80.0 - (seq % 600) / 10,
                "Vehicle.CurrentLocation.Latitude": 48.1 + (number * 15485863 % 9973) / 1e5,
                "Vehicle.CurrentLocation.Longitude": 11.5 + (number * 32452843 % 9967) / 1e5,
            },
        }
        body = heads[asset] + (number % 65_535 + 1).to_bytes(2) + b"\x00" + _encode(frame)
        yield b"\x32" + _length(len(body)) + body


def _topic(asset: int) -> bytes:
    return mqtt_topic(Kind.VEHICLE, f"car-{asset:05d}", Channel.SIGNALS).encode()


def _length(value: int) -> bytes:
    """[MQTT5 1.5.5] up to two bytes are enough here."""
    return bytes([value]) if value < 128 else bytes([value & 127 | 128, value >> 7])


def _text(value: bytes) -> bytes:
    return len(value).to_bytes(2) + value


@contextlib.contextmanager
def connection(port: int, client_id: str, receive_maximum: int = 65_535) -> Iterator[socket.socket]:
    """A connection with a session that stays."""
    properties = b"\x11" + _SESSION_EXPIRY_S.to_bytes(4) + b"\x21" + receive_maximum.to_bytes(2)
    body = _text(b"MQTT") + b"\x05\x00\x00\x3c" + _length(len(properties)) + properties + _text(client_id.encode())
    with socket.create_connection(("127.0.0.1", port)) as opened:
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.sendall(b"\x10" + _length(len(body)) + body)
        answer = opened.recv(4)
        assert answer[0] == 0x20
        assert answer[3] == 0, "the broker refuses"
        while len(answer) < 2 + answer[1]:
            answer += opened.recv(2 + answer[1] - len(answer))
        yield opened
        opened.sendall(b"\xe0\x00")


def subscribe(port: int, client_id: str) -> None:
    """Make a session that collects what is published from now on."""
    body = b"\x00\x01\x00" + b"".join(_text(each.encode()) + b"\x01" for each in MQTT_FILTERS)
    with connection(port, client_id) as opened:
        opened.sendall(b"\x82" + _length(len(body)) + body)
        assert opened.recv(1) == b"\x90"
        opened.recv(64)


def fill(port: int, stream: Iterator[bytes], client_id: str = "filler") -> int:
    """Publish, a window of messages at a time; returns how many, when the broker has acknowledged all."""
    sent = 0
    with connection(port, client_id) as opened:
        while window := [packet for _, packet in zip(range(_WINDOW), stream, strict=False)]:
            opened.sendall(b"".join(window))
            left = 4 * len(window)
            while left:
                left -= len(opened.recv(left))
            sent += len(window)
    return sent


def forget(port: int, client_id: str) -> None:
    """End a session: nothing is queued for it any more."""
    body = _text(b"MQTT") + b"\x05\x02\x00\x3c\x00" + _text(client_id.encode())
    with socket.create_connection(("127.0.0.1", port)) as opened:
        opened.sendall(b"\x10" + _length(len(body)) + body)
        opened.recv(64)
        opened.sendall(b"\xe0\x00")


def trickle(port: int, seconds: float) -> None:
    """100 messages a second, as one car may send, for so long."""
    stream = packets(1, round(100 * seconds))
    with connection(port, "trickle") as opened:
        due_s = time.monotonic()
        for packet in stream:
            opened.sendall(packet)
            opened.recv(64)
            due_s += 0.01
            time.sleep(max(0.0, due_s - time.monotonic()))


def drain(port: int, client_id: str, count: int, receive_maximum: int) -> tuple[float, float, int]:
    """Receive and acknowledge `count` messages with nothing behind it: the limit of any receiver in this language.

    Returns seconds, CPU seconds of this thread, and bytes received. Reads large chunks, finds every message's topic,
    id and payload, and sends the PUBACKs of a chunk in one write.
    """
    received = size = 0
    rest = b""
    with connection(port, client_id, receive_maximum) as opened:
        started_s, cpu_s = time.perf_counter(), time.thread_time()
        while received < count:
            chunk = opened.recv(CHUNK_BYTES)
            assert chunk, "the broker closed the connection"
            size += len(chunk)
            ids, rest = _take(rest + chunk)
            if ids:
                opened.sendall(b"\x40\x02" + b"\x40\x02".join(ids))
            received += len(ids)
        return time.perf_counter() - started_s, time.thread_time() - cpu_s, size


def _take(data: bytes) -> tuple[list[bytes], bytes]:
    """Message ids of the whole packets, and what is left."""
    ids: list[bytes] = []
    payloads: list[bytes] = []
    topics: list[bytes] = []
    offset, end = 0, len(data)
    while offset + 4 < end:
        length, start = data[offset + 1], offset + 2
        if length > 127:
            length, start = length & 127 | data[start] << 7, start + 1
        following = start + length
        if following > end:
            break
        if data[offset] & 0xF6 == 0x32:
            topic_end = start + 2 + (data[start] << 8 | data[start + 1])
            topics.append(data[start + 2 : topic_end])
            ids.append(data[topic_end : topic_end + 2])
            payloads.append(data[topic_end + 3 : following])
        offset = following
    return ids, data[offset:]
