"""The simulated fleet as a stream of messages: deterministic, valid, numbered, within deadbands and snapshots."""

import hashlib
import itertools
from collections import defaultdict

import numpy as np
import pytest

from simulator import fleet as fleets
from simulator import queueing, weather
from simulator.engine import Engine
from simulator.plans import NOBODY, Mode
from tests.simulator_world import NO_FAULTS, START_MS, decoded, events, run, samples, series, settings
from wire import catalogue, codec, frames
from wire.messages import AnyEvent, ConnectionState, Frame, shaped
from wire.topics import Channel, Kind

RUN_S = 1_500


@pytest.fixture(scope="module")
def messages():
    return run(Engine(settings(misbehave=0.02), START_MS), RUN_S)


@pytest.fixture(scope="module")
def in_order():
    """Without misbehaviour: messages as the devices made them."""
    return run(Engine(settings(reboots_per_day=60.0), START_MS), RUN_S)


def _digest(seed, start_ms=START_MS):
    digest = hashlib.sha256()
    for message in run(Engine(settings(misbehave=0.05, seed=seed), start_ms), 400):
        digest.update(repr(message).encode())
    return digest.hexdigest()


def test_the_same_seed_and_start_give_the_same_bytes():
    assert _digest(4) == _digest(4)


def test_another_seed_or_start_gives_other_bytes():
    assert len({_digest(4), _digest(5), _digest(4, START_MS + 1_000)}) == 3


def test_every_frame_is_valid_in_every_value(messages):
    frames_seen = 0
    for message in messages:
        if message.channel is Channel.SIGNALS:
            frame = frames.decode(message.payload)
            assert isinstance(frame, Frame), frame
            reading = frames.read(frame, frame.ts)
            assert isinstance(reading, frames.Reading)
            assert reading.rejected == []
            frames_seen += 1
    assert frames_seen > 5_000


def test_every_event_and_connection_state_is_valid(messages):
    for message in messages:
        if message.channel is not Channel.SIGNALS:
            shape = AnyEvent if message.channel is Channel.EVENTS else ConnectionState
            body = shaped(codec.decode(message.payload), shape)
            assert body.session is not None, body


def test_assets_report_only_signals_of_their_kind(messages):
    for message in messages:
        if message.channel is Channel.SIGNALS:
            for _, path, _ in samples(decoded(message)):
                assert catalogue.BY_PATH[path].kind is message.kind


def test_each_session_is_announced_once_and_counts_each_channel_from_zero(in_order):
    born, seen = set(), defaultdict(list)
    for message in in_order:
        body = decoded(message)
        key = (message.asset_id, body["session"])
        if message.channel is Channel.CONNECTION and body["online"]:
            assert key not in born
            born.add(key)
        elif message.channel is not Channel.CONNECTION:
            assert key in born, "said something before its birth"
            seen[*key, message.channel].append(body["seq"])
    assert len(born) > 48, "some devices restart"
    for sequences in seen.values():
        assert sequences == list(range(len(sequences)))


def test_a_session_begins_with_a_full_snapshot_and_repeats_it_every_ten_minutes(in_order):
    sizes = defaultdict(list)
    for message in in_order:
        if message.channel is Channel.SIGNALS:
            body = decoded(message)
            sizes[message.kind, message.asset_id, body["session"]].append((body["ts"], len(body["signals"])))
    gaps = []
    for (kind, _, _), entries in sizes.items():
        least = 30 if kind is Kind.VEHICLE else 12
        assert entries[0][1] >= least
        full = [ts for ts, size in entries if size >= least]
        gaps += [later - earlier for earlier, later in itertools.pairwise(full)]
    assert gaps
    assert max(gaps) <= 620_000


def test_between_snapshots_only_what_moved_is_sent(in_order):
    parked = [
        len(decoded(message)["signals"])
        for message in in_order
        if message.channel is Channel.SIGNALS and message.kind is Kind.VEHICLE
    ]
    assert sum(size <= 3 for size in parked) > len(parked) / 3


def test_some_devices_speak_json_some_send_numbers_some_put_samples_together(messages):
    by_format = defaultdict(set)
    for message in messages:
        if message.channel is Channel.SIGNALS:
            body = decoded(message)
            by_format["json" if message.payload[:1] == b"{" else "msgpack"].add(message.asset_id)
            by_format["numbers" if not str(next(iter(body["signals"])))[:1].isalpha() else "paths"].add(
                message.asset_id
            )
            if "dt" in body:
                by_format["several"].add(message.asset_id)
    assert len(by_format["msgpack"]) > len(by_format["json"]) > 0
    assert len(by_format["paths"]) > len(by_format["numbers"]) > 0
    assert 0 < len(by_format["several"]) < 40


