"""What the tests of the collection rules share: sets, frames, and a twin kept by the simplest means."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import msgpack

from edge import receive
from edge.receive import Arrival
from edge.rules import plan
from edge.rules.engine import Engine, Limits, Tally
from edge.rules.plan import Plan
from edge.spool import records
from edge.spool import series as names
from edge.spool.records import Message, StorageClass
from wire.topics import Address, Channel, Kind

NOW_MS = 1_750_000_000_000
SPEED = "Vehicle.Speed"
AIR = "Vehicle.Exterior.AirTemperature"
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


class Sent(NamedTuple):
    """A payload as it comes out."""

    asset_id: str
    payload: bytes
    urgent: bool


class Bench:
    """The engine for tests: messages in, payloads out."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @property
    def tally(self) -> Tally:
        return self.engine.tally

    @property
    def plan(self) -> Plan:
        assert self.engine.plan is not None
        return self.engine.plan

    def apply(self, messages: Iterable[Message]) -> list[Sent]:
        """The urgent ones come behind the others of their chunk."""
        arrivals: dict[bytes, Arrival] = {}
        for each in messages:
            receive.add(arrivals, names.of(each.address), [each.payload], records.Run(each.received_ms, 1))
        passed = [arrival.bundle() for arrival in self.engine.apply(arrivals).values()]
        return [
            Sent(each.address.asset_id, message.payload, records.storage_class(each) is StorageClass.EVENTS)
            for each in passed
            for message in records.messages(each)
        ]


def engine(
    *rules: dict[str, Any],
    assets_max: int = 100,
    ring_bytes_max: int = 1_000_000,
    settle_s: float = 0.0,
    monotonic_s: Callable[[], float] = lambda: 0.0,
    **more: Any,
) -> Bench:
    made = Engine(Limits(assets_max, ring_bytes_max, settle_s), monotonic_s)
    made.adopt(planned(*rules, **more))
    return Bench(made)


def message(
    ts: int,
    signals: dict[Any, Any],
    *,
    seq: int | None = 0,
    asset_id: str = "car-1",
    received_ms: int = NOW_MS,
    **more: Any,
) -> Message:
    """`ts` counts from NOW_MS."""
    fields = {"v": 1, "ts": NOW_MS + ts, "signals": signals, **more}
    if seq is not None:
        fields |= {"session": "s", "seq": seq}
    return raw_message(bytes(msgpack.packb(fields)), asset_id, received_ms)


def raw_message(payload: bytes, asset_id: str = "car-1", received_ms: int = NOW_MS) -> Message:
    return Message(received_ms, Address(Kind.VEHICLE, asset_id, Channel.SIGNALS), payload)


def frame_of(sent: Sent | Message) -> dict[str, Any]:
    decoded: dict[str, Any] = msgpack.unpackb(sent.payload, strict_map_key=False)
    return decoded


def samples_of(records: Iterable[Sent | Message]) -> list[tuple[int, str, Any]]:
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


def fold(twin: Twin, records: Iterable[Sent | Message]) -> None:
    """Newest by source time wins; of one moment the greater value."""
    for ms, path, value in samples_of(records):
        held = twin.get(path)
        if held is None or ms > held[1] or (ms == held[1] and value > held[0]):
            twin[path] = (value, ms)


def first_copies(records: Iterable[Sent]) -> list[Sent]:
    """As the twin service takes them: the first of each seq, and what has none."""
    seen: set[int] = set()
    taken: list[Sent] = []
    for record in records:
        seq = frame_of(record).get("seq")
        if seq is None or seq not in seen:
            taken.append(record)
        if seq is not None:
            seen.add(seq)
    return taken
