"""Devices with quirks: each does what it says, the others are untouched, and the oracle knows what that means."""

import json
from collections import defaultdict

import msgpack
import pytest

from simulator.engine import Engine
from simulator.oracle import expect
from simulator.quirks import Quirk
from simulator.settings import FleetSection, QuirkSection, SendSection, SimulatorSettings
from simulator.truth import Sent
from tests.simulator_world import NO_FAULTS, START_MS, decoded
from wire import frames
from wire.malformed import Malformed
from wire.topics import Channel

RUN_S = 3_000
STEP_S = 2


def _run(run_s=RUN_S, **rates):
    fleet = FleetSection(vehicles=30, stations=4, seed=3, reboots_per_day=0.0, sleepers=0.0, step_s=STEP_S)
    quirks, send = QuirkSection(**rates), SendSection(misbehave=0.0)
    engine = Engine(SimulatorSettings(fleet=fleet, faults=NO_FAULTS, quirks=quirks, send=send), START_MS)
    sent = defaultdict(list)
    for _ in range(run_s // STEP_S):
        for message in engine.step():
            sent[message.device].append((engine.now_ms, message))
    for message in engine.finish():
        sent[message.device].append((engine.now_ms, message))
    return engine, sent


@pytest.fixture(scope="module")
def plain():
    return _run()[1]


@pytest.fixture(scope="module")
def bent():
    """Every quirk on one device at least."""
    engine, sent = _run(**dict.fromkeys(map(str, Quirk), 0.03))
    return {str(quirk): sent[device] for device, quirk in engine.quirks._quirk_of.items()}, sent


def _payloads(messages):
    return [message.payload for _, message in messages]


def _signals(messages):
    return [(at_ms, message) for at_ms, message in messages if message.channel is Channel.SIGNALS]


def test_who_has_no_quirk_sends_the_same_as_without_any(plain, bent):
    odd = {id(messages) for messages in bent[0].values()}
    others = [device for device, messages in bent[1].items() if id(messages) not in odd]
    assert len(others) > 20
    for device in others:
        assert _payloads(bent[1][device]) == _payloads(plain[device])


def test_the_same_seed_bends_in_the_same_way():
    one, again = (_run(300, jitter=0.5, cut_short=0.2)[1] for _ in range(2))
    assert one == again


def test_a_skewed_clock_is_off_by_the_same_all_the_time(bent):
    off = {decoded(message)["ts"] - at_ms for at_ms, message in bent[0]["clock_skew"] if "dt" not in decoded(message)}
    assert len(off) == 1
    assert 0 < abs(off.pop()) <= 600_000


def test_a_clock_that_jumps_is_right_before(bent):
    off = [decoded(message)["ts"] - at_ms for at_ms, message in bent[0]["clock_jump"] if "dt" not in decoded(message)]
    assert off[0] == 0
    assert len(set(off)) == 2
    assert off[-1] != 0


def test_what_is_cut_short_is_unreadable_and_the_rest_is_not(bent):
    payloads = _payloads(_signals(bent[0]["cut_short"]))
    unreadable = [payload for payload in payloads if isinstance(frames.decode(payload), Malformed)]
    assert 0 < len(unreadable) < len(payloads) / 2
    assert all(expect._read(payload) is None for payload in unreadable)


def test_who_was_offline_sends_everything_later_in_order(plain, bent):
    late, usual = bent[0]["offline"], plain[bent[0]["offline"][0][1].device]
    assert [decoded(message) for _, message in late] == [decoded(message) for _, message in usual]
    waited = max(at_ms - then_ms for (at_ms, _), (then_ms, _) in zip(late, usual, strict=True))
    assert 1_070_000 <= waited <= 2_170_000  # of a run of an hour


def test_jitter_is_small_and_in_numbers_only(plain, bent):
    device = bent[0]["jitter"][0][1].device
    differences = 0
    for (_, noisy), (_, clean) in zip(_signals(bent[0]["jitter"]), _signals(plain[device]), strict=True):
        one, other = decoded(noisy), decoded(clean)
        assert one["signals"].keys() == other["signals"].keys()
        for key, value in other["signals"].items():
            if type(value) is float and value:
                assert abs(one["signals"][key] / value - 1) < 1e-3
                differences += one["signals"][key] != value
            elif type(value) is not list:
                assert one["signals"][key] == value
    assert differences > 100


def test_a_stuck_sensor_says_the_same_for_ever(plain, bent):
    device = bent[0]["stuck_sensor"][0][1].device
    said, should = defaultdict(set), defaultdict(set)
    for messages, found in ((bent[0]["stuck_sensor"], said), (plain[device], should)):
        for _, message in _signals(messages):
            for key, value in decoded(message)["signals"].items():
                found[key] |= set(value) if type(value) is list and "dt" in decoded(message) else {repr(value)}
    changed = [key for key in should if said[key] != should[key]]
    assert len(changed) <= 1
    assert all(len(said[key]) == 1 for key in changed)


def test_impossible_values_are_rejected_by_readers_and_by_the_oracle(bent):
    rejected = 0
    for at_ms, message in _signals(bent[0]["impossible_value"]):
        frame = frames.decode(message.payload)
        assert not isinstance(frame, Malformed)
        reading = frames.read(frame, at_ms)
        rejected += len(reading.rejected)
        kept = sum(len(sample.values) for sample in reading.samples)
        assert kept == len(list(expect.samples(decoded(message))))
    assert rejected > 0


def test_half_updated_firmware_speaks_the_old_format_until_it_does_not(bent):
    readable = [
        not isinstance(frames.decode(payload), Malformed) for payload in _payloads(_signals(bent[0]["old_format"]))
    ]
    assert readable == sorted(readable)
    assert set(readable) == {False, True}


def test_what_nobody_can_read_counts_for_nothing():
    world = expect.World()
    old = json.dumps({"version": "0.9", "time": 1.0, "values": {}}).encode()
    for payload in (b"{", b"\x81", msgpack.packb([1, 2]), old):
        expect.take(world, Sent("vehicle", "car-1", "signals", payload, acknowledged=True))
    assert world.sent == 0
