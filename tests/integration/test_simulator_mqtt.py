"""The simulator against a real MQTT broker: what the truth says was sent, arrives."""

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from simulator import commands, settings
from simulator.devices import Message
from simulator.show import Progress
from simulator.truth import Truth
from tests.simulator_network import Listener, Wire, wait_until
from tests.simulator_world import decoded, told_by, truth_tells
from wire.topics import Channel, Kind, mqtt_topic


def _settings(url, seed, **options):
    fleet = {
        "vehicles": 20,
        "stations": 4,
        "seed": seed,
        "duration_s": 3.0,
        "speedup": 60.0,
        **options.pop("fleet", {}),
    }
    return settings.load(None, {"mqtt": {"url": url}, "fleet": fleet, "send": options})


def _run(loaded, truth, stop=None):
    return commands.run(loaded, truth, None, Progress(), stop or threading.Event())


def _sent(truth):
    return list(Truth(truth).sent())


def _topic(sent):
    return mqtt_topic(Kind(sent.kind), sent.asset_id, Channel(sent.channel))


def _tells(truth):
    return truth_tells(Truth(truth))


def _heard(listener, assets):
    """What these assets were heard to say."""
    return [told_by(*topic.split("/")[3:5], payload) for topic, payload in listener.of(assets)]


def _arrived(listener, told):
    """Waits until everything in the truth was heard; what was heard of its assets."""
    wanted = {entry for entry, _ in told}
    assets = {entry.asset_id for entry in wanted}
    assert wait_until(lambda: wanted <= set(_heard(listener, assets))), len(wanted - set(_heard(listener, assets)))
    return _heard(listener, assets)


def test_every_message_of_the_truth_arrives_and_nothing_else(mqtt_url, tmp_path):
    with Listener(mqtt_url) as listener:
        summary = _run(_settings(mqtt_url, 101, misbehave=0.05), tmp_path / "t")
        told = _tells(tmp_path / "t")
        heard = _arrived(listener, told)
    assert summary["unacknowledged"] == summary["refused"] == 0
    assert all(acknowledged for _, acknowledged in told)
    assert len(told) == summary["frames"] + summary["events"] + summary["connections"]
    assert set(heard) == {entry for entry, _ in told}
    assert len(heard) == len(told) + summary["repeated"]
    assert summary["repeated"] > 0


def test_the_messages_of_a_device_arrive_in_the_order_of_the_truth(mqtt_url, tmp_path):
    with Listener(mqtt_url) as listener:
        _run(_settings(mqtt_url, 102, misbehave=0.0), tmp_path / "t")
        told = _tells(tmp_path / "t")
        heard = _arrived(listener, told)
    for asset_id in {entry.asset_id for entry, _ in told}:
        for channel in Channel:
            arrived = [entry for entry in heard if entry[:2] == (asset_id, channel)]
            made = [entry for entry, _ in told if entry[:2] == (asset_id, channel)]
            # the truth keeps frames in two places, each in order
            assert arrived == (sorted(made, key=_newest) if channel is Channel.SIGNALS else made)


def _newest(frame):
    return max(sample[1:].split(",")[0] for sample in frame.body[1])


def test_progress_and_description_are_there_for_people_who_watch(mqtt_url, tmp_path):
    summary = _run(_settings(mqtt_url, 103), tmp_path / "t")
    progress = json.loads((tmp_path / "t" / "progress.json").read_text())
    assert progress["finished"] is True
    assert {name: progress[name] for name in ("frames", "events", "acknowledged")} == {
        name: summary[name] for name in ("frames", "events", "acknowledged")
    }
    assert abs(progress["simulated_time_ms"] - time.time() * 1_000) < 10_000
    assert Truth(tmp_path / "t").run()["seed"] == 103


def test_a_birth_is_kept_by_the_broker_and_replaced_by_the_farewell(mqtt_url, tmp_path):
    _run(_settings(mqtt_url, 104), tmp_path / "t")
    last = {}
    for entry in _sent(tmp_path / "t"):
        if entry.channel == "connection":
            last[_topic(entry)] = entry.payload
    with Listener(mqtt_url) as listener:
        assert wait_until(lambda: {topic for topic, _, _ in listener.heard} >= last.keys())
        retained = {topic: payload for topic, payload, is_retained in listener.heard if is_retained}
    assert {topic: retained.get(topic) for topic in last} == last


def test_a_lost_connection_loses_no_message(mqtt_url, tmp_path):
    with Listener(mqtt_url) as listener, Wire(mqtt_url) as wire:
        cutter = threading.Timer(1.2, wire.cut)
        cutter.start()
        summary = _run(_settings(wire.url, 105, connections=2), tmp_path / "t")
        cutter.join()
        told = _tells(tmp_path / "t")
        _arrived(listener, told)
    assert wire.accepted == 4, "both connections came back"
    assert summary["unacknowledged"] == 0
    assert all(acknowledged for _, acknowledged in told)


def test_a_broker_that_stalls_slows_the_sender_and_loses_nothing(mqtt_url, tmp_path):
    with Listener(mqtt_url) as listener, Wire(mqtt_url) as wire:
        for delay, action in ((0.8, wire.stop), (2.3, wire.go_on)):
            threading.Timer(delay, action).start()
        summary = _run(_settings(wire.url, 106, connections=1, in_flight_messages_max=8), tmp_path / "t")
        _arrived(listener, _tells(tmp_path / "t"))
    assert summary["unacknowledged"] == 0
    assert summary["lateness_s"]["max"] > 1.0


