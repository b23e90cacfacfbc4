"""The records of a spool, one by one, for people and other programs."""

import base64
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from edge.inspection import Segment, Survey
from edge.spool import records
from edge.spool.files import Header
from edge.spool.records import Bundle, Gap, Record, StorageClass
from wire import codec
from wire.malformed import Malformed


class Filter(NamedTuple):
    """What is wanted: an empty set is any; times as the gateway's clock showed them, `until_ms` excluded."""

    storage_classes: frozenset[StorageClass] = frozenset(StorageClass)
    assets: frozenset[str] = frozenset()
    since_ms: int | None = None
    until_ms: int | None = None
    undelivered: bool = False

    def takes_time(self, received_ms: int) -> bool:
        """Whether a record of this time is wanted."""
        return (self.since_ms is None or received_ms >= self.since_ms) and (
            self.until_ms is None or received_ms < self.until_ms
        )

    def takes_asset(self, asset_id: str) -> bool:
        """Whether a record of this asset is wanted."""
        return not self.assets or asset_id in self.assets


def export(survey: Survey, wanted: Filter, segments: list[Segment]) -> Iterator[dict[str, Any]]:
    """Records as plain values, payloads as bytes, by class and in order; `segments` gets what was seen of each."""
    for name in survey.names:
        if name.storage_class not in wanted.storage_classes:
            continue
        report = Segment(str(name), name.storage_class.label)
        segments.append(report)
        try:
            for block in survey.blocks(name, report):
                common = {"class": name.storage_class.label, "stream": block.header.stream}
                for sequence, record in block.entries:
                    ordinal = block.header.first_ordinal + sequence - block.header.first_sequence
                    for offset, each in _flat(record, wanted):
                        if wanted.undelivered and survey.is_delivered(name.storage_class, ordinal + offset):
                            continue
                        yield {"epoch": _epoch(block.header), "sequence": sequence + offset, **common, **each}
        except FileNotFoundError:  # delivered and deleted meanwhile
            segments.pop()


def _epoch(header: Header) -> str:
    return header.epoch.hex()


def _flat(record: Record, wanted: Filter) -> Iterator[tuple[int, dict[str, Any]]]:
    """The parts of a record that are wanted, each with its distance from the first."""
    if isinstance(record, Bundle):
        kind, asset_id, channel = record.address
        if wanted.takes_asset(asset_id):
            for offset, message in enumerate(records.messages(record)):
                if wanted.takes_time(message.received_ms):
                    yield offset, {
                        "type": "message", "received_ms": message.received_ms, "kind": str(kind),
                        "asset_id": asset_id, "channel": str(channel), "payload": message.payload,
                    }  # fmt: skip
    elif wanted.takes_time(record.received_ms) and wanted.takes_asset(
        "" if isinstance(record, Gap) else record.asset_id
    ):
        plain = {name: _plain(value) for name, value in record._asdict().items()}
        yield 0, {"type": "gap" if isinstance(record, Gap) else "refused", **plain}


def _plain(value: Any) -> Any:
    if isinstance(value, StorageClass):
        return value.label
    return str(value) if isinstance(value, str) else value


def to_json_line(exported: dict[str, Any]) -> bytes:
    """One line: the time also for people; a payload as the JSON it means, or in base64 when it means none."""
    line = dict(exported)
    line["received"] = datetime.fromtimestamp(line["received_ms"] / 1000, UTC).isoformat(timespec="milliseconds")
    payload = line.pop("payload", None)
    if payload is not None:
        line |= _readable(payload)
    return msgspec.json.encode(line) + b"\n"


def _readable(payload: bytes) -> dict[str, Any]:
    content = codec.decode(payload)
    if not isinstance(content, Malformed):
        try:
            return {"payload": msgspec.Raw(msgspec.json.encode(content))}
        except (TypeError, ValueError):  # keys or values that JSON does not know
            pass
    return {"payload_base64": base64.b64encode(payload).decode()}
