"""What devices and people say in tests of the twin service: an engine that overheats, a customer and her car."""

from cloud.inbox import Record
from tests.cloud_worker import fact
from tests.cloud_world import NOW_MS, frame, record

SPEED = "Vehicle.Speed"
COOLANT = "Vehicle.Powertrain.CombustionEngine.EngineCoolant.Temperature"
VIN = "1M8GDM9AXKP042788"


def hot(count: int = 6, start: int = 0) -> list[bytes]:
    """Frames of an overheating engine, a minute apart."""
    return [frame(NOW_MS + seq * 60_000, {SPEED: seq, COOLANT: 113.0}, "s", seq) for seq in range(start, start + count)]


PROFILE = {"customer_id": "c1", "display_name": "Ada Lovelace", "updated_ms": NOW_MS - 5000}
ROLE = {
    "role_id": "r1",
    "asset_id": "a",
    "customer_id": "c1",
    "role": "owner",
    "from_ms": NOW_MS - 9000,
    "recorded_ms": NOW_MS,
}
BUILT = {
    "asset_id": "a",
    "kind": "vehicle",
    "step": "built",
    "ts": NOW_MS - 99_000,
    "attributes": {"vin": VIN, "model": "Wren"},
}
BOOKED = {"activity_id": "b1", "customer_id": "c1", "ts": NOW_MS - 700, "type": "booked", "via": "app", "asset_id": "a"}


def booked(offset: int = 0) -> Record:
    return fact("customer.activity.v1", "c1", BOOKED, offset)


def facts() -> dict[str, Record]:
    return {
        "profile": fact("customer.profiles.v1", "c1", PROFILE, 0),
        "role": fact("asset.roles.v1", "a", ROLE, 0),
        "step": fact("vehicle.lifecycle.v1", "a", BUILT, 0),
        "telemetry": record("a", hot(1)),
    }
