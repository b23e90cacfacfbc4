"""Laws of the collection rules: what twins can rely on whatever is withheld, repeated, late or cut into chunks."""

import itertools
from typing import Any

import hypothesis.strategies as st
import msgpack
from hypothesis import HealthCheck, example, given, settings

from edge.spool.records import Message
from tests import edge_rules_world as world
from tests.edge_rules_world import AIR, DTCS, MOVING, RPM, SPEED, STATE, Twin
from wire import frames
from wire.malformed import Malformed

SNAPSHOT_S = 2.0
values = {
    SPEED: st.integers(-8, 8).map(lambda tenths: tenths / 2),
    RPM: st.floats(0, 8000, allow_nan=False),
    MOVING: st.booleans(),
    STATE: st.sampled_from(["OFF", "ON", "START"]),
}
signals = st.fixed_dictionaries({}, optional=values)
times = st.integers(0, 60).map(lambda steps: steps * 100)


@st.composite
def streams(draw: st.DrawFn) -> list[Message]:
    """Frames of one car in any order of time, some holding several samples, some sent twice."""
    sent: list[Message] = []
    for seq in range(draw(st.integers(1, 25))):
        ts = draw(times)
        if draw(st.booleans()):
            sent.append(world.message(ts, draw(signals), seq=seq))
        else:
            offsets = draw(st.lists(st.integers(-5, 5).map(lambda steps: steps * 100), min_size=1, max_size=4))
            columns = draw(st.lists(st.sampled_from(list(values)), unique=True))
            rows = {path: [draw(st.none() | values[path]) for _ in offsets] for path in columns}
            sent.append(world.message(ts, rows, seq=seq, dt=offsets))
    repeats = draw(st.lists(st.tuples(st.integers(0, len(sent) - 1), st.integers(0, len(sent))), max_size=4))
    for which, where in repeats:
        sent.insert(where, sent[which])
    return sent


@st.composite
def rides(draw: st.DrawFn, lateness: tuple[int, ...] = (0, 0, 0, 1, 2, 5)) -> list[Message]:
    """Dense samples of one number around the limits, few of them late: what deadbands and captures meet."""
    speeds = st.integers(-4, 4).map(lambda halves: halves / 2)
    paths = st.sampled_from([[SPEED], [AIR], [SPEED, AIR]])
    ms, sent = 0, []
    for seq in range(draw(st.integers(0, 30))):
        ms += draw(st.integers(1, 3)) * 100
        late_ms = draw(st.sampled_from(lateness)) * 100
        sent.append(world.message(ms - late_ms, {path: draw(speeds) for path in draw(paths)}, seq=seq))
    return sent


@st.composite
def cut(draw: st.DrawFn, sent: list[Message]) -> list[list[Message]]:
    edges = sorted(draw(st.sets(st.integers(0, len(sent)), max_size=5)) | {0, len(sent)})
    return [sent[start:end] for start, end in itertools.pairwise(edges)]


on_change = st.builds(
    lambda deadband, percent: world.rule(deadband=deadband, deadband_percent=percent, snapshot_s=SNAPSHOT_S),
    st.sampled_from([0.0, 0.5, 1.0, 300.0]),
    st.sampled_from([0.0, 10.0]),
)
captures = st.builds(
    lambda limit, trigger, before, after, gap, priority: world.capture(
        f"{SPEED} > {limit}", trigger=trigger, before_s=before, after_s=after, gap_s=gap, priority=priority
    ),
    st.integers(0, 3),
    st.sampled_from(["rising", "while_true"]),
    st.sampled_from([0, 0.3, 1]),
    st.sampled_from([0, 0.3, 1]),
    st.sampled_from([0, 1]),
    st.sampled_from(["normal", "urgent"]),
)


def assert_near(reduced: Twin, full: Twin, rule: dict[str, Any]) -> None:
    assert reduced.keys() == full.keys()
    for path, (value, ms) in full.items():
        shown, shown_ms = reduced[path]
        assert ms - shown_ms < SNAPSHOT_S * 1000, path
        if path in (SPEED, RPM, AIR):
            assert abs(value - shown) <= max(rule["deadband"], rule["deadband_percent"] / 100 * abs(shown)), path
        else:
            assert value == shown, path


