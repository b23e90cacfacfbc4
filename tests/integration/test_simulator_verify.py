"""`fleetfold-sim verify` against a real MongoDB whose twins a test wrote by hand from the promises."""

import threading
import time
from datetime import UTC, datetime, timedelta

import msgpack
import pytest
from pymongo import MongoClient
from typer.testing import CliRunner

from runtime import exits
from simulator.cli import app
from simulator.engine import Engine
from simulator.truth import TruthWriter
from tests.simulator_world import START_MS, decoded, samples, settings, told
from wire.messages import Role
from wire.topics import Channel

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _date(ms):
    return _EPOCH + timedelta(milliseconds=ms)


def _twins(messages):
    """What the promises say about these messages, the simple way."""
    twins, events = {}, []
    for message in messages:
        if message.again:
            continue
        body = decoded(message)
        twin = twins.setdefault(message.asset_id, {"_id": message.asset_id, "newest": {}, "counters": {}})
        counters = twin["counters"]
        if message.channel is Channel.CONNECTION:
            if body["ts"] >= twin.get("told", 0):
                twin["told"] = body["ts"]
                twin["connection"] = {name: body[name] for name in ("online", "session", "software")}
        elif message.channel is Channel.EVENTS:
            counters["events"] = counters.get("events", 0) + 1
            key = f"{message.asset_id}:{body['session']}:{body['seq']}"
            data = {name: value for name, value in body.items() if name not in ("v", "session", "seq", "ts", "type")}
            event = {"_id": key, "asset_id": message.asset_id, "type": body["type"], "ts": _date(body["ts"])}
            events.append(event | {"data": data})
        else:
            counters["frames"] = counters.get("frames", 0) + 1
            for ts_ms, path, value in samples(body):
                counters["samples"] = counters.get("samples", 0) + 1
                held = twin["newest"].get(path)
                if held is None or (ts_ms, value) > held:
                    twin["newest"][path] = (ts_ms, value)
    return [_document(twin) for twin in twins.values()], events


def _document(twin):
    newest = twin.pop("newest")
    signals = {}
    for path, (ts_ms, value) in newest.items():
        node = signals
        *parents, leaf = path.split(".")
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = {"value": value, "ts": _date(ts_ms)}
    if "Vehicle.CurrentLocation.Latitude" in newest:
        place = [newest[f"Vehicle.CurrentLocation.{axis}"][1] for axis in ("Longitude", "Latitude")]
        twin["location"] = {"type": "Point", "coordinates": place}
    return {**twin, "signals": signals}


@pytest.fixture
def world(mongodb_uri, mongo_database, tmp_path):
    """A run of 20 minutes, its truth, and the right twins in a database."""
    engine = Engine(settings(vehicles=12, stations=3, misbehave=0.05), START_MS)
    with TruthWriter(tmp_path / "truth", {}) as writer:
        messages = told(engine, 1_200, writer)
    twins, events = _twins(messages)
    raised = {(report.asset_id, report.detector) for report in engine.fault_reports if report.detector is not None}
    found = {"subject": "", "severity": "service", "status": "open"}
    anomalies = [
        {"_id": f"{asset}:{detector}::1", "asset_id": asset, "detector": detector, **found}
        for asset, detector in sorted(raised)
    ]
    for twin in twins:
        shown = [{"anomaly_id": one["_id"]} for one in anomalies if one["asset_id"] == twin["_id"]]
        twin["health"] = {"status": "service" if shown else "ok", "open": shown}
    with MongoClient(mongodb_uri) as client:
        database = client[mongo_database]
        database["twins"].insert_many(twins)
        database["events"].insert_many(events)
        database["anomalies"].insert_many(anomalies)
        yield database, tmp_path / "truth"


@pytest.fixture
def verify(mongodb_uri, mongo_database):
    def call(*truths, options=()):
        words = [word for truth in truths for word in ("--truth", str(truth))]
        where = ["--mongodb-uri", mongodb_uri, "--database", mongo_database]
        answer = CliRunner().invoke(app, ["verify", *words, *where, *options])
        return answer.exit_code, answer.stdout.splitlines()

    return call


def test_right_twins_are_verified_and_the_last_line_says_how_many(world, verify):
    database, truth = world
    code, lines = verify(truth)
    total = database["twins"].aggregate(
        [{"$group": {"_id": 0, "sum": {"$sum": {"$add": ["$counters.frames", {"$ifNull": ["$counters.events", 0]}]}}}}]
    )
    count = next(iter(total))["sum"]
    assert lines == [f"verified: {count} sent, {count} folded, 0 lost, 0 doubled, 0 wrong"]
    assert code == exits.OK
    assert count > 1_000