def test_a_broker_that_never_answers_leaves_messages_unacknowledged(mqtt_url, tmp_path):
    with Wire(mqtt_url) as wire:
        loaded = _settings(wire.url, 107, connections=1, drain_timeout_s=0.5, fleet={"duration_s": 1.0})
        threading.Timer(0.9, wire.stop).start()
        summary = _run(loaded, tmp_path / "t")
    assert 0 < summary["unacknowledged"] <= loaded.send.in_flight_messages_max
    assert sum(not acknowledged for _, acknowledged in _tells(tmp_path / "t")) >= summary["unacknowledged"]


def test_a_run_that_shall_stop_does_not_wait_long_for_a_dead_broker(mqtt_url, tmp_path):
    stop = threading.Event()
    with Wire(mqtt_url) as wire:
        loaded = _settings(wire.url, 111, connections=1, stop_timeout_s=1.0, in_flight_messages_max=4)
        threading.Timer(0.5, wire.stop).start()
        threading.Timer(1.5, stop.set).start()
        began = time.monotonic()
        summary = _run(loaded, tmp_path / "t", stop)
    assert 1.5 < time.monotonic() - began < 6
    assert summary["unacknowledged"] > 4
    assert summary["finished"] is True


def test_with_a_connection_each_the_broker_speaks_the_will_of_a_device_that_vanishes(mqtt_url, tmp_path):
    fleet = {"vehicles": 4, "stations": 1, "duration_s": 5.0, "reboots_per_day": 900.0}
    with Listener(mqtt_url) as listener:
        summary = _run(_settings(mqtt_url, 108, connections=0, misbehave=0.0, fleet=fleet), tmp_path / "t")
        told = _tells(tmp_path / "t")
        heard = _arrived(listener, told)
    assert summary["unacknowledged"] == 0
    known = {entry for entry, _ in told}
    wills = [_body(entry.body) for entry in heard if entry not in known]
    assert wills
    assert all(will["online"] is False and "ts" not in will for will in wills)
    births = {_body(entry.body)["session"] for entry, _ in told if entry.channel == "connection"}
    assert {will["session"] for will in wills} <= births


def _body(payload):
    return decoded(Message(0, Kind.VEHICLE, "", Channel.CONNECTION, payload))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_in_order(mqtt_url, tmp_path, number):
    script = Path(sys.executable).with_name("fleetfold-sim")
    words = ["run", "--vehicles", "10", "--stations", "2", "--seed", "109", "--duration-s", "0", "--json"]
    process = subprocess.Popen(
        [script, *words, "--truth", tmp_path / "t", "--mqtt-url", mqtt_url], stdout=subprocess.PIPE, text=True
    )
    try:
        progress = tmp_path / "t" / "progress.json"
        assert wait_until(lambda: progress.exists() and json.loads(progress.read_text())["frames"] > 50)
        process.send_signal(number)
        began = time.monotonic()
        output, _ = process.communicate(timeout=10)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert time.monotonic() - began < 10
    summary = json.loads(output)
    assert summary["finished"] is True
    assert summary["unacknowledged"] == 0
    last = {}
    for entry in _sent(tmp_path / "t"):
        if entry.channel == "connection":
            last[entry.asset_id] = _body(entry.payload)["online"]
    assert set(last.values()) == {False}


def test_killing_the_simulator_leaves_a_truth_of_everything_that_arrived(mqtt_url, tmp_path):
    script = Path(sys.executable).with_name("fleetfold-sim")
    words = ["run", "--vehicles", "20", "--stations", "2", "--seed", "110", "--duration-s", "0", "--speedup", "200"]
    with Listener(mqtt_url) as listener:
        time.sleep(0.3)
        kept = len(listener.heard)  # what the broker retained from others
        process = subprocess.Popen([script, *words, "--truth", tmp_path / "t", "--mqtt-url", mqtt_url])
        try:
            assert wait_until(lambda: len(listener.heard) > kept + 300)
        finally:
            process.kill()
            process.wait()
        time.sleep(0.5)
        told = {entry for entry, _ in _tells(tmp_path / "t")}
        heard = _heard(listener, {entry.asset_id for entry in told})
    assert len(heard) >= 300
    assert set(heard) <= told


def test_a_recording_arrives_complete(mqtt_url, tmp_path, data_directory):
    options = commands.ReplayOptions(
        data_directory / "acn_caltech" / "sessions.csv.gz", "acn", 120, None, duration_s=0.0, end_ms=None
    )
    loaded = settings.load(None, {"mqtt": {"url": mqtt_url}, "send": {"rate_max": 2_000.0}})
    with Listener(mqtt_url) as listener:
        summary = commands.replay(loaded, tmp_path / "t", options, Progress(), threading.Event())
        _arrived(listener, _tells(tmp_path / "t"))
    assert summary["complete"] is True
    assert summary["events"] == 240
    assert summary["frames"] == 360


def test_a_replay_ends_when_its_time_is_over(mqtt_url, tmp_path, data_directory):
    options = commands.ReplayOptions(
        data_directory / "carobd" / "telemetry.csv.gz", "carobd", 4_000, 1.0, duration_s=1.0, end_ms=None
    )
    loaded = settings.load(None, {"mqtt": {"url": mqtt_url}})
    summary = commands.replay(loaded, tmp_path / "t", options, Progress(), threading.Event())
    assert summary["complete"] is False
    assert summary["wall_s"] < 5
    assert summary["frames"] < 20
