"""Questions that aftersales staff would ask, made from what the run has in store."""

from typing import Any, Final

import pymongo

from local.services import CLOUD, Program

_LIMIT: Final = ("--limit", "5")


def ready_made(uri: str, database: str) -> list[Program]:
    """Queries with a place, a car and a customer that exist in this run."""
    with pymongo.MongoClient[dict[str, Any]](uri) as client:
        twins = client[database]["twins"]
        affected = twins.find_one(
            {"kind": "vehicle", "owner.customer_id": {"$exists": True}, "health.open": {"$ne": []}},
            sort=[("health.status", pymongo.ASCENDING), ("_id", pymongo.ASCENDING)],
        )
        car = affected or twins.find_one({"kind": "vehicle"}) or twins.find_one()
        placed = twins.find_one({"kind": "station", "location": {"$exists": True}}) or twins.find_one(
            {"location": {"$exists": True}}
        )
    return [
        _twins("--health", "critical"),
        _twins("--where", "Vehicle.LowVoltageBattery.CurrentVoltage<12"),
        *_near(placed),
        Program("anomalies", (CLOUD, "anomalies", "list", *_LIMIT)),
        *_about(car),
    ]


def _twins(*filters: str) -> Program:
    return Program("find", (CLOUD, "twins", "find", *filters, *_LIMIT))


def _near(twin: dict[str, Any] | None) -> list[Program]:
    if twin is None:
        return []
    longitude, latitude = twin["location"]["coordinates"]
    return [_twins("--near", f"{latitude:.4f},{longitude:.4f}", "--within-km", "10")]


def _about(twin: dict[str, Any] | None) -> list[Program]:
    if twin is None:
        return []
    show = [Program("show", (CLOUD, "twins", "show", twin["_id"]))]
    if "owner" in twin:
        show.append(Program("customer", (CLOUD, "customers", "show", twin["owner"]["customer_id"])))
    return show
