"""Builds what the twin service reads: payloads, batches, records, without the code under test."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgpack

from cloud.inbox import Delivery, Record, open_record

NOW_MS = 1_700_000_000_000
TOPIC_OF = {
    "signals": "fleet.signals.v1",
    "events": "fleet.events.v1",
    "connection": "fleet.connections.v1",
}


def frame(ts: int, signals: Mapping[str, Any], session: str | None = "s1", seq: int | None = 0, **more: Any) -> bytes:
    """A signals payload."""
    fields: dict[str, Any] = {"v": 1, "ts": ts, "signals": dict(signals), **more}
    if session is not None:
        fields["session"] = session
    if seq is not None:
        fields["seq"] = seq
    return bytes(msgpack.packb(fields))


def record(
    asset_id: str,
    payloads: Sequence[bytes],
    offset: int = 0,
    *,
    channel: str = "signals",
    kind: str = "vehicle",
    partition: int = 0,
    generation: str = "g1",
    first_sequence: int | None = None,
    received_ms: Iterable[int] | None = None,
    replay: str | None = None,
    gateway: str = "gw",
) -> Record:
    """A Kafka record that holds one batch."""
    first = offset * 100 if first_sequence is None else first_sequence
    batch = {
        "v": 1,
        "kind": kind,
        "asset_id": asset_id,
        "channel": channel,
        "gateway": gateway,
        "epoch": "e1",
        "first_sequence": first,
        "sequence_offsets": list(range(len(payloads))),
        "received_ms": list(received_ms or [NOW_MS] * len(payloads)),
        "payloads": list(payloads),
        "replay": replay,
    }
    key = asset_id.encode()
    return Record(TOPIC_OF[channel], generation, partition, offset, key, bytes(msgpack.packb(batch)), NOW_MS)


def delivery(asset_id: str, payloads: Sequence[bytes], offset: int = 0, **more: Any) -> Delivery:
    """A record, opened, that must hold no dead letters."""
    opened = open_record(record(asset_id, payloads, offset, **more))
    assert opened.dead_letters == []
    assert opened.delivery is not None
    return opened.delivery
