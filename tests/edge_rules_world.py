"""What the tests of the collection rules share: sets, frames, and a twin kept by the simplest means."""

from collections.abc import Iterable
from typing import Any

import msgpack

from edge.rules import plan
from edge.rules.engine import Engine, Limits
from edge.rules.plan import Plan
from edge.spool.records import Message, Record
from wire.topics import Channel, Kind

NOW_MS = 1_750_000_000_000
SPEED = "Vehicle.Speed"
RPM = "Vehicle.Powertrain.CombustionEngine.Speed"
STATE = "Vehicle.LowVoltageSystemState"
MOVING = "Vehicle.IsMoving"
DTCS = "Vehicle.Diagnostics.DTCList"

Twin = dict[str, tuple[Any, int]]
"""Path to (value, source time in ms)."""


def rule(name: str = "r", mode: str = "on_change", signals: Iterable[str] = ("*",), **more: Any) -> dict[str, Any]:
    return {"name": name, "mode": mode, "kind": "vehicle", "signals": list(signals), **more}


def capture(condition: str, name: str = "c", **more: Any) -> dict[str, Any]:
    return {"name": name, "mode": "capture", "kind": "vehicle", "condition": condition, **more}


def planned(*rules: dict[str, Any], **more: Any) -> Plan:
    made = plan.make({"version": 1, "rules": list(rules), **more})
    assert isinstance(made, Plan), made
    return made


def engine(*rules: dict[str, Any], assets_max: int = 100, ring_bytes_max: int = 1_000_000, **more: Any) -> Engine:
    made = Engine(Limits(assets_max, ring_bytes_max), lambda: 0.0)
    made.adopt(planned(*rules, **more))
    return made


def message(
    ts: int,
    signals: dict[Any, Any],
    *,
    seq: int | None = 0,
    asset_id: str = "car-1",
    received_ms: int = NOW_MS,
    **more: Any,
) -> Message:
    """`ts` and `received_ms` count from NOW_MS where they are small."""
    fields = {"v": 1, "ts": NOW_MS + ts, "signals": signals, **more}
    if seq is not None:
        fields |= {"session": "s", "seq": seq}
    return Message(received_ms, Kind.VEHICLE, asset_id, Channel.SIGNALS, bytes(msgpack.packb(fields)))


def frame_of(record: Record) -> dict[str, Any]:
    assert type(record) is Message
    decoded: dict[str, Any] = msgpack.unpackb(record.payload, strict_map_key=False)
    return decoded


def samples_of(records: Iterable[Record]) -> list[tuple[int, str, Any]]:
    """(source time counted from NOW_MS, path, value), in the order of the frames."""
    found: list[tuple[int, str, Any]] = []
    for record in records:
        frame = frame_of(record)
        offsets = frame.get("dt")
        for path, given in frame["signals"].items():
            column = given if offsets is not None else [given]
            for offset, value in zip(offsets or [0], column, strict=True):
                if value is not None:
                    found.append((frame["ts"] + offset - NOW_MS, path, value))
    return found


def fold(twin: Twin, records: Iterable[Record]) -> None:
    """Newest by source time wins; of one moment the greater value."""
    for ms, path, value in samples_of(records):
        held = twin.get(path)
        if held is None or ms > held[1] or (ms == held[1] and value > held[0]):
            twin[path] = (value, ms)
