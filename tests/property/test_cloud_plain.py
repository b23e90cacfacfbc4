"""Plain frames folded a turn at a time leave what they leave when each is folded by itself."""

import json
from dataclasses import dataclass
from typing import Any

import msgpack
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from cloud import twin as twins
from cloud.inbox import Record
from cloud.twin import Twin
from tests.cloud_world import NOW_MS, TOPIC_OF, frame, record
from tests.plain_world import NEVER, Side

LAYOUTS: tuple[dict[str | int, Any], ...] = (
    {
        "Vehicle.Speed": 50.0,
        "Vehicle.IsMoving": True,
        "Vehicle.TraveledDistance": 1_000_000,
        "Vehicle.CurrentLocation.Latitude": 48.5,
        "Vehicle.CurrentLocation.Longitude": 9.1,
        "Vehicle.LowVoltageSystemState": "ON",
        "Vehicle.LowVoltageBattery.CurrentVoltage": 14.1,
        "Vehicle.Powertrain.CombustionEngine.IsRunning": True,
    },
    {1: 40.0, "Vehicle.TraveledDistance": 2**31 - 700, "Vehicle.Diagnostics.DTCList": []},
    {"Vehicle.Powertrain.FuelSystem.RelativeLevel": 62, "Vehicle.Speed": 1.0},
)
ODD = (
    *("skips", "again", "other session", "counts nothing", "late", "same time", "far ahead", "clock jumps"),
    *("two samples", "two frames", "partly refused", "refused", "captured", "urgent", "empty", "fewer", "more"),
    *(
        "null",
        "integer",
        "text",
        "unreadable",
        "JSON",
        "event",
        "connection",
        "replay",
        "other gateway",
        "other topic id",
    ),
    *("other partition", "same offset", "heard earlier", "much later", "far away", "low voltage", "twice", "wrong key"),
    *("wrong channel", "huge"),
    *("behind", "refused write", "more fields", "station"),
)


@dataclass(eq=False)
class Car:
    """What a device and its agent remember between messages."""

    name: str
    layout: dict[str | int, Any]
    session: str = "s"
    seq: int = 0
    ts: int = NOW_MS - 1_000_000
    offset: int = 0
    gateway: str = "gw"


def _moved(car: Car) -> dict[str | int, Any]:
    values = dict(car.layout)
    for name, value in values.items():
        if type(value) is float:
            values[name] = value + (car.seq % 7) / 1000
        elif name == "Vehicle.TraveledDistance":
            values[name] = value + 200 * car.seq
    return values


