"""What each message demands, and that fields of newer senders are ignored."""

import math
from typing import Any

import msgspec
import pytest

from wire import codec, limits, messages
from wire.malformed import Malformed, Reason
from wire.messages import plain, shaped

TS = 1_700_000_000_000
GOOD: dict[str, tuple[Any, dict[str, Any]]] = {
    "connection": (messages.ConnectionState, {"v": 1, "online": True, "session": "s1", "ts": TS, "catalog": "1"}),
    "will": (messages.ConnectionState, {"v": 1, "online": False, "session": "s1"}),
    "dtc": (
        messages.AnyEvent,
        {
            "v": 1,
            "type": "dtc",
            "ts": TS,
            "session": "s1",
            "seq": 0,
            "code": "P0300-1A",
            "status": {"testFailed": True, "confirmedDtc": True},
            "freeze_frame": {"Vehicle.Speed": 50.5, "Vehicle.IsMoving": True, "x": "text", "y": 5},
        },
    ),
    "charging": (
        messages.AnyEvent,
        {
            "v": 1,
            "type": "charging_session",
            "ts": TS,
            "phase": "Updated",
            "transaction_id": "t1",
            "meter_values": {"Energy.Active.Import.Register": 5},
        },
    ),
    "notify": (
        messages.AnyEvent,
        {
            "v": 1,
            "type": "notify_event",
            "ts": TS,
            "component": "Connector",
            "variable": "Problem",
            "trigger": "Alerting",
            "actual_value": True,
        },
    ),
    "trip": (
        messages.AnyEvent,
        {"v": 1, "type": "trip", "ts": TS, "trip_id": "t", "started_ms": TS, "ended_ms": TS, "distance_m": 5},
    ),
    "profile": (
        messages.Profile,
        {"v": 1, "customer_id": "C_1.a", "display_name": "Zoë", "updated_ms": TS, "consents": {"email": True}},
    ),
    "role": (
        messages.Role,
        {
            "v": 1,
            "role_id": "r",
            "asset_id": "car-1",
            "customer_id": "c",
            "role": "owner",
            "from_ms": TS,
            "recorded_ms": TS,
        },
    ),
    "lifecycle": (
        messages.LifecycleStep,
        {
            "v": 1,
            "asset_id": "car-1",
            "kind": "vehicle",
            "step": "delivered",
            "ts": TS,
            "attributes": {"year": 2024, "power_kw_max": 5.5},
            "odometer_m": 12,
        },
    ),
    "anomaly": (
        messages.Anomaly,
        {
            "v": 1,
            "anomaly_id": "car-1:tyre:rl:5",
            "asset_id": "car-1",
            "kind": "vehicle",
            "detector": "tyre",
            "subject": "rl",
            "severity": "service",
            "status": "resolved",
            "opened_ms": TS,
            "last_ms": TS,
            "resolved_ms": TS,
            "summary": "s",
            "advice": "a",
            "evidence": {"Vehicle.Speed": 1.5},
        },
    ),
}


@pytest.mark.parametrize("encode", [codec.to_msgpack, codec.to_json])
@pytest.mark.parametrize("name", GOOD)
def test_a_message_is_read_as_it_was_written(name, encode):
    shape, fields = GOOD[name]
    message = shaped(fields, shape)
    assert isinstance(message, msgspec.Struct), message
    assert shaped(codec.decode(encode(plain(message))), shape) == message


@pytest.mark.parametrize("name", GOOD)
def test_fields_of_a_newer_sender_are_ignored(name):
    shape, fields = GOOD[name]
    assert shaped({**fields, "new_in_v9": {"a": [1]}}, shape) == shaped(fields, shape)


