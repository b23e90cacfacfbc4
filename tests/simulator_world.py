"""A simulated fleet for tests: settings, runs without a broker, and messages read as a receiver would."""

import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgpack
import numpy as np

from simulator.devices import UNCOUNTED, Message
from simulator.engine import Engine
from simulator.faults import FaultKind
from simulator.settings import FaultSection, FleetSection, SendSection, SimulatorSettings
from simulator.truth import Truth, TruthWriter
from wire.catalogue import BY_NUMBER, BY_PATH
from wire.topics import Channel

START_MS = 1_779_949_800_000
"""7:30 on a Thursday in the region: some leave for work, some are there, some charge."""

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
    return [*messages, *engine.finish()]


def told(engine: Engine, simulated_s: float, writer: TruthWriter) -> list[Message]:
    """The same, told to a truth in which everything that is sent is acknowledged."""
    writer.assets(engine.assets)
    messages = []
    for _ in range(round(simulated_s / engine.settings.step_s)):
        of_step = engine.step()
        writer.acknowledged(_positions(writer.sent(of_step, engine.cells)))
        writer.dropped(engine.links.take_dropped())
        messages += of_step
    farewells = list(engine.finish())
    writer.acknowledged(_positions(writer.sent(farewells)))
    writer.faults(engine.fault_reports)
    return messages + farewells


def _positions(given: list[int]) -> list[int]:
    return [position for position in given if position != UNCOUNTED]


def decoded(message: Message) -> dict[str, Any]:
    """The body of a message."""
    return decoded_payload(message.payload)


def decoded_payload(payload: bytes) -> dict[str, Any]:
    if payload[:1] == b"{":
        body: dict[str, Any] = json.loads(payload)
    else:
        body = msgpack.unpackb(payload, strict_map_key=False)
    return body


def samples(frame: dict[str, Any]) -> Iterator[tuple[int, str, Any]]:
    """(ts, path, value) of everything in a frame."""
    offsets = frame.get("dt", [0])
    for key, given in frame["signals"].items():
        path = key if key in BY_PATH else BY_NUMBER[int(key)].path
        for offset, value in zip(offsets, given if "dt" in frame else [given], strict=True):
            if value is not None:
                yield frame["ts"] + offset, path, value


class Told(NamedTuple):
    """What a message says, however it is encoded or kept; equal when it is the same message."""

    asset_id: str
    channel: str
    body: object


def told_by(asset_id: str, channel: str, payload: bytes) -> Told:
    """What a payload says. Types count: 1 is not 1.0."""
    if channel != Channel.SIGNALS:
        return Told(asset_id, channel, payload)
    frame = decoded_payload(payload)
    return Told(asset_id, channel, (frame["seq"], frozenset(map(repr, samples(frame)))))


def truth_tells(truth: Truth) -> list[tuple[Told, bool]]:
    """Everything in a truth, messages and cells, with whether it was acknowledged; per channel in order of making."""
    everything = [(told_by(*sent[1:4]), sent.acknowledged) for sent in truth.sent()]
    of = truth.cells_of()
    for frames in truth.cells():
        units = iter(frames.units.tolist())
        for row, sequence, send, acknowledged in zip(
            frames.rows.tolist(), frames.sequences.tolist(), frames.send, frames.acknowledged.tolist(), strict=True
        ):
            columns = [of[frames.kind].columns[column] for column in np.flatnonzero(send).tolist()]
            said = frozenset(repr((frames.ts_ms, column.path, column.value(next(units)))) for column in columns)
            everything.append((Told(of[frames.kind].ids[row], "signals", (sequence, said)), acknowledged))
    return everything


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
