"""What becomes of MQTT messages: payloads of a series, dead letters, or nothing. Pure.

Payloads are not decoded: they go on as the device sent them.
"""

from dataclasses import dataclass, field
from typing import Final

import msgspec

from edge.inbox import Delivery, Odd
from edge.spool import records
from edge.spool import series as names
from edge.spool.records import Bundle, Refused, Run
from wire import limits, topics
from wire.malformed import Malformed, Reason
from wire.topics import Channel

_ORIGIN_CHARS_MAX: Final = 200
"""Kept of a topic, so that an origin with gateway, epoch and sequence stays below the limit of dead letters."""


class Arrival(msgspec.Struct, gc=False):
    """Payloads of one series (see `records`) in the order received, none empty; `runs` say when."""

    series: bytes
    payloads: list[bytes]
    runs: list[Run]

    def bundle(self) -> Bundle:
        """As the spool stores it."""
        return records.bundle(self.series, self.runs, self.payloads)


@dataclass(slots=True)
class Judged:
    """`cleared` messages were empty and retained: they only clear what the broker keeps."""

    arrivals: dict[bytes, Arrival] = field(default_factory=dict)
    """By series."""
    refused: list[Refused] = field(default_factory=list)
    cleared: int = 0


def judge(deliveries: list[Delivery]) -> Judged:
    """Sort messages by what becomes of them."""
    judged = Judged()
    for delivery in deliveries:
        received_ms = within_range(delivery.received_ms)
        one = Run(received_ms, 1)
        for topic, payloads in delivery.payloads.items():
            series = names.of_topic(topic) or _series(topic)
            if isinstance(series, Malformed):
                judged.refused += [_refused(Odd(topic, each, len(each)), series, received_ms) for each in payloads]
            else:
                add(judged.arrivals, series, payloads, one if len(payloads) == 1 else Run(received_ms, len(payloads)))
        for odd in delivery.odd:
            _judge_odd(judged, odd, received_ms)
    return judged


def add(arrivals: dict[bytes, Arrival], series: bytes, payloads: list[bytes], run: Run) -> None:
    """Put payloads that were received at one time behind those of their series."""
    arrival = arrivals.get(series)
    if arrival is None:
        arrivals[series] = Arrival(series, payloads, [run])
        return
    arrival.payloads += payloads
    last = arrival.runs[-1]
    if last.received_ms == run.received_ms:
        arrival.runs[-1] = Run(run.received_ms, last.payload_count + run.payload_count)
    else:
        arrival.runs.append(run)


def _judge_odd(judged: Judged, odd: Odd, received_ms: int) -> None:
    if odd.malformed is not None:
        judged.refused.append(_refused(odd, Malformed(Reason.BAD_TOPIC, odd.malformed), received_ms))
        return
    address = _address(odd.topic)
    if isinstance(address, Malformed):
        judged.refused.append(_refused(odd, address, received_ms))
    elif odd.size == 0 and (odd.retain or address.channel is Channel.CONNECTION):
        judged.cleared += 1
    elif odd.size == 0:
        why = Malformed(Reason.NOT_DECODABLE, "empty payload")
        judged.refused.append(_refused(odd, why, received_ms, address.channel, address.asset_id))
    else:
        why = Malformed(Reason.TOO_LARGE, f"{odd.size} bytes, limit {limits.PAYLOAD_BYTES_MAX}")
        judged.refused.append(_refused(odd, why, received_ms, address.channel, address.asset_id))


def within_range(clock_ms: int) -> int:
    """A gateway's clock may show anything; what it shows outside 1970 to 2099 is cut to that."""
    return min(max(clock_ms, 0), limits.TIME_MS_MAX)


def _series(topic: bytes) -> bytes | Malformed:
    address = _address(topic)
    return address if isinstance(address, Malformed) else names.of(address)


def _address(topic: bytes) -> topics.Address | Malformed:
    if b"\0" in topic:
        return Malformed(Reason.BAD_TOPIC, "NUL in the topic")
    try:
        return topics.parse_mqtt_topic(topic.decode())
    except UnicodeDecodeError:
        return Malformed(Reason.BAD_TOPIC, "topic is not UTF-8")


def _refused(
    odd: Odd, why: Malformed, received_ms: int, channel: Channel = Channel.SIGNALS, asset_id: str = ""
) -> Refused:
    return Refused(
        received_ms=received_ms,
        kafka_topic=topics.dead_letter_topic(topics.KAFKA_TOPIC_OF[channel]),
        origin=f"mqtt:{_printable(odd.topic.decode('utf-8', 'backslashreplace'))}",
        asset_id=asset_id,
        reason=why.reason,
        detail=_printable(why.detail),
        size=odd.size,
        payload=odd.payload[: limits.DEAD_LETTER_BYTES_MAX],
    )


def _printable(text: str) -> str:
    """Short, and without what cannot be encoded or would disturb a terminal."""
    kept = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text[:_ORIGIN_CHARS_MAX])
    return kept if len(text) <= _ORIGIN_CHARS_MAX else f"{kept}…"
