"""A twin service with faults, to see whether the oracle notices: `python tests/broken_fold.py '{"car-1": "drops"}'`.

Each named asset (or customer) is treated wrongly in one way, all others as they should be. The patches are made on
import, so that the keeper of history, which is a process of its own, has them too.
"""

import json
import sys
from collections import Counter
from typing import Any

from cloud import effects, fold, link, linker, processor, twin
from cloud.history import collect
from wire import catalogue
from wire.frames import Reading, Sample
from wire.messages import ConnectionState

BREAKS: dict[str, str] = json.loads(sys.argv[1])
EVERY = 10
_SEEN: Counter[str] = Counter()

_LEFT, _RIGHT = (
    catalogue.BY_PATH[f"Vehicle.Chassis.Axle.Row1.Wheel.{side}.Tire.Pressure"].number for side in ("Left", "Right")
)
_ODOMETER = catalogue.BY_PATH["Vehicle.TraveledDistance"].number


def _is_turn(name: str) -> bool:
    """Every tenth time."""
    _SEEN[name] += 1
    return _SEEN[name] % EVERY == 0


real_fold_item = fold._fold_item


def _fold_item(of: Any, delivery: Any, item: Any, outcome: Any) -> None:
    broken, content = BREAKS.get(of.asset_id), item.content
    is_frame = isinstance(content, Reading)
    if broken == "drops a frame" and is_frame and _is_turn(broken):
        return
    if broken == "ignores farewells" and isinstance(content, ConnectionState) and not content.online:
        return
    real_fold_item(of, delivery, item, outcome)
    if broken == "counts a frame twice" and is_frame and _is_turn(broken):
        of.counters["frames"] += 1
    if broken == "takes a frame for an event" and is_frame and _is_turn(broken):
        of.counters["frames"] -= 1
        of.counters["events"] += 1
    if broken == "miscounts samples" and is_frame and _is_turn(broken):
        of.counters["samples"] += 1
    if broken == "invents a gap" and is_frame and _is_turn(broken):
        of.counters["gaps"] += 1
    if broken == "forgets the software" and isinstance(content, ConnectionState):
        of.connection.software = ""


real_fold_sample = fold._fold_sample


def _fold_sample(of: Any, sample: Sample, counted: bool, outcome: Any) -> None:
    broken, values, ts_ms = BREAKS.get(of.asset_id), dict(sample.values), sample.ts_ms
    if broken == "swaps two signals":
        other = {_LEFT: _RIGHT, _RIGHT: _LEFT}
        values = {other.get(number, number): value for number, value in values.items()}
    if broken == "keeps an old value" and _ODOMETER in of.values and _ODOMETER in values:
        values[_ODOMETER] = of.values[_ODOMETER]
    if broken == "loses a signal":
        values.pop(_ODOMETER, None)
        of.counters["samples"] += counted and _ODOMETER in sample.values
    if broken == "is a second off":
        ts_ms += 1_000
    real_fold_sample(of, Sample(ts_ms, values), counted, outcome)


real_fold_event = fold._fold_event


def _fold_event(of: Any, delivery: Any, item: Any, content: Any, outcome: Any) -> None:
    real_fold_event(of, delivery, item, content, outcome)
    if BREAKS.get(of.asset_id) == "loses an event":
        outcome.events.pop()
    if BREAKS.get(of.asset_id) == "garbles an event":
        data = outcome.events[-1]["data"]
        data[next(iter(data))] = "garbled"


real_anomaly_writes = effects.anomaly_writes


def _anomaly_writes(changes: Any, heard: int) -> Any:
    kept = [change for change in changes if BREAKS.get(change["_id"].split(":")[0]) != "forgets a finding"]
    return real_anomaly_writes(kept, heard)


real_apply = processor.findings.apply


def _apply(of: Any, transitions: Any, newest_ms: int) -> Any:
    changes = real_apply(of, transitions, newest_ms)
    if BREAKS.get(of.asset_id) == "cries wolf":
        raised = [change for change in changes if "status" in change]
        false = {"_id": f"{of.asset_id}:brake_pads_worn:x:1", "detector": "brake_pads_worn", "subject": "x"}
        return [*changes, *[change | false for change in raised]]
    return changes


real_health = twin._health_fields


def _health_fields(findings: Any) -> Any:
    of_broken = [one for one in findings.values() if BREAKS.get(one.anomaly_id.split(":")[0]) == "shows good health"]
    return real_health({} if of_broken else findings)


real_place = twin._place


def _place(of: Any) -> Any:
    place = real_place(of)
    return place[::-1] if place is not None and BREAKS.get(of.asset_id) == "swaps east and north" else place


real_owner_of = link.owner_of


def _owner_of(roles: Any, profiles: Any, now_ms: int) -> Any:
    lost = [role for role in roles if BREAKS.get(role["asset_id"]) == "loses an owner"]
    return None if lost else real_owner_of(roles, profiles, now_ms)


real_step_document = linker.fact_reader.step_document


def _step_document(step: Any) -> Any:
    document = real_step_document(step)
    if BREAKS.get(step.asset_id) == "moves a handover" and step.step == "delivered":
        document["place"] = "somewhere else"
    if BREAKS.get(step.asset_id) == "paints a car" and "color" in document.get("attributes", {}):
        document["attributes"]["color"] = "pink"
    if BREAKS.get(step.asset_id) == "loses a step of life" and step.step == "sold":
        document["step"] = "shipped"
    return document


real_profile_write, real_activity_write = linker._profile_write, linker._activity_write


def _profile_write(profile: Any) -> Any:
    if BREAKS.get(profile.customer_id) == "gives consent":
        profile.consents.update(dict.fromkeys(profile.consents, True))
    return real_profile_write(profile)


def _activity_write(activity: Any) -> Any:
    write = real_activity_write(activity)
    if BREAKS.get(activity.customer_id) == "loses what a customer did":
        write._filter["_id"] = "nothing"
    return write


real_pieces = collect._pieces


def _pieces(records: Any, kept: Any, now_ms: int) -> Any:
    if BREAKS.get(records[0].key.decode()) == "forgets history":
        return []
    return real_pieces(records, kept, now_ms)


fold._fold_run = lambda *_given: 0  # each frame by itself
fold._fold_item, fold._fold_sample, fold._fold_event = _fold_item, _fold_sample, _fold_event
effects.anomaly_writes, processor.findings.apply = _anomaly_writes, _apply
twin._health_fields, twin._place = _health_fields, _place
link.owner_of, linker.fact_reader.step_document = _owner_of, _step_document
linker._profile_write, linker._activity_write = _profile_write, _activity_write
collect._pieces = _pieces

if __name__ == "__main__":
    from cloud.cli import app

    app(["fold"])
