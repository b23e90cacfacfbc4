"""MQTT 5 packets of the publishing side, many at a time: [MQTT5] is the OASIS standard of 2019-03-07.

PUBLISH at QoS 1 (3.3): type and flags, remaining length, topic, packet id, no properties, payload.
PUBACK (3.4): type, remaining length 2 to 4 and more, packet id; a reason code where it is not success.
"""

import functools
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.arrays import Integers, where_true
from simulator.devices import Message
from wire.topics import Channel, Kind, mqtt_topic

PINGREQ: Final = b"\xc0\x00"

_PUBLISH: Final = 0x32  # QoS 1
_RETAIN: Final = 0x01
_DUP: Final = 0x08
_PUBACK: Final = 0x40
_PINGRESP: Final = 0xD0
_DISCONNECT: Final = 0xE0
_FAILURE: Final = 0x80
_NO_ID_YET: Final = b"\x00\x00\x00"  # and no properties
_PLACE: Final = "\0"


class Packets:
    """PUBLISH packets back to back in `data`; packet `i` lies in `bounds[i]:bounds[i + 1]`, its id at `id_at[i]`."""

    __slots__ = ("bounds", "data", "id_at", "positions")

    def __init__(self, messages: Sequence[Message], positions: Sequence[int]) -> None:
        parts: list[bytes] = []
        lengths: list[int] = []
        before: list[int] = []
        kind: Kind | None = None
        channel: Channel | None = None
        for message in messages:
            if message.channel is not channel or message.kind is not kind:
                kind, channel = message.kind, message.channel
                prefix, suffix, flags = _around(kind, channel)
            topic, payload = prefix + message.asset_id.encode() + suffix, message.payload
            in_topic, in_payload = len(topic), len(payload)
            head = _head(flags, in_topic, in_topic + in_payload + 5)
            until_id = len(head) + in_topic
            parts += (head, topic, _NO_ID_YET, payload)
            before.append(until_id)
            lengths.append(until_id + 3 + in_payload)
        self.data = bytearray().join(parts)
        self.bounds: Integers = np.zeros(len(lengths) + 1, dtype=np.int64)
        np.cumsum(lengths, out=self.bounds[1:])
        self.id_at: Integers = self.bounds[:-1] + np.array(before, dtype=np.int64)
        self.positions: Integers = np.array(positions, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.positions)

    def number(self, begin: int, ids: Integers) -> memoryview:
        """Give packets from `begin` on their ids; their bytes."""
        end = begin + len(ids)
        data, at = np.frombuffer(self.data, dtype=np.uint8), self.id_at[begin:end]
        data[at] = ids >> 8
        data[at + 1] = ids & 0xFF
        return memoryview(self.data)[self.bounds[begin] : self.bounds[end]]

    def again(self, which: Integers) -> bytes:
        """These packets for a second delivery: with the DUP flag."""
        for index in which.tolist():
            self.data[self.bounds[index]] |= _DUP
        return b"".join(self.data[self.bounds[index] : self.bounds[index + 1]] for index in which.tolist())


@functools.cache
def _around(kind: Kind, channel: Channel) -> tuple[bytes, bytes, int]:
    """A topic before and after the asset id, and the first byte of its packets."""
    prefix, suffix = mqtt_topic(kind, _PLACE, channel).encode().split(_PLACE.encode())
    return prefix, suffix, _PUBLISH | (_RETAIN if channel is Channel.CONNECTION else 0)


@functools.lru_cache(maxsize=4_096)
def _head(first: int, topic_length: int, remaining: int) -> bytes:
    """First byte, remaining length as a variable byte integer (1.5.5), length of the topic."""
    head = bytearray([first])
    while remaining > 0x7F:
        head.append(remaining & 0x7F | 0x80)
        remaining >>= 7
    head.append(remaining)
    return bytes(head) + topic_length.to_bytes(2, "big")


class Answers(NamedTuple):
    """What the broker said: ids that it acknowledged and refused, whether it says goodbye, bytes of a torn packet."""

    acknowledged: Integers
    refused: Integers
    reason: str | None
    rest: bytes


class ProtocolError(Exception):
    """The broker sent what nobody may send to a publisher."""


def read(data: bytes) -> Answers:
    """Everything in `data`, what was left of the last time in front."""
    whole = np.frombuffer(data, dtype=np.uint8, count=len(data) // 4 * 4).reshape(-1, 4)
    strange = where_true((whole[:, 0] != _PUBACK) | (whole[:, 1] != 2))
    plain = int(strange[0]) if len(strange) else len(whole)
    ids = _ids(whole[:plain, 2:4])
    if plain * 4 == len(data):
        return Answers(ids, _NONE, None, b"")
    others = _read_one_by_one(data[plain * 4 :])
    return others._replace(acknowledged=np.concatenate([ids, others.acknowledged]))


_NONE: Final[Integers] = np.zeros(0, dtype=np.int64)


def _ids(pairs: NDArray[np.uint8]) -> Integers:
    return np.asarray(pairs[:, 0].astype(np.int64) << 8 | pairs[:, 1])


def _read_one_by_one(data: bytes) -> Answers:
    acknowledged: list[int] = []
    refused: list[int] = []
    at, reason = 0, None
    while at + 2 <= len(data):
        first, length = data[at], data[at + 1]
        if length > 0x7F:
            raise ProtocolError(f"an answer (0x{first:02x}) longer than 127 bytes")
        body = data[at + 2 : at + 2 + length]
        if len(body) < length:
            break
        at += 2 + length
        if first == _PUBACK and length >= 2:
            failed = length > 2 and body[2] >= _FAILURE
            (refused if failed else acknowledged).append(int.from_bytes(body[:2], "big"))
        elif first == _DISCONNECT:
            reason = f"disconnected by the broker, reason 0x{body[0] if body else 0:02x}"
        elif first != _PINGRESP:
            raise ProtocolError(f"not an answer to a publisher: 0x{first:02x}")
    numbers = [np.array(ids, dtype=np.int64) for ids in (acknowledged, refused)]
    return Answers(numbers[0], numbers[1], reason, data[at:])