@settings(max_examples=200)
@given(streams() | rides(), on_change, st.lists(captures, max_size=2), st.sampled_from([0, 600, 1_000_000]))
def test_a_twin_is_within_the_deadband_and_the_snapshot_interval_at_every_moment(sent, rule, traps, ring_bytes_max):
    named = [{**trap, "name": f"c{index}"} for index, trap in enumerate(traps)]
    rules = world.engine(rule, *named, ring_bytes_max=ring_bytes_max)
    full: Twin = {}
    reduced: Twin = {}
    for message in sent:
        world.fold(full, [message])
        world.fold(reduced, rules.apply([message]))
        assert_near(reduced, full, rule)


@settings(max_examples=300)
@given(st.data(), rides(lateness=(0,)), on_change, st.integers(0, 3))
def test_a_restart_that_hears_again_what_was_stored_moves_a_twin_no_further(data, sent, rule, settling):
    """The twin service takes the first copy of a number; others are judged by rules that remember nothing of it."""
    now_s = 0.0
    at = data.draw(st.integers(0, len(sent)))
    rounds = data.draw(st.lists(st.integers(0, at), max_size=3))
    before = world.engine(rule)
    after = world.engine(rule, settle_s=10, monotonic_s=lambda: now_s)
    stored = [part for message in sent[:at] for part in before.apply([message])]
    for again in rounds:
        stored += after.apply(sent[at - again : at])
    full: Twin = {}
    reduced: Twin = {}
    world.fold(full, sent[:at])
    world.fold(reduced, world.first_copies(stored))
    for index, message in enumerate(sent[at:]):
        now_s = 0.0 if index < settling else 10.0
        world.fold(full, [message])
        world.fold(reduced, after.apply([message]))
        assert_near(reduced, full, rule)


@given(streams(), on_change, captures)
def test_what_was_sent_of_a_message_is_sent_when_it_comes_again(sent, rule, trap):
    """After a split, the second copy can reach Kafka before the first."""
    rules = world.engine(rule, trap)
    for message in sent:
        first, second = rules.apply([message]), rules.apply([message])
        assert set(world.samples_of(first)) <= set(world.samples_of(second)) | set(world.samples_of(made(first)))


def made(sent: list[world.Sent]) -> list[world.Sent]:
    """The frames of the agent: each has one copy."""
    return [each for each in sent if "capture" in world.frame_of(each)]


@given(st.data(), streams(), on_change, captures)
def test_how_the_input_is_cut_into_chunks_changes_nothing(data, sent, rule, trap):
    whole, pieces = world.engine(rule, trap), world.engine(rule, trap)
    chunks = data.draw(cut(sent))
    in_pieces = [payload for chunk in chunks for payload in pieces.apply(chunk)]
    in_one = whole.apply(sent)
    for urgent in (False, True):
        assert [each for each in in_pieces if each.urgent is urgent] == [
            each for each in in_one if each.urgent is urgent
        ]
    assert pieces.tally == whole.tally


@given(streams(), on_change, captures)
def test_every_frame_of_a_device_goes_on_with_its_number_and_its_time(sent, rule, trap):
    passed = [world.frame_of(record) for record in world.engine(rule, trap).apply(sent)]
    counted = [frame for frame in passed if "seq" in frame]
    given_frames = [world.frame_of(message) for message in sent]
    assert [frame["seq"] for frame in counted] == [frame["seq"] for frame in given_frames]
    assert all(frame["session"] == "s" for frame in counted)
    for after, before in zip(counted, given_frames, strict=True):
        assert after["ts"] + after.get("dt", [0])[0] == before["ts"] + before.get("dt", [0])[0]
    assert all(frame["capture"] in ("r", "c") and "session" not in frame for frame in passed if "seq" not in frame)


@given(streams(), on_change, captures)
def test_nothing_is_sent_that_was_not_heard(sent, rule, trap):
    passed = world.engine(rule, trap).apply(sent)
    assert set(world.samples_of(passed)) <= set(world.samples_of(sent))