def test_a_lost_a_doubled_and_a_wrong_thing_are_told_apart(world, verify):
    database, truth = world
    one, two, three = database["twins"].find({"_id": {"$regex": "^car"}}).sort("_id").limit(3)
    database["twins"].update_one({"_id": one["_id"]}, {"$inc": {"counters.frames": -2}})
    database["twins"].update_one({"_id": two["_id"]}, {"$inc": {"counters.frames": 3}})
    database["twins"].update_one({"_id": three["_id"]}, {"$set": {"signals.Vehicle.TraveledDistance.value": 1}})
    code, lines = verify(truth)
    assert code == exits.FAILED
    assert lines[-1].endswith("2 lost, 3 doubled, 1 wrong")
    assert any(line.startswith(f"lost: {one['_id']}") for line in lines)
    assert any(line.startswith(f"doubled: {two['_id']}") for line in lines)
    assert any(line.startswith(f"wrong: {three['_id']}: Vehicle.TraveledDistance is 1 at") for line in lines)


def test_a_lost_event_and_a_false_alarm_are_found(world, verify):
    database, truth = world
    gone = database["events"].find_one_and_delete({})
    healthy = database["twins"].find_one({"_id": {"$nin": database["anomalies"].distinct("asset_id")}})["_id"]
    false = {"asset_id": healthy, "detector": "tyre_pressure_low", "severity": "watch", "status": "resolved"}
    database["anomalies"].insert_one({"_id": "x", **false})
    _, lines = verify(truth)
    assert any(f"event {gone['_id']} is missing" in line for line in lines)
    assert any(line.startswith(f"wrong: {healthy}: false alarm: tyre_pressure_low") for line in lines)


def test_a_missing_finding_is_found(world, verify):
    database, truth = world
    sick = {"low_voltage_battery", "brake_pads_worn", "tyre_pressure_low"}
    database["anomalies"].delete_many({"detector": {"$in": list(sick)}})
    code, lines = verify(truth)
    assert code == exits.FAILED
    assert any("but there is no finding" in line for line in lines)


def test_all_twins_gone_are_all_messages_lost(world, verify):
    database, truth = world
    database["twins"].delete_many({})
    code, lines = verify(truth, options=["--differences-max", "2"])
    sent = int(lines[-1].split()[1])
    assert lines[-1].startswith(f"verified: {sent} sent, 0 folded, {sent} lost, 0 doubled")
    assert "more differences" in lines[2]
    assert code == exits.FAILED


def test_truths_of_several_runs_are_verified_together(world, verify, tmp_path):
    database, truth = world
    asset = database["twins"].find_one({"_id": {"$regex": "^car"}})["_id"]
    with TruthWriter(tmp_path / "people", {}) as writer:
        writer.facts([Role(1, "r", asset, "cust-1", "owner", START_MS, START_MS)])
    code, lines = verify(truth, tmp_path / "people")
    assert code == exits.FAILED
    assert any(line.startswith(f"wrong: {asset}: owner's customer_id is None") for line in lines)
    owner = {"customer_id": "cust-1", "display_name": None, "role": "owner", "since": _date(START_MS)}
    database["twins"].update_one({"_id": asset}, {"$set": {"owner": owner}})
    assert verify(truth, tmp_path / "people")[0] == exits.OK


def test_a_truth_torn_by_a_kill_is_still_verified(world, verify):
    _, truth = world
    path = truth / "sent.msgpack"
    last = msgpack.packb(["vehicle", "car-x", "signals", b"...", False])
    path.write_bytes(path.read_bytes() + last[:-4])
    assert verify(truth)[0] == exits.OK


def test_json_has_the_counts_and_the_differences(world, verify):
    database, truth = world
    database["twins"].update_one({}, {"$inc": {"counters.samples": 1}})
    code, lines = verify(truth, options=["--json"])
    assert code == exits.FAILED
    assert '"wrong": 1' in lines[0]
    assert "samples sent" in lines[0]


def test_waiting_gives_the_pipeline_time(world, verify):
    database, truth = world
    database["twins"].update_one({}, {"$inc": {"counters.frames": -1}})
    assert verify(truth, options=["--wait-s", "0.5"])[0] == exits.FAILED


def test_waiting_ends_early_once_nothing_more_comes_and_not_while_it_does(world, verify):
    database, truth = world
    database["twins"].update_one({}, {"$inc": {"counters.frames": -30}})
    began = time.monotonic()
    assert verify(truth, options=["--wait-s", "60", "--still-s", "0.5"])[0] == exits.FAILED
    assert time.monotonic() - began < 30
    slow = threading.Thread(target=lambda: [_later(database, by) for by in (1, 1, 28)])
    slow.start()
    code, lines = verify(truth, options=["--wait-s", "60", "--still-s", "3"])
    slow.join()
    assert code == exits.OK, lines


def _later(database, by):
    time.sleep(1.2)  # three times: longer in all than it may stand still
    database["twins"].update_one({}, {"$inc": {"counters.frames": by}})
