"""Kafka record headers: CloudEvents on every record, and the description of a dead letter.

CloudEvents 1.0.2, Kafka protocol binding, binary mode: attributes are headers `ce_<name>` in UTF-8,
the data's type is `content-type`.
"""

import functools
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final, NamedTuple

from wire import limits
from wire.malformed import Malformed, Reason

Headers = list[tuple[str, bytes]]

TYPE_PREFIX: Final = "org.fleetfold."
_DIGITS_MAX: Final = len(str(limits.TIME_MS_MAX))


def iso_time(time_ms: int) -> str:
    """RFC 3339, UTC, milliseconds."""
    return f"{_iso_second(time_ms // 1000)}.{time_ms % 1000:03}Z"


@functools.lru_cache(maxsize=64)
def _time_header(time_ms: int) -> tuple[str, bytes]:
    return ("ce_time", iso_time(time_ms).encode())


@functools.lru_cache(maxsize=64)
def _iso_second(time_s: int) -> str:
    return datetime.fromtimestamp(time_s, UTC).isoformat().replace("+00:00", "")


def cloud_event(*, type_: str, id_: str, source: str, subject: str, time_ms: int, content_type: str) -> Headers:
    """Headers of a record. `id_` is unique within `source`, so that a consumer can drop re-sends."""
    common = common_headers(type_=type_, source=source, content_type=content_type)
    return own_headers(common, id_.encode("utf-8", "replace"), subject.encode("utf-8", "replace"), time_ms)


def common_headers(*, type_: str, source: str, content_type: str) -> Headers:
    """The part of `cloud_event` that many records share."""
    attributes = {
        "content-type": content_type,
        "ce_specversion": "1.0",
        "ce_source": source,
        "ce_type": TYPE_PREFIX + type_,
    }
    return [(name, value.encode("utf-8", "replace")) for name, value in attributes.items()]


def own_headers(common: Headers, id_: bytes, subject: bytes, time_ms: int) -> Headers:
    """The headers of one record: `common` and its own.

    An empty `subject` is left out: CloudEvents allows none, but no empty one.
    """
    if not subject:
        return [*common, ("ce_id", id_), _time_header(time_ms)]
    return [*common, ("ce_id", id_), _time_header(time_ms), ("ce_subject", subject)]


def source(mqtt_topic: str, gateway: str, epoch: str, sequence: int) -> str:
    """The name of one device's message: where it was received, and its place in that gateway's spool."""
    return f"mqtt:{mqtt_topic}#{gateway}/{epoch}/{sequence}"


class DeadLetter(NamedTuple):
    """What could not be used, with its bytes, origin and reason.

    `origin` names the place: an MQTT topic, or `topic/partition/offset[/index]` in Kafka. `time_ms` is when
    the original was received. `size` is the original's bytes; `value` may be cut. `source` is what `source()` makes,
    where the original is one device's message; `asset_id` of a whole record is its key.
    """

    value: bytes
    reason: Reason
    detail: str
    origin: str
    time_ms: int
    asset_id: str = ""
    size: int = 0
    source: str = ""

    @classmethod
    def of(cls, raw: bytes, why: Malformed, origin: str, time_ms: int, asset_id: str = "") -> "DeadLetter":
        """A dead letter for `raw`, cut to the limit."""
        kept = raw[: limits.DEAD_LETTER_BYTES_MAX]
        return cls(kept, why.reason, why.detail[:500], origin[:500], time_ms, asset_id[:500], len(raw))

    def headers(self) -> Headers:
        """The record headers; the record value is `value`. The id is the origin: re-sends can be dropped."""
        described = cloud_event(
            type_="deadletter.v1",
            id_=self.origin,
            source="/fleetfold",
            subject=self.asset_id,
            time_ms=self.time_ms,
            content_type="application/octet-stream",
        )
        described += [
            ("dlq_reason", self.reason.encode()),
            ("dlq_detail", self.detail.encode("utf-8", "replace")),
            ("dlq_origin", self.origin.encode("utf-8", "replace")),
            ("dlq_time_ms", str(self.time_ms).encode()),
            ("dlq_size", str(self.size).encode()),
        ]
        if self.source:
            described.append(("dlq_source", self.source.encode("utf-8", "replace")))
        return described

    @classmethod
    def read(cls, value: bytes | None, headers: Iterable[tuple[str, bytes | None]]) -> "DeadLetter":
        """The inverse of `headers`; lenient, since people must be able to look at anything.

        Numbers that are none, or are out of range, read as 0 (`size`: as the length of `value`).
        """
        named = {name: (data or b"").decode("utf-8", "replace") for name, data in headers}
        reason = named.get("dlq_reason", "")
        return cls(
            value=value or b"",
            reason=Reason(reason) if reason in Reason.__members__.values() else Reason.NOT_DECODABLE,
            detail=named.get("dlq_detail", ""),
            origin=named.get("dlq_origin", ""),
            time_ms=_number(named.get("dlq_time_ms"), 0),
            asset_id=named.get("ce_subject", ""),
            size=_number(named.get("dlq_size"), len(value or b"")),
            source=named.get("dlq_source", ""),
        )


def _number(text: str | None, otherwise: int) -> int:
    digits = text or ""
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS_MAX):
        return otherwise
    return int(digits)
