"""A broker's byte stream, cut into messages by the chunk. Pure: bytes in, a `Delivery` and other packets out.

What nearly all packets are, PUBLISH at QoS 1 with a payload within the limit, takes the short way of `_plain`; the
rest goes through `_packet`, one by one. What MQTT forbids and no acknowledgement can answer is a `StreamError`: the
connection has to end. What can be acknowledged becomes an `Odd`, or the broker would send it again for ever.

Section numbers are those of MQTT 5.0, https://docs.oasis-open.org/mqtt/mqtt/v5.0/mqtt-v5.0.html.
"""

from typing import Final, NamedTuple

from edge.inbox import Delivery, Odd
from wire import limits

PUBLISH: Final = 3
PUBREL: Final = 6
_QOS_1: Final = 0x32
"""The first byte of a PUBLISH at QoS 1 that is neither a duplicate nor retained."""
_RETAIN: Final = 0x01
_PROPERTIES_KNOWN_MAX: Final = 256
_TOPIC_ALIAS: Final = 0x23
_PROPERTY_BYTES: Final = {0x01: 1, 0x02: 4, _TOPIC_ALIAS: 2}
"""[2.2.2.2] of PUBLISH: payload format, message expiry interval, topic alias."""
_PROPERTY_TEXTS: Final = {0x03: 1, 0x08: 1, 0x09: 1, 0x26: 2}
"""Content type, response topic, correlation data, user property: so many values with a length in front."""
_SUBSCRIPTION_ID: Final = 0x0B


class StreamError(Exception):
    """The broker's bytes make no sense, or ask for an acknowledgement that cannot be given."""


class _Frame(NamedTuple):
    """A packet's place: of its first byte behind the length, and of the one behind it."""

    start: int
    end: int


