"""What the collection rules do with frames, one case at a time."""

import itertools
import json
import tracemalloc
from typing import Any

import msgpack
import pytest

from edge.rules.engine import Engine, Limits
from tests import edge_rules_world as world
from tests.edge_rules_world import (
    AIR,
    DTCS,
    MOVING,
    NOW_MS,
    RPM,
    SPEED,
    STATE,
    capture,
    frame_of,
    message,
    rule,
    samples_of,
)
from wire import catalogue, codec, limits
from wire.topics import Channel, Kind


def speeds(*values: float, step_ms: int = 1000, start_ms: int = 0) -> list[Any]:
    return [message(start_ms + at * step_ms, {SPEED: value}, seq=at) for at, value in enumerate(values)]


def kept(rules: world.Bench, messages: list[Any]) -> list[float]:
    return [value for _, _, value in samples_of(rules.apply(messages))]


def test_without_rules_the_very_same_arrivals_come_back() -> None:
    engine = Engine(Limits(10, 0), lambda: 0.0)
    arrivals: dict[bytes, Any] = {b"x": object()}
    assert engine.apply(arrivals) is arrivals


def test_frames_of_an_asset_of_which_everything_is_sent_are_not_looked_at() -> None:
    rules = world.engine(rule(mode="none", assets=["car-2"]))
    junk = world.raw_message(b"\xff\x00 no frame")
    assert [each.payload for each in rules.apply([junk])] == [junk.payload]
    assert rules.tally.unread_frames == 0


def test_an_interval_keeps_the_first_sample_and_one_each_interval_after_it() -> None:
    rules = world.engine(rule(mode="interval", interval_s=3))
    assert kept(rules, speeds(*range(9))) == [0, 3, 6]


def test_on_change_keeps_what_leaves_the_deadband_and_a_snapshot() -> None:
    rules = world.engine(rule(deadband=1.0, snapshot_s=5))
    assert kept(rules, speeds(10, 10.5, 11, 11.5, 10.5, 12, 12.5, 12.5, 12.5, 12.5, 12.5)) == [10, 11.5, 12.5]


def test_the_larger_of_absolute_and_relative_deadband_counts() -> None:
    rules = world.engine(rule(deadband=1.0, deadband_percent=10, snapshot_s=1000))
    assert kept(rules, speeds(100, 105, 110, 111, 0, 0.5, 1.5)) == [100, 111, 0, 1.5]


def test_other_types_are_sent_when_they_change_at_all() -> None:
    rules = world.engine(rule(deadband=5.0, snapshot_s=1000))
    values = [(False, "OFF", []), (False, "OFF", []), (True, "OFF", ["P0301"]), (True, "ON", ["P0301"])]
    sent = rules.apply(
        [message(at * 1000, {MOVING: a, STATE: b, DTCS: c}, seq=at) for at, (a, b, c) in enumerate(values)]
    )
    assert [list(frame_of(each)["signals"]) for each in sent] == [[MOVING, STATE, DTCS], [], [MOVING, DTCS], [STATE]]


def test_the_first_rule_that_names_a_signal_decides() -> None:
    fast = rule("fast", "all", ["Vehicle.Speed"])
    rules = world.engine(fast, rule("rest", "none", ["Vehicle.*"]))
    assert samples_of(rules.apply([message(0, {SPEED: 1.0, RPM: 2.0})])) == [(0, SPEED, 1.0)]


@pytest.mark.parametrize(("unnamed", "sent"), [("keep", [RPM]), ("drop", [])])
def test_signals_that_no_rule_names_are_kept_or_dropped_as_the_set_says(unnamed: str, sent: list[str]) -> None:
    rules = world.engine(rule(mode="none", signals=[SPEED]), unnamed=unnamed)
    assert [path for _, path, _ in samples_of(rules.apply([message(0, {SPEED: 1.0, RPM: 2.0})]))] == sent


def test_rules_are_for_assets_by_name_and_by_beginning() -> None:
    rules = world.engine(rule(mode="none", assets=["car-1", "van-*"]))
    sent = rules.apply([message(0, {SPEED: 1.0}, asset_id=each) for each in ("car-1", "car-2", "van-7", "van")])
    assert [(each.asset_id, bool(samples_of([each]))) for each in sent] == [
        ("car-1", False), ("car-2", True), ("van-7", False), ("van", True),
    ]  # fmt: skip


