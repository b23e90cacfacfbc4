"""The records that the fold's benchmark reads: a fleet of cars on the road, 20 signals each, as an agent batches them.

Half of the devices name signals by path, half by catalogue number, as in the simulated fleet.
"""

import random
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from wire import batches, catalogue, codec, messages, topics

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
    "Vehicle.CurrentLocation.Latitude": (47.5, 54.5),
    "Vehicle.CurrentLocation.Longitude": (6.2, 14.8),
    "Vehicle.CurrentLocation.Heading": (0.0, 359.9),
    "Vehicle.Powertrain.CombustionEngine.Speed": (800.0, 4500.0),
    "Vehicle.Powertrain.CombustionEngine.EngineCoolant.Temperature": (85.0, 96.0),
}
SIGNALS_PER_FRAME: Final = len(_FIXED) + len(_MOVING) + 1


class Workload(NamedTuple):
    """`assets` cars, each speaking every `interval_ms` with `frames_per_record` frames."""

    assets: int
    frames_per_record: int
    interval_ms: int
    seed: int = 1

    def record(self, asset: int, turn: int, now_ms: int) -> tuple[bytes, bytes]:
        """Key and value of the `turn`-th record of an asset; its last frame is of `now_ms`."""
        count = self.frames_per_record
        step_ms = self.interval_ms // count
        times = [now_ms - step_ms * (count - 1 - index) for index in range(count)]
        chance = random.Random(f"{self.seed}/{asset}/{turn}")  # noqa: S311 - made-up cars
        asset_id = f"car-{asset:06d}"
        batch = messages.Batch(
            v=1,
            kind=topics.Kind.VEHICLE,
            asset_id=asset_id,
            channel=topics.Channel.SIGNALS,
            gateway="gateway-1",
            epoch="5f2c",
            first_sequence=turn * count,
            sequence_offsets=list(range(count)),
            received_ms=times,
            payloads=[_frame(chance, asset, turn * count + index, ts_ms) for index, ts_ms in enumerate(times)],
        )
        return asset_id.encode(), batches.encode(batch)

    def records(self, turns: int, now_ms: int) -> Iterator[tuple[bytes, bytes]]:
        """`turns` records of every asset, all assets between two of one."""
        for turn in range(turns):
            for asset in range(self.assets):
                yield self.record(asset, turn, now_ms + turn * self.interval_ms)


def _frame(chance: random.Random, asset: int, seq: int, ts_ms: int) -> bytes:
    values: dict[str, Any] = {path: round(chance.uniform(*bounds), 3) for path, bounds in _MOVING.items()}
    values |= _FIXED | {"Vehicle.TraveledDistance": 1_000_000 + seq * 200}
    signals = {catalogue.BY_PATH[path].number: value for path, value in values.items()} if asset % 2 else values
    return codec.to_msgpack({"v": 1, "ts": ts_ms, "session": f"s{asset}", "seq": seq, "signals": signals})