def _said(car: Car, odd: str) -> list[Record]:
    """One turn's records of a car: mostly one plain frame."""
    values, more, session, number, moment, received = _moved(car), {}, car.session, car.seq, car.ts, car.ts + 50
    channel, replay, kind, partition, generation = "signals", None, "vehicle", 0, "g1"
    payload: bytes | None = None
    if odd == "skips":
        car.seq += 3
        number = car.seq
    elif odd == "again":
        number = max(0, car.seq - 2)
    elif odd == "other session":
        car.session += "x"
        session, number, car.seq = car.session, 0, 0
    elif odd == "counts nothing":
        session = number = None
    elif odd in ("late", "same time", "far ahead"):
        moment += {"late": -5_000, "same time": -1_000, "far ahead": 2 * 86_400_000}[odd]
    elif odd == "clock jumps":
        car.ts += 3_600_000
    elif odd == "two samples":
        values, more = {"Vehicle.Speed": [1.0, 2.0]}, {"dt": [0, 400]}
    elif odd == "partly refused":
        values["Vehicle.Nonsense"] = 1
    elif odd == "refused":
        values["Vehicle.Speed"] = 1e9
    elif odd in ("captured", "urgent"):
        more = {"capture": "hard-braking"} if odd == "captured" else {"urgent": True}
    elif odd == "empty":
        values = {}
    elif odd == "fewer":
        values.popitem()
    elif odd == "more":
        values["Vehicle.CurrentLocation.Heading"] = 1.0
    elif odd == "null":
        values[next(iter(values))] = None
    elif odd == "integer":
        values["Vehicle.Speed"] = 7
    elif odd == "text" and "Vehicle.LowVoltageSystemState" in values:
        values["Vehicle.LowVoltageSystemState"] = car.layout["Vehicle.LowVoltageSystemState"] = "ACC"
    elif odd == "far away" and "Vehicle.CurrentLocation.Latitude" in values:
        values["Vehicle.CurrentLocation.Latitude"] = car.layout["Vehicle.CurrentLocation.Latitude"] = 51.0
    elif odd == "low voltage" and "Vehicle.LowVoltageBattery.CurrentVoltage" in values:
        values["Vehicle.LowVoltageBattery.CurrentVoltage"] = car.layout["Vehicle.LowVoltageBattery.CurrentVoltage"] = (
            11.0
        )
    elif odd == "unreadable":
        payload = b"\xc1"
    elif odd in ("JSON", "huge"):
        if odd == "huge":
            values[next(name for name, value in values.items() if type(value) is int)] = 10**400
        payload = json.dumps(
            {"v": 1, "ts": moment, "session": session, "seq": number, "signals": {str(k): v for k, v in values.items()}}
        ).encode()
    elif odd == "event":
        channel = "events"
        payload = msgpack.packb(
            {"v": 1, "type": "dtc", "ts": moment, "session": session, "seq": car.offset, "code": "P0301", "status": {}}
        )
    elif odd == "connection":
        channel = "connection"
        payload = msgpack.packb({"v": 1, "online": car.offset % 2 == 0, "session": session, "ts": moment})
    elif odd == "replay":
        replay = "messages"
    elif odd == "other gateway":
        car.gateway += "2"
    elif odd == "other topic id":
        generation = "g2"
    elif odd == "other partition":
        partition = 1
    elif odd == "heard earlier":
        received = moment - 3_000
    elif odd == "much later":
        received = car.ts = moment + 400_000
    elif odd == "more fields":
        more = {"from_the_future": 1}
    elif odd == "station":
        kind = "station"
    payloads = [payload or frame(moment, values, session, number, **more)]
    if odd == "two frames":
        car.seq, car.ts = car.seq + 1, car.ts + 1_000
        payloads.append(frame(car.ts, values, session, car.seq))
    times = [received] * len(payloads)
    offset = max(0, car.offset - 1) if odd == "same offset" else car.offset
    made = record(
        car.name,
        payloads,
        offset,
        channel=channel,
        kind=kind,
        partition=partition,
        generation=generation,
        received_ms=times,
        replay=replay,
        gateway=car.gateway,
    )
    if odd == "wrong key":
        made = record("car-9", payloads, offset, received_ms=times, gateway=car.gateway)
        made = replace(made, key=car.name.encode())
    if odd == "wrong channel":
        made = record(car.name, payloads, offset, channel="events", received_ms=times, gateway=car.gateway)
        made = replace(made, topic=TOPIC_OF["signals"])
    car.offset += 1
    if channel == "signals":
        car.seq += 1
    car.ts += 1_000
    return [made] + (_said(car, "") if odd == "twice" else [])


Turn = tuple[list[Record], str, str]


@st.composite
def stories(draw: st.DrawFn) -> list[Turn]:
    """Turns of a few cars' records, with what happens to a car's document meanwhile."""
    cars = [Car(f"car-{place}", dict(draw(st.sampled_from(LAYOUTS)))) for place in range(draw(st.integers(1, 4)))]
    first = draw(st.sampled_from([0, 2**31 - 6, 2**32]))
    for car in cars:
        car.offset = first
        car.seq = draw(st.sampled_from([0, 0, 2**31 - 5]))
    turns: list[Turn] = []
    for _ in range(draw(st.integers(4, 20))):
        records: list[Record] = []
        happens, whom = "", cars[0].name
        for car in draw(st.sets(st.sampled_from(cars), min_size=1)) if draw(st.booleans()) else cars:
            odd = draw(st.sampled_from([""] * 100 + list(ODD)))
            if odd:
                event(odd)
            if odd in ("behind", "refused write"):
                happens, whom, odd = odd, car.name, ""
            records += _said(car, odd)
        turns.append((records, happens, whom))
    return turns


def _hear(sides: tuple[Side, Side], turn: Turn, in_flight: bool = False) -> None:
    records, happens, whom = turn
    for side in sides:
        if happens:
            side.worker.settle()
            if happens == "behind" and whom in side.shelf.twins:
                side.shelf.twins[whom]["revision"] += 1
            elif happens == "refused write":
                side.shelf.refuses.add(whom)
        side.hear(records)
        if not in_flight:
            side.worker.settle()


def _compare(sides: tuple[Side, Side]) -> None:
    """Documents, what others are told, what is counted, and the twins in memory."""
    together, apart = sides
    assert together.everything() == apart.everything()
    ours, theirs = together.in_memory(), apart.in_memory()
    both = ours.keys() & theirs.keys()  # of few that are kept, which ones is not the same
    assert [_all_of(ours[one]) for one in sorted(both)] == [_all_of(theirs[one]) for one in sorted(both)]