def test_a_frame_from_which_nothing_is_taken_keeps_its_bytes() -> None:
    rules = world.engine(rule(deadband=1.0), capture("Vehicle.IsMoving"))
    given = message(0, {SPEED: 1, "6": 12.0}, software="x")
    as_json = world.raw_message(codec.to_json({"v": 1, "ts": NOW_MS, "signals": {RPM: 3.0}, "session": "s", "seq": 1}))
    assert [each.payload for each in rules.apply([given, as_json])] == [given.payload, as_json.payload]


def test_a_reduced_frame_keeps_fields_that_this_version_does_not_know() -> None:
    rules = world.engine(rule(mode="none", signals=[SPEED]))
    (sent,) = rules.apply([message(0, {SPEED: 1.0, RPM: 2.0}, trace="t-1")])
    assert frame_of(sent) == {"v": 1, "ts": NOW_MS, "signals": {RPM: 2.0}, "session": "s", "seq": 0, "trace": "t-1"}


def test_numbers_and_paths_in_json_and_msgpack_are_the_same_signal() -> None:
    rules = world.engine(rule(deadband=1.0))
    as_json = json.dumps({"v": 1, "ts": NOW_MS + 2000, "signals": {"1": 10.2}, "seq": 2, "session": "s"}).encode()
    sent = rules.apply([message(0, {SPEED: 10.0}), message(1000, {1: 10.1}, seq=1), world.raw_message(as_json)])
    assert [frame_of(each)["signals"] for each in sent] == [{SPEED: 10.0}, {}, {}]


def test_what_cannot_be_judged_stays_so_that_its_dead_letter_is_written() -> None:
    rules = world.engine(rule(mode="none"))
    signals = {SPEED: "fast", "Vehicle.NoSuch": 1, RPM: 1e9, "Station.EVSE.Power": 5.0, MOVING: True, AIR: None}
    (sent,) = rules.apply([message(0, signals)])
    assert frame_of(sent)["signals"] == {key: value for key, value in signals.items() if key != MOVING}


@pytest.mark.parametrize(
    "payload",
    [
        b"\xff\x00", b"{", b"[]", b"\x80",
        msgpack.packb({"v": 2, "ts": NOW_MS, "signals": {SPEED: 1.0}}),
        msgpack.packb({"v": 1, "ts": 5, "signals": {SPEED: 1.0}}),
        msgpack.packb({"v": 1, "ts": NOW_MS + limits.CLOCK_AHEAD_MS_MAX + 1, "signals": {SPEED: 1.0}}),
        msgpack.packb({"v": 1, "ts": NOW_MS, "signals": {SPEED: 1.0, RPM: [[[[[[[[[[1]]]]]]]]]]}}),
    ],
)  # fmt: skip
def test_what_is_no_frame_goes_on_as_it_is_and_changes_nothing(payload: bytes) -> None:
    rules = world.engine(rule(mode="none"))
    assert [each.payload for each in rules.apply([world.raw_message(payload)])] == [payload]
    assert rules.tally.unread_frames == 1
    assert rules.tally.failures == 0


def test_a_frame_of_several_samples_loses_columns_and_rows_but_never_its_first_row() -> None:
    rules = world.engine(rule(signals=[SPEED], deadband=1.0), rule("n", "none", [RPM]))
    rules.apply([message(0, {SPEED: 10.0})])
    columns = {SPEED: [10.5, 10.4, 20.0, None], RPM: [1.0, 2.0, 3.0, 4.0], AIR: [None, None, None, 7.0]}
    (sent,) = rules.apply([message(1000, columns, seq=1, dt=[0, 10, 20, 30])])
    assert frame_of(sent)["signals"] == {SPEED: [None, 20.0, None], AIR: [None, None, 7.0]}
    assert frame_of(sent)["dt"] == [0, 20, 30]
    (sent,) = rules.apply([message(2000, {SPEED: [20.1, 20.2]}, seq=2, dt=[5, 10])])
    assert frame_of(sent) == {"v": 1, "ts": NOW_MS + 2005, "signals": {}, "session": "s", "seq": 2}