@given(streams(), on_change)
def test_messages_sent_twice_change_no_verdict_on_others(sent, rule):
    once = [message for index, message in enumerate(sent) if message not in sent[:index]]
    twice = [message for message in once for _ in range(2)]
    alone = world.engine(rule).apply(once)
    passed = world.engine(rule).apply(twice)
    assert set(world.samples_of(alone)) <= set(world.samples_of(passed))
    reduced: Twin = {}
    expected: Twin = {}
    world.fold(reduced, passed)
    world.fold(expected, alone)
    assert reduced == expected


@st.composite
def drives(draw: st.DrawFn) -> list[tuple[int, float]]:
    """Speed over time, in order."""
    steps = draw(st.lists(st.tuples(st.integers(1, 8), st.integers(0, 4)), min_size=1, max_size=40))
    ms, drive = 0, []
    for step, speed in steps:
        ms += step * 100
        drive.append((ms, float(speed)))
    return drive


def windows(drive: list[tuple[int, float]], limit: float, before: int, after: int, gap: int) -> list[tuple[int, int]]:
    """Rising edges and their windows, written down as the documentation says it."""
    found: list[tuple[int, int]] = []
    was = False
    for ms, speed in drive:
        if speed > limit and not was and (not found or (ms > found[-1][1] and ms >= found[-1][1] + gap)):
            found.append((ms - before, ms + after))
        was = speed > limit
    return found


@settings(max_examples=150)
@given(drives(), st.integers(0, 3), *[st.sampled_from([0, 300, 1000])] * 3, st.sampled_from(["normal", "urgent"]))
def test_a_capture_holds_every_sample_of_its_window_once(drive, limit, before, after, gap, priority):
    trap = world.capture(
        f"{SPEED} > {limit}", before_s=before / 1000, after_s=after / 1000, gap_s=gap / 1000, priority=priority
    )
    rules = world.engine(world.rule(mode="none"), trap)
    passed = rules.apply([world.message(ms, {SPEED: speed}, seq=seq) for seq, (ms, speed) in enumerate(drive)])
    found = windows(drive, limit, before, after, gap)
    expected = [(ms, SPEED, speed) for ms, speed in drive if any(start <= ms <= end for start, end in found)]
    assert sorted(world.samples_of(passed)) == expected
    assert rules.plan.traps[0].captures == len(found)
    assert all(record.urgent == (priority == "urgent") for record in passed if "capture" in world.frame_of(record))


keys = st.sampled_from([SPEED, RPM, MOVING, STATE, DTCS, 1, "1", "57", "Vehicle.NoSuch", "", 10**6])
oddities = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)
strange = st.fixed_dictionaries(
    {"v": st.just(1), "ts": st.integers(-1000, 1000).map(lambda ms: world.NOW_MS + ms)},
    optional={
        "signals": st.dictionaries(keys, oddities | st.lists(oddities, min_size=2, max_size=2), max_size=5),
        "dt": st.lists(st.integers(-50, 50), min_size=2, max_size=2) | oddities,
        "seq": st.just(1) | oddities,
        "session": st.just("s") | oddities,
        "more": oddities,
    },
)


@settings(max_examples=250, suppress_health_check=[HealthCheck.too_slow])  # the first text loads Unicode's tables
@given(st.lists(strange.map(msgpack.packb) | st.binary(max_size=40), max_size=4), on_change, captures)
@example(
    [b'{"v":1,"ts":1750000000000,"signals":{"1":3},"more":' + b"9" * 40 + b"}"],
    world.rule(mode="none"),
    world.capture("true"),
)
def test_whatever_a_device_sends_the_rules_go_on_and_what_is_no_frame_is_not_changed(payloads, rule, trap):
    rules = world.engine(rule, trap)
    passed = rules.apply([world.raw_message(payload) for payload in payloads])
    assert rules.tally.failures == 0, rules.engine.failure
    for payload in payloads:
        if isinstance(frames.decode(payload), Malformed):
            assert payload in [each.payload for each in passed]