@given(stories(), st.sampled_from([2, 1000]), st.booleans(), st.booleans())
@settings(deadline=None, max_examples=300)
def test_plain_frames_together_leave_what_they_leave_one_by_one(
    turns: list[Turn], twins_max: int, detecting: bool, in_flight: bool
) -> None:
    sides = Side(1, twins_max, detecting), Side(NEVER, twins_max, detecting)
    for turn in turns:
        _hear(sides, turn, in_flight)
    _compare(sides)


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("layout", LAYOUTS, ids=["car", "numbers and a list", "few"])
def test_one_odd_frame_among_plain_ones_leaves_what_it_leaves_among_others(
    layout: dict[str | int, Any], odd: str
) -> None:
    """What comes after it may hide it, so it is also looked at at once."""
    for after in (0, 4):
        sides = Side(1, 1000, detecting=True), Side(NEVER, 1000, detecting=True)
        car = Car("car-0", dict(layout))
        for each in ["", "", "", odd, *[""] * after]:
            happens = each if each in ("behind", "refused write") else ""
            _hear(sides, (_said(car, "" if happens else each), happens, car.name))
        assert sides[0].metrics.folded_plainly._value.get() >= 1
        _compare(sides)


SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=3)
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
)


@given(st.sampled_from(LAYOUTS), st.data(), st.booleans())
@settings(deadline=None, max_examples=300)
def test_whatever_a_device_says_among_plain_frames_ends_nothing(
    layout: dict[str | int, Any], data: st.DataObject, as_json: bool
) -> None:
    """One field, or one signal, is anything at all."""
    sides = Side(1, 1000, detecting=True), Side(NEVER, 1000, detecting=True)
    car = Car("car-0", dict(layout))
    for _ in range(3):
        _hear(sides, (_said(car, ""), "", ""))
    values = _moved(car)
    fields: dict[str, Any] = {"v": 1, "ts": car.ts, "session": "s", "seq": car.seq, "signals": values}
    where = data.draw(st.sampled_from([fields, values]))
    name = data.draw(st.sampled_from([*where, "dt", "capture", "urgent"]))
    where[name] = data.draw(ANYTHING)
    if as_json:
        if type(fields["signals"]) is dict:
            fields["signals"] = {str(key): value for key, value in values.items()}
        payload = json.dumps(fields).encode()
    else:
        payload = msgpack.packb(fields)
    odd = record("car-0", [payload], car.offset, received_ms=[car.ts + 50], gateway="gw")
    _hear(sides, ([odd], "", ""))
    _compare(sides)


def _all_of(twin: Twin) -> dict[str, Any]:
    """One that was loaded keeps its times in another way."""
    return twins.fold_fields(twin, twin.revision)


def test_of_steady_cars_all_frames_but_the_first_two_are_plain() -> None:
    """Else the above would compare nothing."""
    side = Side(1, 1000, detecting=True)
    cars = [Car(f"car-{place}", dict(layout)) for place, layout in enumerate(LAYOUTS[::2])]
    plain = []
    for _ in range(6):
        side.hear([made for car in cars for made in _said(car, "")])
        side.worker.settle()
        plain.append(side.metrics.folded_plainly._value.get())
    assert plain == [0, 0, 2, 4, 6, 8]


def test_an_asset_that_falls_ill_among_plain_frames_is_found_ill_as_ever() -> None:
    """The coolant boils after a while, cools down again, and the frames between are plain."""
    together, apart = Side(1, 1000, detecting=True), Side(NEVER, 1000, detecting=True)
    coolant = "Vehicle.Powertrain.CombustionEngine.EngineCoolant.Temperature"
    for seq in range(60):
        celsius = 113.0 if 10 <= seq < 30 else 90.0
        moment = NOW_MS + seq * 60_000
        said = frame(moment, {"Vehicle.Speed": seq / 2, coolant: celsius}, "s", seq)
        for side in (together, apart):
            side.hear([record("a", [said], seq, received_ms=[moment])])
            side.worker.settle()
    assert together.everything() == apart.everything()
    assert sum("resolved" in written for _, written in together.shelf.others) > 0
    assert together.metrics.folded_plainly._value.get() > 5
    ours, theirs = together.in_memory()["a"], apart.in_memory()["a"]
    assert ours == theirs