def test_a_column_of_the_wrong_length_stays_wrong() -> None:
    rules = world.engine(rule("n", "none", [RPM]))
    (sent,) = rules.apply([message(0, {SPEED: [1.0], RPM: [1.0, 2.0]}, dt=[0, 10])])
    assert frame_of(sent)["signals"] == {SPEED: [1.0]}
    assert frame_of(sent)["dt"] == [0, 10]


def test_events_and_connections_are_none_of_the_rules_business() -> None:
    rules = world.engine(rule(mode="none"), unnamed="drop")
    given = message(0, {SPEED: 1.0})
    event = given._replace(address=given.address._replace(channel=Channel.EVENTS))
    assert [each.payload for each in rules.apply([event])] == [event.payload]


def test_samples_that_come_late_are_sent_for_the_history() -> None:
    rules = world.engine(rule(deadband=1.0, snapshot_s=1000))
    assert kept(rules, [message(5000, {SPEED: 1.0}), message(1000, {SPEED: 1.1}), message(6000, {SPEED: 1.2})]) == [
        1.0,
        1.1,
    ]


def test_a_late_sample_between_the_last_sent_and_the_newest_brings_the_newest_with_it() -> None:
    rules = world.engine(rule(deadband=1.0, snapshot_s=1000))
    sent = rules.apply(
        [message(0, {SPEED: 0.0}), message(2000, {SPEED: 0.5}, seq=1), message(1000, {SPEED: 5.0}, seq=2)]
    )
    assert samples_of(sent) == [(0, SPEED, 0.0), (2000, SPEED, 0.5), (1000, SPEED, 5.0)]
    assert frame_of(sent[2])["capture"] == "r"


def test_a_newest_sample_sent_that_way_does_not_wait_in_the_ring_any_more() -> None:
    rules = world.engine(rule(deadband=1.0, snapshot_s=1000), capture(MOVING, before_s=10))
    late = [message(0, {SPEED: 0.0}), message(2000, {SPEED: 0.5}, seq=1), message(1000, {SPEED: 5.0}, seq=2)]
    sent = samples_of(rules.apply([*late, message(3000, {MOVING: True}, seq=3)]))
    assert sorted(sent) == sorted(set(sent))


def test_a_late_sample_in_a_window_brings_the_newest_behind_the_window_with_it() -> None:
    rules = world.engine(rule(deadband=1.0, snapshot_s=1000), capture(MOVING, after_s=1))
    rules.apply([message(0, {SPEED: 0.0}), message(1000, {MOVING: True}, seq=1), message(3000, {SPEED: -0.9}, seq=2)])
    sent = samples_of(rules.apply([message(1500, {SPEED: 0.9}, seq=3)]))
    assert sorted(sent) == [(1500, SPEED, 0.9), (3000, SPEED, -0.9)]


def test_a_late_sample_in_a_window_brings_nothing_of_a_signal_that_is_never_sent() -> None:
    rules = world.engine(rule(mode="none"), capture(MOVING, after_s=1))
    rules.apply([message(0, {SPEED: 0.0}), message(1000, {MOVING: True}, seq=1), message(3000, {SPEED: -0.9}, seq=2)])
    assert samples_of(rules.apply([message(1500, {SPEED: 0.9}, seq=3)])) == [(1500, SPEED, 0.9)]


def test_while_it_settles_a_newest_sample_goes_once_in_a_frame_of_the_agent_however_many_late_ones_come() -> None:
    rules = world.engine(rule(deadband=100.0, snapshot_s=1000), settle_s=10)
    frames = speeds(*range(20))
    rules.apply(frames)
    again = rules.apply(frames)
    assert samples_of(each for each in again if "seq" not in frame_of(each)) == [(19_000, SPEED, 19.0)]
    assert [frame_of(each)["signals"] for each in again if "seq" in frame_of(each)] == [
        {SPEED: float(each)} for each in range(20)
    ]


def test_what_a_capture_sent_is_what_the_next_deadband_is_measured_from() -> None:
    rules = world.engine(rule(deadband=1.0, snapshot_s=1000), capture(MOVING, before_s=10))
    rules.apply([message(0, {SPEED: 0.0}), message(1000, {SPEED: 0.9}, seq=1), message(2000, {MOVING: True}, seq=2)])
    assert kept(rules, [message(3000, {SPEED: -0.9}, seq=3)]) == [-0.9]