def test_a_frame_of_several_samples_ends_with_the_present_value(in_order):
    """What moved between two frames and moved back must not leave a stale value behind."""
    ended = 0
    for message in in_order:
        if message.channel is Channel.SIGNALS:
            body = decoded(message)
            for values in body["signals"].values() if "dt" in body else ():
                if any(value is not None for value in values[:-1]):
                    assert values[-1] is not None
                    ended += 1
    assert ended > 50


def test_everybody_says_goodbye_at_the_end(messages):
    last = {}
    for message in messages:
        if message.channel is Channel.CONNECTION:
            last[message.asset_id] = decoded(message)
    assert len(last) == 48
    assert not any(state["online"] for state in last.values())
    assert messages[-1].channel is Channel.CONNECTION


def test_some_cars_sleep_when_parked_and_wake_to_drive():
    states = defaultdict(list)
    for message in run(Engine(settings(vehicles=60, sleepers=1.0, sleep_after_s=300.0), START_MS), RUN_S):
        if message.channel is Channel.CONNECTION and message.kind is Kind.VEHICLE:
            body = decoded(message)
            states[message.asset_id].append((body["ts"], body["online"]))
    end_ms = START_MS + RUN_S * 1_000
    asleep = {asset for asset, told in states.items() if any(not online and ts < end_ms for ts, online in told)}
    woken = {asset for asset in asleep if [online for _, online in states[asset]].count(True) > 1}
    assert asleep
    assert woken


def test_times_stand_on_whole_steps_and_never_run_ahead():
    engine = Engine(settings(faults=NO_FAULTS), START_MS)  # and so no modem that sends later
    for step in range(1, 200):
        for message in engine.step():
            body = decoded(message)
            latest = body["ts"] + max(body.get("dt", [0]))
            assert latest == START_MS + step * 1_000


def test_the_fleet_drives_parks_and_charges_within_an_hour():
    engine = Engine(settings(vehicles=60), START_MS)
    kinds = {(body["type"], body.get("phase")) for _, body in events(run(engine, 3_600))}
    assert {("trip", None), ("charging_session", "Started"), ("charging_session", "Updated")} <= kinds
    assert ("charging_session", "Ended") in kinds


def test_a_stored_code_is_told_without_a_lamp(messages):
    told = [body for _, body in events(messages) if body["type"] == "dtc"]
    assert {body["status"].get("confirmedDtc", False) for body in told} == {
        True,
        False,
    }
    for body in told:
        assert body["freeze_frame"]["Vehicle.TraveledDistance"] > 0


def test_a_fleet_of_one_kind_alone_runs():
    for vehicles, stations in ((0, 3), (3, 0), (1, 1), (0, 0)):
        engine = Engine(settings(vehicles=vehicles, stations=stations), START_MS)
        assets = series(run(engine, 120))
        assert len(assets) == vehicles + stations


def test_without_fault_rates_nothing_breaks():
    engine = Engine(settings(faults=NO_FAULTS), START_MS)
    run(engine, 600)
    assert engine.fault_reports == []


def test_queues_form_where_stations_are_few_and_who_came_first_charges_first():
    engine = Engine(settings(faults=NO_FAULTS, vehicles=1_200, stations=6), START_MS + 9 * 3_600_000)
    waited, served = {}, []
    fleet = engine.fleet
    for _ in range(7_200):
        before = set(np.flatnonzero(queueing.waiting(fleet.plans)).tolist())
        fleets.step(fleet, 1.0)  # the world alone: nobody listens
        now = set(np.flatnonzero(queueing.waiting(fleet.plans)).tolist())
        waited |= dict.fromkeys(now - before, fleet.now_s)
        served += [(fleet.now_s, row) for row in before - now if fleet.plans.mode[row] == Mode.PLUGGED]
        free = ~fleet.stations.occupied & (fleet.stations.reserved == NOBODY) & ~fleet.stations.faulted
        if now:
            sites = fleet.stations.spots.road[fleet.plans.station[sorted(now)]]
            for station in np.flatnonzero(free).tolist():
                near = sites == fleet.stations.spots.road[station]
                fits = (fleet.cars.dc_max_w[sorted(now)] > 0) | ~fleet.stations.is_dc[station]
                assert not (near & fits).any(), "nobody waits beside a free station that fits"
    assert len(waited) > 3
    assert len(served) > 2
    assert all(at_s > waited[row] for at_s, row in served)


def test_weather_has_seasons_fronts_and_rain_and_is_the_same_for_the_same_seed():
    def year(seed):
        return [weather.at(seed, START_MS / 1_000 + hour * 3_600.0) for hour in range(0, 8_766, 6)]

    one = year(1)
    assert one == year(1) != year(2)
    january = [now.celsius for now in one if now.celsius < 2]
    assert -14 < min(now.celsius for now in one) < 0 < 25 < max(now.celsius for now in one) < 34
    assert january
    assert 0.05 < sum(now.is_wet for now in one) / len(one) < 0.35
    assert {now.road for now in one} == {1.0, 0.88}
