"""A fleet of documents as the twin service writes them, the same each time: for questions to be asked of."""

from datetime import UTC, datetime, timedelta
from typing import Any

from pymongo.database import Database

from cloud import schema, search
from cloud import twin as twins
from cloud.upgrades import SCHEMA_VERSION

Document = dict[str, Any]

NOW = datetime.now(UTC).replace(microsecond=0)
VEHICLES = 2_000
STATIONS = 200
MODELS = (("Aurora", "A1"), ("Aurora", "A3"), ("Borealis", "Bolt 5"), ("Cygnus", "C-Cross"))
YEARS = range(2015, 2026)
MUNICH = (48.137, 11.575)
LIFE = ("delivered", "delivered", "delivered", "serviced", "built")


def vehicle_id(number: int) -> str:
    return f"veh-{number:05d}"


def station_id(number: int) -> str:
    return f"sta-{number:05d}"


def vin(number: int) -> str:
    return f"WFL{number % 10}ZZZ1{number % 7}P{number:07d}"


def plate(number: int) -> str:
    return f"M-FF {number}"


def tree(values: dict[str, Any], ts: datetime) -> Document:
    """Paths and values as the nested signals of a twin."""
    root: Document = {}
    for path, value in values.items():
        *branches, leaf = path.split(".")
        node = root
        for branch in branches:
            node = node.setdefault(branch, {})
        node[leaf] = {"value": value, "ts": ts}
    return root


def finding(asset_id: str, detector: str, severity: str, subject: str = "") -> Document:
    opened = NOW - timedelta(hours=5)
    return {
        "anomaly_id": f"{asset_id}:{detector}:{subject}:{int(opened.timestamp() * 1000)}",
        "detector": detector,
        "subject": subject,
        "severity": severity,
        "since": opened,
        "summary": f"{detector} on {asset_id}",
        "last": NOW,
    }


def twin(asset_id: str, kind: str, **fields: Any) -> Document:
    """A twin that was just heard of and is well; `fields` replace whole parts."""
    return {
        "_id": asset_id,
        "kind": kind,
        "schema_version": SCHEMA_VERSION,
        "catalog": "1",
        "revision": 3,
        "attributes": {},
        "signals": {},
        "connection": {
            "online": True,
            "since": NOW - timedelta(days=1),
            "session": "s1",
            "gateway": "gw-1",
            "last_seen": NOW,
            "silent": False,
        },
        "health": {"status": "ok", "worst": None, "open": []},
        "counters": {"frames": 12, "events": 1, "samples": 40, "gaps": 0},
        "fold": {"positions": [["fleet.signals.v1", "g", 0, 12]], "windows": []},
        "link": {"revision": 1},
        **fields,
    }