@pytest.mark.parametrize("name", GOOD)
def test_another_version_is_refused(name):
    shape, fields = GOOD[name]
    for version in (0, 2, "1", 1.0, True, None):
        assert isinstance(shaped({**fields, "v": version}, shape), Malformed)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("connection", {"online": 1}),
        ("connection", {"session": None}),
        ("connection", {"session": "s" * 65}),
        ("dtc", {"type": "unknown"}),
        ("dtc", {"code": "X0300"}),
        ("dtc", {"code": "P0300\n"}),
        ("dtc", {"code": "p0300"}),
        ("dtc", {"status": {"testFailed": 1}}),
        ("dtc", {"freeze_frame": {"Vehicle.Speed": [1]}}),
        ("dtc", {"freeze_frame": {"Vehicle.Speed": None}}),
        ("dtc", {"freeze_frame": {"Vehicle.Speed": math.nan}}),
        ("dtc", {"freeze_frame": {"Vehicle.Speed": 2**53}}),
        ("dtc", {"freeze_frame": {"a\0b": 1}}),
        ("dtc", {"freeze_frame": {"$where": 1}}),
        ("dtc", {"freeze_frame": {"": 1}}),
        ("dtc", {"freeze_frame": {"x" * 257: 1}}),
        ("dtc", {"freeze_frame": {f"x{i}": 1 for i in range(513)}}),
        ("charging", {"phase": "started"}),
        ("charging", {"transaction_id": ""}),
        ("charging", {"meter_values": {"Voltage": math.inf}}),
        ("charging", {"meter_values": {"Voltage": "230"}}),
        ("notify", {"trigger": "Never"}),
        ("notify", {"actual_value": None}),
        ("notify", {"actual_value": "x" * 1_025}),
        ("notify", {"cause": 2**63}),
        ("trip", {"distance_m": -1}),
        ("trip", {"distance_m": -math.inf}),
        ("trip", {"started_ms": 0}),
        ("profile", {"customer_id": "no spaces"}),
        ("profile", {"customer_id": "c\n"}),
        ("profile", {"display_name": "x" * 1_025}),
        ("profile", {"consents": {"email": "yes"}}),
        ("role", {"role": "thief"}),
        ("role", {"asset_id": "CAR"}),
        ("role", {"from_ms": limits.TIME_MS_MAX + 1}),
        ("lifecycle", {"step": "lost"}),
        ("lifecycle", {"attributes": {"year": 1879}}),
        ("lifecycle", {"attributes": {"placard_pressure_kpa": 0}}),
        ("lifecycle", {"odometer_m": 2**63}),
        ("lifecycle", {"odometer_m": -1}),
        ("anomaly", {"severity": "bad"}),
        ("anomaly", {"status": "closed"}),
        ("anomaly", {"evidence": {"x": None}}),
    ],
)
def test_a_field_that_cannot_be_refuses_the_message(name, changes):
    shape, fields = GOOD[name]
    refused = shaped({**fields, **changes}, shape)
    assert isinstance(refused, Malformed)
    assert refused.reason is Reason.WRONG_SHAPE
    assert len(refused.detail) <= 300


@pytest.mark.parametrize("name", ["connection", "dtc", "lifecycle"])
@pytest.mark.parametrize("ts", [0, -1, limits.TIME_MS_MIN - 1, limits.TIME_MS_MAX + 1, 1.5, "now"])
def test_an_impossible_time_has_its_own_reason(name, ts):
    shape, fields = GOOD[name]
    refused = shaped({**fields, "ts": ts}, shape)
    assert isinstance(refused, Malformed)
    assert refused.reason is Reason.BAD_TIME


@pytest.mark.parametrize("value", [None, 5, "x", b"x", [], [1], {1: 2}, {b"v": 1}, {None: 1}, {}])
@pytest.mark.parametrize("name", GOOD)
def test_what_is_no_message_is_refused(name, value):
    assert isinstance(shaped(value, GOOD[name][0]), Malformed)


def test_what_was_refused_before_passes_through():
    before = Malformed(Reason.TOO_LARGE, "x")
    assert shaped(before, messages.Frame) is before


def test_numbers_that_are_none_are_refused_even_in_fields_nobody_reads():
    shape, fields = GOOD["role"]
    assert isinstance(shaped({**fields, "later": {"a": [math.nan]}}, shape), Malformed)


def test_integers_where_fractions_are_due_are_widened():
    shape, fields = GOOD["charging"]
    charging = shaped(fields, shape)
    assert isinstance(charging, messages.ChargingEvent)
    assert type(charging.meter_values["Energy.Active.Import.Register"]) is float
