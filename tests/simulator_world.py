"""A simulated fleet for tests: settings, runs without a broker, and messages read as a receiver would."""

import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import msgpack

from simulator.devices import Message
from simulator.engine import Engine
from simulator.faults import FaultKind
from simulator.settings import FaultSection, FleetSection, SendSection, SimulatorSettings
from wire.catalogue import BY_NUMBER, BY_PATH
from wire.topics import Channel

START_MS = 1_780_000_000_000

NO_FAULTS = FaultSection.model_validate({str(kind): 0 for kind in FaultKind})


def settings(misbehave: float = 0.0, faults: FaultSection | None = None, **fleet: Any) -> SimulatorSettings:
    """A small fleet: 40 vehicles and 8 stations unless told otherwise."""
    size = {"vehicles": 40, "stations": 8, "seed": 1, **fleet}
    return SimulatorSettings(
        fleet=FleetSection(**size), faults=faults or FaultSection(), send=SendSection(misbehave=misbehave)
    )


def run(engine: Engine, simulated_s: float) -> list[Message]:
    """Everything that is sent in `simulated_s`, farewells included."""
    messages = []
    for _ in range(round(simulated_s / engine.settings.step_s)):
        messages += engine.step()
    return messages + engine.finish()


def decoded(message: Message) -> dict[str, Any]:
    """The body of a message."""
    if message.payload[:1] == b"{":
        body: dict[str, Any] = json.loads(message.payload)
    else:
        body = msgpack.unpackb(message.payload, strict_map_key=False)
    return body


def samples(frame: dict[str, Any]) -> Iterator[tuple[int, str, Any]]:
    """(ts, path, value) of everything in a frame."""
    offsets = frame.get("dt", [0])
    for key, given in frame["signals"].items():
        path = key if key in BY_PATH else BY_NUMBER[int(key)].path
        for offset, value in zip(offsets, given if "dt" in frame else [given], strict=True):
            if value is not None:
                yield frame["ts"] + offset, path, value


def series(messages: list[Message]) -> dict[str, dict[str, list[tuple[int, Any]]]]:
    """asset → path → samples by time."""
    found: dict[str, dict[str, list[tuple[int, Any]]]] = defaultdict(lambda: defaultdict(list))
    for message in messages:
        if message.channel is Channel.SIGNALS and not message.again:
            for ts_ms, path, value in samples(decoded(message)):
                found[message.asset_id][path].append((ts_ms, value))
    for paths in found.values():
        for entries in paths.values():
            entries.sort(key=lambda entry: entry[0])
    return found


def events(messages: list[Message]) -> list[tuple[str, dict[str, Any]]]:
    """(asset, body) of every event."""
    return [(m.asset_id, decoded(m)) for m in messages if m.channel is Channel.EVENTS and not m.again]