def vehicle(number: int) -> Document:
    """Vehicle `number`; every 100th is in trouble, every 50th is silent for as many minutes as its number."""
    asset_id = vehicle_id(number)
    brand, model = MODELS[number % len(MODELS)]
    year = YEARS[number % len(YEARS)]
    in_trouble = number % 100 == 0
    open_findings = [finding(asset_id, "low_voltage_battery", "critical")] if in_trouble else []
    last_seen = NOW - timedelta(minutes=number) if number % 50 == 1 else NOW
    state = LIFE[number % len(LIFE)]
    place = [MUNICH[1] + (number % 40) / 20, MUNICH[0] + (number // 40) / 50]
    signals = {
        "Vehicle.Speed": float(number % 130),
        "Vehicle.TraveledDistance": number * 1_000,
        "Vehicle.LowVoltageBattery.CurrentVoltage": 11.4 if in_trouble else 12.5 + (number % 10) / 10,
        "Vehicle.CurrentLocation.Latitude": place[1],
        "Vehicle.CurrentLocation.Longitude": place[0],
        "Vehicle.Powertrain.Type": ("ELECTRIC", "COMBUSTION")[number % 2],
        "Vehicle.Diagnostics.DTCList": ["P0301", "P0420"] if number % 97 == 0 else [],
        "Vehicle.Diagnostics.IsMILOn": number % 97 == 0,
        "Vehicle.Chassis.Axle.Row1.Wheel.Left.Tire.Pressure": 230 - number % 60,
    }
    return twin(
        asset_id,
        "vehicle",
        attributes={"vin": vin(number), "brand": brand, "model": model, "year": year, "plate": plate(number)},
        signals=tree(signals, last_seen),
        location={"type": "Point", "coordinates": place},
        connection={
            "online": last_seen == NOW,
            "since": last_seen - timedelta(days=1),
            "session": "s1",
            "gateway": "gw-1",
            "last_seen": last_seen,
            "silent": last_seen < NOW - timedelta(minutes=15),
        },
        health={
            "status": "critical" if in_trouble else "watch" if number % 33 == 0 else "ok",
            "worst": "low_voltage_battery" if in_trouble else None,
            "open": open_findings,
        },
        owner={
            "customer_id": f"C{number // 2:05d}",
            "display_name": customer_name(number // 2),
            "role": "owner",
            "since": NOW - timedelta(days=400),
            "overlaps": 0,
        },
        lifecycle={
            "state": state,
            "since": NOW - timedelta(days=400),
            "steps": [{"step": state, "ts": NOW - timedelta(days=400), "place": "Munich", "odometer_m": 12_000}],
        },
    )


def station(number: int) -> Document:
    """Station `number`; every 50th is faulted."""
    asset_id = station_id(number)
    faulted = number % 50 == 0
    signals = {
        "Station.ChargingStation.AvailabilityState": "Faulted" if faulted else "Available",
        "Station.EVSE.Power": 0.0 if faulted else 11_000.0,
        "Station.Controller.FirmwareVersion": f"2.{number % 3}.0",
    }
    return twin(
        asset_id,
        "station",
        attributes={"brand": "Volt & Sons", "model": "Pillar 22", "serial_number": f"SN{number}", "site": "Depot"},
        signals=tree(signals, NOW),
        health={
            "status": "service" if faulted else "ok",
            "worst": "station_faulted" if faulted else None,
            "open": [finding(asset_id, "station_faulted", "service", "connector-1")] if faulted else [],
        },
    )


def with_copies(held: Document) -> Document:
    """With the coarse copies, which are off by as much as they may be, some to one side and some to the other."""
    side = 0.99 if sum(held["_id"].encode()) % 2 else -0.99
    asset = twins.from_document(held)
    exact = twins.search_due(asset)
    values = {
        number: value + side * search.STEPS[number] if search.STEPS[number] else value  # type: ignore[operator]  # only numbers have steps
        for number, value in exact.values.items()
    }
    off = side * search.PLACE_STEP_DEGREES
    place = (exact.place[0] + off, exact.place[1] + off) if exact.place else None
    seen_ms = exact.seen_ms - (search.SEEN_STEP_MS if side > 0 else 0)
    copied = search.Search(values, place, seen_ms)
    asset.search = copied
    assert twins.search_due(asset) is copied
    return {**held, "search": search.document(copied)}


def customer_name(number: int) -> str:
    return f"{('Müller', 'Schmidt', 'Østergård', 'García')[number % 4]} {number:05d}"


def customer(number: int) -> Document:
    return {
        "_id": f"C{number:05d}",
        "display_name": customer_name(number),
        "email": f"c{number}@example.com",
        "phone": "+49 89 1234",
        "street": "Ring 1",
        "postal_code": "80331",
        "city": "München",
        "country": "DE",
        "language": "de",
        "consents": {"email": True, "phone": False},
        "updated": NOW - timedelta(days=3),
    }


def roles(number: int) -> list[Document]:
    """Vehicle `number` belongs to its owner; before, to customer 0."""
    bought = NOW - timedelta(days=400)
    held: Document = {
        "asset_id": vehicle_id(number),
        "role": "owner",
        "recorded": bought,
        "retracted": False,
    }
    return [
        held | {"_id": f"r{number}-2", "customer_id": f"C{number // 2:05d}", "from": bought, "to": None},
        held | {"_id": f"r{number}-1", "customer_id": "C00000", "from": bought - timedelta(days=300), "to": bought},
    ]


def activity(customer_number: int, days_ago: int) -> Document:
    customer_id = f"C{customer_number:05d}"
    return {
        "_id": f"{customer_id}:booked:{days_ago}",
        "customer_id": customer_id,
        "ts": NOW - timedelta(days=days_ago),
        "type": "booked",
        "via": "app",
        "asset_id": vehicle_id(2 * customer_number),
        "subject": "appointment",
        "reference": f"WO-{days_ago}",
    }


def anomaly(open_finding: Document, asset_id: str, kind: str) -> Document:
    held = dict(open_finding)
    return {
        "_id": held["anomaly_id"],
        "asset_id": asset_id,
        "kind": kind,
        "detector": held["detector"],
        "subject": held["subject"],
        "severity": held["severity"],
        "status": "open",
        "opened": held["since"],
        "last": NOW,
        "resolved": None,
        "summary": held["summary"],
        "advice": "Test the battery.",
        "evidence": {"Vehicle.LowVoltageBattery.CurrentVoltage": 11.4},
        "revision": 3,
    }


def event(asset_id: str, seq: int) -> Document:
    ts = NOW - timedelta(minutes=60 - seq)
    return {
        "_id": f"{asset_id}:s1:{seq}",
        "asset_id": asset_id,
        "kind": "vehicle",
        "type": "dtc",
        "ts": ts,
        "received": ts,
        "session": "s1",
        "seq": seq,
        "data": {"code": f"P030{seq}", "status": {"testFailed": True}},
    }


def fill(database: Database[Document]) -> None:
    """Schema and documents: 2,000 vehicles, 200 stations, their people and anomalies."""
    schema.ensure(database)
    whole = [vehicle(number) for number in range(VEHICLES)] + [station(number) for number in range(STATIONS)]
    database["twins"].insert_many([with_copies(held) for held in whole])
    database["customers"].insert_many([customer(number) for number in range(VEHICLES // 2)])
    database["asset_roles"].insert_many([role for number in range(VEHICLES) for role in roles(number)])
    raised = [anomaly(one, held["_id"], held["kind"]) for held in whole for one in held["health"]["open"]]
    database["anomalies"].insert_many(raised)
    events = [event(vehicle_id(number), seq) for number in range(0, VEHICLES, 100) for seq in range(8)]
    database["events"].insert_many(events)
    database["activities"].insert_many([activity(50, days) for days in range(1, 16)])
