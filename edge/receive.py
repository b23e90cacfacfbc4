"""What becomes of an MQTT message: a record for its asset, a dead letter, or nothing. Pure."""

import functools
from typing import Final

from edge.inbox import Received
from edge.spool.records import Message, Record, Refused
from wire import limits, topics
from wire.malformed import Malformed, Reason
from wire.topics import Channel

_ORIGIN_CHARS_MAX: Final = 200
"""Kept of a topic, so that an origin with gateway, epoch and sequence stays below the limit of dead letters."""


def judge(message: Received) -> Record | None:
    """A record for the spool. None: an empty retained message, which only clears what the broker keeps.

    Payloads are not decoded: they go on as the device sent them.
    """
    address = Malformed(Reason.BAD_TOPIC, message.malformed) if message.malformed else _address(message.topic)
    if isinstance(address, Malformed):
        return _refused(message, address, Channel.SIGNALS)
    size = len(message.payload)
    if size == 0 and (message.retain or address.channel is Channel.CONNECTION):
        return None
    if size == 0:
        return _refused(message, Malformed(Reason.NOT_DECODABLE, "empty payload"), address.channel, address.asset_id)
    if size > limits.PAYLOAD_BYTES_MAX:
        why = Malformed(Reason.TOO_LARGE, f"{size} bytes, limit {limits.PAYLOAD_BYTES_MAX}")
        return _refused(message, why, address.channel, address.asset_id)
    received_ms = within_range(message.received_ms)
    return Message(received_ms, address.kind, address.asset_id, address.channel, message.payload)


def within_range(clock_ms: int) -> int:
    """A gateway's clock may show anything; what it shows outside 1970 to 2099 is cut to that."""
    return min(max(clock_ms, 0), limits.TIME_MS_MAX)


def _address(topic: str) -> topics.Address | Malformed:
    if "\0" in topic:
        return Malformed(Reason.BAD_TOPIC, "NUL in the topic")
    return _known_address(topic) if len(topic) <= _ORIGIN_CHARS_MAX else topics.parse_mqtt_topic(topic)


@functools.lru_cache(maxsize=16_384)
def _known_address(topic: str) -> topics.Address | Malformed:
    """A device uses the same three topics all its life."""
    return topics.parse_mqtt_topic(topic)


def _refused(message: Received, why: Malformed, channel: Channel, asset_id: str = "") -> Refused:
    return Refused(
        received_ms=within_range(message.received_ms),
        kafka_topic=topics.dead_letter_topic(topics.KAFKA_TOPIC_OF[channel]),
        origin=f"mqtt:{_printable(message.topic)}",
        asset_id=asset_id,
        reason=why.reason,
        detail=_printable(why.detail),
        size=len(message.payload),
        payload=message.payload[: limits.DEAD_LETTER_BYTES_MAX],
    )


def _printable(text: str) -> str:
    """Short, and without what cannot be encoded or would disturb a terminal."""
    kept = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text[:_ORIGIN_CHARS_MAX])
    return kept if len(text) <= _ORIGIN_CHARS_MAX else f"{kept}…"