class Parser:
    """Of one connection. `topic_alias_max`: what we allowed the broker to use; 0: none.

    `aside`: a topic, subscribed at QoS 0, whose payloads are no messages of devices.
    """

    def __init__(
        self, has_properties: bool, packet_bytes_max: int, topic_alias_max: int = 0, aside: bytes = b""
    ) -> None:
        self._has_properties = has_properties
        self._packet_bytes_max = packet_bytes_max
        self._topic_alias_max = topic_alias_max
        self._aside = aside
        self._topics: dict[int, bytes] = {}
        self._parts: list[bytes] = []
        self._missing = 0
        """Bytes without which nothing can be done with `_parts`."""
        self._skipping = 0
        """Bytes of a packet that is too large, to be ignored."""
        self._known: set[bytes] = set()
        """Properties that were read before and say nothing that matters here."""

    def feed(self, data: bytes, delivery: Delivery) -> list[bytes]:
        """Add the messages in `data` to `delivery`; returns whole packets that are no PUBLISH. Raises StreamError."""
        if len(data) < self._missing:
            self._parts.append(data)
            self._missing -= len(data)
            return []
        if self._parts:
            data = b"".join((*self._parts, data))
            self._parts.clear()
        self._missing = 0
        offset, others = self._skip(data, 0), []
        while offset < len(data):
            offset = self._plain(data, offset, delivery)
            frame = self._frame(data, offset)
            if frame is None:
                break
            if data[offset] >> 4 == PUBLISH:
                self._publish(data, offset, frame, delivery)
            else:
                others.append(data[offset : frame.end])
            offset = self._skip(data, frame.end)
        if offset < len(data):
            self._parts.append(data[offset:] if offset else data)
            self._missing = max(1, self._missing)
        return others

    def _skip(self, data: bytes, offset: int) -> int:
        skipped = min(self._skipping, len(data) - offset)
        self._skipping -= skipped
        return offset + skipped

    def _plain(self, data: bytes, offset: int, delivery: Delivery) -> int:
        """Take packets as long as they are plain; returns where the first is that is not, or not whole."""
        payloads, message_ids = delivery.payloads, delivery.pubacks
        property_bytes = 1 if self._has_properties else 0
        payload_bytes_max, known = limits.PAYLOAD_BYTES_MAX, self._known
        before, size_bytes, end = len(message_ids), 0, len(data)
        while offset + 5 <= end and data[offset] == _QOS_1:
            length = data[offset + 1]
            start = offset + 2
            if length > 127:
                if data[start] > 127:
                    break
                length += (data[start] << 7) - 128
                start += 1
            following = start + length
            topic_end = start + 2 + (data[start] << 8 | data[start + 1])
            payload_start = topic_end + 2 + property_bytes
            if following > end or payload_start > following or topic_end == start + 2:
                break
            if property_bytes and data[topic_end + 2]:
                payload_start += data[topic_end + 2]
                if data[topic_end + 2 : payload_start] not in known:
                    break
            size = following - payload_start
            if not 0 < size <= payload_bytes_max:
                break
            topic = data[start + 2 : topic_end]
            of_topic = payloads.get(topic)
            if of_topic is None:
                payloads[topic] = [data[payload_start:following]]
            else:
                of_topic.append(data[payload_start:following])
            message_ids.append(data[topic_end : topic_end + 2])
            size_bytes += size
            offset = following
        delivery.count += len(message_ids) - before
        delivery.size_bytes += size_bytes
        return offset

    def _frame(self, data: bytes, offset: int) -> _Frame | None:
        """[2.1.4] The packet at `offset`; None when more bytes are needed."""
        length = 0
        for index in range(4):
            if offset + 1 + index >= len(data):
                return None
            byte = data[offset + 1 + index]
            length |= (byte & 127) << 7 * index
            if byte < 128:
                return self._whole(data, offset, _Frame(offset + 2 + index, offset + 2 + index + length))
        raise StreamError("a packet's length has more than four bytes")

    def _whole(self, data: bytes, offset: int, frame: _Frame) -> _Frame | None:
        size = frame.end - offset
        if size > self._packet_bytes_max:
            if data[offset] >> 4 != PUBLISH:
                raise StreamError(f"a packet of {size} bytes, limit {self._packet_bytes_max}")
            size = self._packet_bytes_max
        if offset + size > len(data):
            self._missing = offset + size - len(data)
            return None
        self._skipping = frame.end - (offset + size)
        return frame._replace(end=offset + size)

    def _publish(self, data: bytes, offset: int, frame: _Frame, delivery: Delivery) -> None:
        """[3.3] One message of any kind."""
        qos, retain = data[offset] >> 1 & 3, bool(data[offset] & _RETAIN)
        start, end = frame
        topic_end = start + 2 + int.from_bytes(data[start : start + 2])
        properties_start = topic_end + (2 if qos else 0)
        if qos == 3 or end < start + 2 or properties_start > end:
            raise StreamError("a PUBLISH without topic or message id")
        if qos:
            ids = delivery.pubacks if qos == 1 else delivery.pubrecs
            ids.append(data[topic_end:properties_start])
        topic = data[start + 2 : topic_end]
        try:
            payload_start, alias = self._properties(data, properties_start, end)
            topic = self._resolved(topic, alias)
        except ValueError as error:
            why = f"packet cannot be decoded: {error}"
            self._add_odd(delivery, Odd(topic, data[start:end], end - start, retain, why))
            return
        if qos == 0 and topic and topic == self._aside:
            delivery.aside.append(data[payload_start:end])
            return
        payload, size = data[payload_start:end], end - payload_start + self._skipping
        if 0 < size <= limits.PAYLOAD_BYTES_MAX and not self._skipping:
            delivery.payloads.setdefault(topic, []).append(payload)
            delivery.count += 1
            delivery.size_bytes += size
        else:
            self._add_odd(delivery, Odd(topic, payload, size, retain))

    def _add_odd(self, delivery: Delivery, odd: Odd) -> None:
        delivery.odd.append(odd)
        delivery.count += 1
        delivery.size_bytes += len(odd.payload)

    def _resolved(self, topic: bytes, alias: int | None) -> bytes:
        """[3.3.2.3.4]"""
        if alias is None:
            return topic
        if not 0 < alias <= self._topic_alias_max:
            raise ValueError(f"topic alias {alias}, limit {self._topic_alias_max}")
        if topic:
            self._topics[alias] = topic
            return topic
        if alias not in self._topics:
            raise ValueError(f"topic alias {alias} was never said")
        return self._topics[alias]

    def _properties(self, data: bytes, offset: int, end: int) -> tuple[int, int | None]:
        """Where the payload begins, and the topic alias. Raises ValueError."""
        if not self._has_properties:
            return offset, None
        start, length = _number(data, offset, end)
        payload_start = start + length
        if payload_start > end:
            raise ValueError("properties end early")
        alias = None
        position = start
        while position < payload_start:
            identifier = data[position]
            position += 1
            if identifier == _TOPIC_ALIAS:
                alias = int.from_bytes(data[position : position + 2])
            position = _behind(data, identifier, position, payload_start)
        if position > payload_start:
            raise ValueError("properties end early")
        # the short way knows properties by all their bytes, with a length of one byte
        if alias is None and length < 128 and len(self._known) < _PROPERTIES_KNOWN_MAX:
            self._known.add(data[offset:payload_start])
        return payload_start, alias


def _behind(data: bytes, identifier: int, position: int, end: int) -> int:
    """Where the value of a property ends. Raises ValueError."""
    if identifier in _PROPERTY_BYTES:
        return position + _PROPERTY_BYTES[identifier]
    if identifier == _SUBSCRIPTION_ID:
        return _number(data, position, end)[0]
    if identifier not in _PROPERTY_TEXTS:
        raise ValueError(f"property {identifier} in a PUBLISH")
    for _ in range(_PROPERTY_TEXTS[identifier]):
        position += 2 + int.from_bytes(data[position : position + 2])
    return position


def _number(data: bytes, offset: int, end: int) -> tuple[int, int]:
    """[1.5.5] A variable byte integer: where it ends, and its value. Raises ValueError."""
    value = 0
    for index in range(4):
        if offset + index >= end:
            break
        byte = data[offset + index]
        value |= (byte & 127) << 7 * index
        if byte < 128:
            return offset + index + 1, value
    raise ValueError("a number ends early")