def test_a_capture_fetches_what_was_withheld_before_in_frames_of_the_agent() -> None:
    rules = world.engine(rule(mode="none"), capture(f"{SPEED} > 50", before_s=2, after_s=1))
    sent = rules.apply(speeds(10, 20, 30, 60, 70, 80, 20))
    made = [frame_of(each) for each in sent if "capture" in frame_of(each)]
    assert made == [
        {"v": 1, "ts": NOW_MS + 1000, "dt": [0, 1000], "signals": {SPEED: [20, 30]}, "capture": "c"},
    ]
    assert samples_of(sent) == [(1000, SPEED, 20), (2000, SPEED, 30), (3000, SPEED, 60), (4000, SPEED, 70)]
    assert (rules.plan.traps[0].captures, rules.plan.traps[0].samples) == (1, 4)


def test_an_urgent_capture_takes_its_samples_out_of_the_frames_into_ones_that_outlive_signals() -> None:
    rules = world.engine(rule(mode="none"), capture(f"{SPEED} > 50", before_s=1, priority="urgent"))
    sent = rules.apply(speeds(10, 20, 60))
    urgent = [each for each in sent if each.urgent]
    assert samples_of(urgent) == [(1000, SPEED, 20), (2000, SPEED, 60)]
    assert all(frame_of(each)["urgent"] and frame_of(each)["capture"] == "c" for each in urgent)
    assert [samples_of([each]) for each in sent if not each.urgent] == [[], [], []]


def test_while_true_prolongs_one_capture_and_rising_does_not() -> None:
    drive = speeds(10, 60, 60, 60, 60, 10, 10, 60)
    for trigger, expected, captures in (("while_true", [60, 60, 60, 60, 10, 60], 2), ("rising", [60, 60, 60], 2)):
        rules = world.engine(rule(mode="none"), capture(f"{SPEED} > 50", trigger=trigger, after_s=1))
        assert kept(rules, drive) == expected, trigger
        assert rules.plan.traps[0].captures == captures


def test_the_next_capture_waits_for_the_gap_behind_the_last() -> None:
    rules = world.engine(rule(mode="none"), capture(f"{SPEED} > 50", gap_s=3))
    assert kept(rules, speeds(60, 0, 61, 0, 62, 0, 63)) == [60, 62]
    assert rules.plan.traps[0].suppressed == 2


def test_what_is_not_known_yet_triggers_nothing_and_becoming_true_is_a_rise() -> None:
    rules = world.engine(rule(mode="none"), capture(f"{SPEED} > 50 and {MOVING}", after_s=0))
    assert samples_of(rules.apply([message(0, {SPEED: 60.0}), message(1000, {MOVING: True}, seq=1)])) == [
        (1000, MOVING, True)
    ]


def test_a_capture_can_look_at_changes_and_ages() -> None:
    braking = capture(f"previous({SPEED}) - {SPEED} > 15 and age({MOVING}) < 2", "brake")
    rules = world.engine(rule(mode="none"), braking)
    rules.apply([message(0, {MOVING: True, SPEED: 50.0}), message(1000, {SPEED: 30.0}, seq=1)])
    assert rules.plan.traps[0].captures == 1
    rules.apply([message(2500, {SPEED: 10.0}, seq=2)])
    assert rules.plan.traps[0].captures == 1


def test_when_the_rings_are_full_samples_are_sent_instead_of_kept_back() -> None:
    rules = world.engine(rule(mode="none"), capture(f"{SPEED} > 50", before_s=10), ring_bytes_max=500)
    assert kept(rules, speeds(*range(6))) == [3, 4, 5]
    assert rules.engine.ring_bytes <= 500


def test_rings_of_assets_that_fell_silent_make_room() -> None:
    now_s = 0.0
    engine = Engine(Limits(10, 500), lambda: now_s)
    engine.adopt(world.planned(rule(mode="none"), capture(f"{SPEED} > 50", before_s=10)))
    rules = world.Bench(engine)
    rules.apply([message(at * 1000, {SPEED: 1.0}, seq=at, asset_id="silent") for at in range(3)])
    now_s = 60.0
    assert kept(rules, speeds(1, 2, 3)) == []


