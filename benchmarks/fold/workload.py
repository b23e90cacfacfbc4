"""The records that the fold's benchmark reads: a fleet of cars on the road, 20 signals each, as an agent batches them.

Half of the devices name signals by path, half by catalogue number, as in the simulated fleet. The same frames exist
as BSON documents for a sink that cannot read batches.
"""

import random
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import bson
from bson.datetime_ms import DatetimeMS
from confluent_kafka import Producer

from wire import batches, catalogue, codec, kafka, messages, topics

_WHEELS: Final = ("Row1.Wheel.Left", "Row1.Wheel.Right", "Row2.Wheel.Left", "Row2.Wheel.Right")
_FIXED: Final[dict[str, Any]] = {
    "Vehicle.IsMoving": True,
    "Vehicle.LowVoltageSystemState": "ON",
    "Vehicle.Powertrain.CombustionEngine.IsRunning": True,
    "Vehicle.Powertrain.FuelSystem.RelativeLevel": 62,
    **{f"Vehicle.Chassis.Axle.{wheel}.Tire.Pressure": 230 + index for index, wheel in enumerate(_WHEELS)},
    **{f"Vehicle.Chassis.Axle.{wheel}.Tire.AirTemperature": 24.5 + index for index, wheel in enumerate(_WHEELS)},
}
_MOVING: Final = {
    "Vehicle.Speed": (0.0, 130.0),
    "Vehicle.LowVoltageBattery.CurrentVoltage": (13.8, 14.4),
    "Vehicle.CurrentLocation.Heading": (0.0, 359.9),
    "Vehicle.Powertrain.CombustionEngine.Speed": (800.0, 4500.0),
    "Vehicle.Powertrain.CombustionEngine.EngineCoolant.Temperature": (85.0, 96.0),
}
_METRES_PER_FRAME: Final = 200
_METRES_PER_DEGREE: Final = 111_320
SIGNALS_PER_FRAME: Final = len(_FIXED) + len(_MOVING) + 3
_NUMBER_OF: Final = {signal.path: signal.number for signal in catalogue.SIGNALS}


class Frame(NamedTuple):
    """What a car said at a moment: signals by path."""

    ts_ms: int
    seq: int
    values: dict[str, Any]


class Workload(NamedTuple):
    """`assets` cars, each sending `frames_per_record` frames every `interval_ms`, evenly spread over it.

    Record `index` is that of car `index % assets`; cars that start at another time count in another session.
    `paused_ms`: all say what they say so much later.
    """

    assets: int
    frames_per_record: int
    interval_ms: int
    start_ms: int
    paused_ms: int = 0

    @property
    def frames_of_a_turn(self) -> int:
        """A turn is one record of each car."""
        return self.assets * self.frames_per_record

    def turn(self, turn: int) -> range:
        """The indexes of its records."""
        return range(turn * self.assets, (turn + 1) * self.assets)

    def due_ms(self, index: int) -> int:
        """When a record is received at the gateway."""
        return self.start_ms + self.paused_ms + index * self.interval_ms // self.assets

    def scattered(self, turns: range) -> Iterator[int]:
        """A record of each car, from one of these turns: what depends on when a car was heard of, and where, is due for
        some of them at any time then, as in a fleet that runs."""
        return (turns[asset % len(turns)] * self.assets + asset for asset in range(self.assets))

    def frames(self, index: int) -> list[Frame]:
        """The frames of a record; the last is of the moment when it is received."""
        chance = random.Random(index)  # noqa: S311 - made-up cars
        (turn, asset), count = divmod(index, self.assets), self.frames_per_record
        step_ms = self.interval_ms // count
        return [
            _frame(chance, asset, turn * count + place, self.due_ms(index) - step_ms * (count - 1 - place))
            for place in range(count)
        ]

    def record(self, index: int) -> tuple[bytes, bytes]:
        """Key and value as an agent sends them."""
        asset, frames = index % self.assets, self.frames(index)
        asset_id = _asset_id(asset)
        batch = messages.Batch(
            v=1,
            kind=topics.Kind.VEHICLE,
            asset_id=asset_id,
            channel=topics.Channel.SIGNALS,
            gateway="gateway-1",
            epoch="5f2c",
            first_sequence=frames[0].seq,
            sequence_offsets=list(range(len(frames))),
            received_ms=[frame.ts_ms for frame in frames],
            payloads=[_payload(frame, asset, f"{self.start_ms}-{asset}") for frame in frames],
        )
        return asset_id.encode(), batches.encode(batch)

    def document(self, index: int) -> tuple[bytes, bytes]:
        """The same as a BSON document; several frames as an array."""
        asset_id = _asset_id(index % self.assets)
        shown = [_shown(frame) for frame in self.frames(index)]
        content = shown[0] if len(shown) == 1 else {"frames": shown}
        return asset_id.encode(), bson.encode({"_id": asset_id, **content})


def send(bootstrap_servers: str, topic: str, records: Iterator[tuple[bytes, bytes]]) -> int:
    """Produce all and wait until the broker has them; returns how many."""
    producer = Producer({**kafka.PRODUCER, "bootstrap.servers": bootstrap_servers, "linger.ms": 20})
    count = 0
    for key, value in records:
        while True:
            try:
                producer.produce(topic, key=key, value=value)
                break
            except BufferError:
                producer.poll(0.1)
        count += 1
    producer.flush()
    return count


def _asset_id(asset: int) -> str:
    return f"car-{asset:06d}"


def _frame(chance: random.Random, asset: int, seq: int, ts_ms: int) -> Frame:
    """Cars drive north on meridians of their own; where they started is spread over Germany."""
    driven_m = seq * _METRES_PER_FRAME
    place = {
        "Vehicle.CurrentLocation.Latitude": 47.5 + (asset * 0.61803 % 1) * 6.5 + driven_m / _METRES_PER_DEGREE,
        "Vehicle.CurrentLocation.Longitude": 6.2 + (asset * 0.41421 % 1) * 8.6,
    }
    values: dict[str, Any] = {
        path: round(low + (high - low) * chance.random(), 3) for path, (low, high) in _MOVING.items()
    }
    return Frame(ts_ms, seq, values | _FIXED | place | {"Vehicle.TraveledDistance": 1_000_000 + driven_m})


def _payload(frame: Frame, asset: int, session: str) -> bytes:
    signals = {_NUMBER_OF[path]: value for path, value in frame.values.items()} if asset % 2 else frame.values
    return codec.to_msgpack({"v": 1, "ts": frame.ts_ms, "session": session, "seq": frame.seq, "signals": signals})


def _shown(frame: Frame) -> dict[str, Any]:
    root: dict[str, Any] = {}
    time = DatetimeMS(frame.ts_ms)
    for path, value in frame.values.items():
        *branches, leaf = path.split(".")
        node = root
        for branch in branches:
            node = node.setdefault(branch, {})
        node[leaf] = {"value": value, "ts": time}
    return {"seq": frame.seq, "ts": time, "signals": root}