def test_an_asset_that_is_forgotten_gives_up_its_ring_and_begins_with_everything() -> None:
    rules = world.engine(rule(deadband=9.0), capture(f"{SPEED} > 50", before_s=10), assets_max=1)
    first = rules.apply([message(0, {SPEED: 1.0}), message(1000, {SPEED: 2.0}, seq=1)])
    other = rules.apply([message(1000, {SPEED: 1.0}, asset_id="car-2")])
    again = rules.apply([message(2000, {SPEED: 3.0}, seq=2)])
    assert [samples_of([each]) for each in first] == [[(0, SPEED, 1.0)], []]
    assert [(each.asset_id, samples_of([each])) for each in other] == [
        ("car-1", [(1000, SPEED, 2.0)]), ("car-2", [(1000, SPEED, 1.0)]),
    ]  # fmt: skip
    assert samples_of(again) == [(2000, SPEED, 3.0)]
    assert rules.tally.assets_forgotten == 2


def test_a_new_set_counts_from_the_next_message_and_what_was_sent_stays_known() -> None:
    rules = world.engine(rule(deadband=5.0, snapshot_s=1000))
    rules.apply(speeds(0, 1))
    rules.engine.adopt(world.planned(rule(deadband=3.0, snapshot_s=1000)))
    assert kept(rules, speeds(2, 3, 4, start_ms=2000)) == [4]
    rules.engine.adopt(None)
    assert kept(rules, speeds(4, 4, start_ms=9000)) == [4, 4]


def test_rules_start_and_expire_by_the_gateways_clock_whatever_it_does() -> None:
    starts, expires = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"
    rules = world.engine(rule(mode="none", starts=starts, expires=expires))
    january, february = 1_767_225_600_000, 1_769_904_000_000
    clock = [january - 1, january, february - 1, february, january + 5, february, january - 1]
    sent = rules.apply([message(at, {SPEED: 1.0}, seq=at, received_ms=each) for at, each in enumerate(clock)])
    withheld = [not samples_of([each]) for each in sent]
    assert withheld == [False, True, True, False, True, False, False]


def test_captured_samples_beyond_a_frames_limits_come_in_several_frames() -> None:
    rules = world.engine(rule(mode="none"), capture(f"{SPEED} > 50", before_s=3600))
    count = limits.SAMPLES_PER_FRAME_MAX + 500
    drive = [message(at, {SPEED: 1.0, "Vehicle.VehicleIdentification.Brand": "x" * 60}, seq=at) for at in range(count)]
    sent = rules.apply([*drive, message(count, {SPEED: 60.0}, seq=count)])
    made = [each for each in sent if "capture" in frame_of(each)]
    assert sum(len(frame_of(each)["dt"]) for each in made) == count
    assert all(len(each.payload) <= limits.PAYLOAD_BYTES_MAX for each in made)
    assert all(a["ts"] < b["ts"] for a, b in itertools.pairwise(map(frame_of, made)))


def test_a_fault_of_ours_sends_everything_and_is_told() -> None:
    rules = world.engine(rule(mode="none"))
    rules.engine._collect = None  # type: ignore[assignment,method-assign] # as broken as can be
    given = message(0, {SPEED: 1.0})
    assert [each.payload for each in rules.apply([given])] == [given.payload]
    assert rules.tally.failures == 1
    assert "NoneType" in (rules.engine.failure or "")


def test_an_asset_takes_so_little_memory_that_a_hundred_thousand_may_be_remembered() -> None:
    """As docs/collection-rules.md says: 1 KB, and 0.2 KB for each signal."""
    paths = [signal.path for signal in catalogue.SIGNALS if signal.kind is Kind.VEHICLE and signal.type == "float"][:20]
    rules = world.engine(rule(signals=paths, deadband=1.0), assets_max=2_000)
    frames = [message(1, dict.fromkeys(paths, number / 1e6), asset_id=f"car-{number:06d}") for number in range(1_100)]
    rules.apply(frames[:100])
    tracemalloc.start()
    for frame in frames[100:]:
        rules.apply([frame])
    per_asset_bytes = tracemalloc.get_traced_memory()[0] / 1_000
    tracemalloc.stop()
    assert 0 < per_asset_bytes < 1_000 + 200 * len(paths)
