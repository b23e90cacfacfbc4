"""New firmware over the air: who gets it, what the devices say, and what the truth and the oracle know of it."""

from collections import defaultdict

import pytest

from simulator import updates
from simulator.engine import Engine
from simulator.oracle import compare, expect
from simulator.oracle.compare import Actual
from simulator.settings import FleetSection, QuirkSection, SendSection, SimulatorSettings
from simulator.truth import Truth, TruthWriter
from tests.simulator_world import NO_FAULTS, START_MS, decoded, settings, told
from wire.topics import Channel, Kind

RUN_S = 2_400
FIRMWARE = ("Station.Controller.FirmwareVersion", 208, "208")


@pytest.fixture(scope="module")
def campaign(tmp_path_factory):
    """A quarter of a fleet gets new firmware within half an hour."""
    fleet = {"vehicles": 40, "stations": 12, "updates": 0.25, "sleepers": 0.0, "step_s": 2.0}
    engine = Engine(settings(faults=NO_FAULTS, **fleet), START_MS)
    path = tmp_path_factory.mktemp("truth") / "a"
    with TruthWriter(path, {}) as writer:
        messages = told(engine, RUN_S, writer)
        writer.updates(engine.updates)
    said = defaultdict(list)
    for message in messages:
        if message.channel is Channel.CONNECTION:
            said[message.asset_id].append(decoded(message))
    return engine, messages, said, Truth(path)


def test_a_share_of_the_fleet_is_updated_within_the_time(campaign):
    engine, _, _, _ = campaign
    assert len(engine.updates) == 13
    times = [update.at_ms - START_MS for update in engine.updates]
    assert times == sorted(times)
    assert max(times) > 900_000


def test_an_updated_device_says_goodbye_is_dark_and_comes_back_with_the_new_version(campaign):
    engine, _, said, _ = campaign
    for update in engine.updates:
        before = [state for state in said[update.asset_id] if state["ts"] <= update.at_ms]
        after = [state for state in said[update.asset_id] if state["ts"] > update.at_ms]
        assert {state["software"] for state in before} == {update.before}
        assert {state["software"] for state in after} == {update.after}
        assert before[-1]["online"] is False
        assert after[0]["online"] is True
        assert after[0]["session"] != before[-1]["session"]


def test_everybody_else_keeps_the_version_that_it_had(campaign):
    engine, _, said, _ = campaign
    others = said.keys() - {update.asset_id for update in engine.updates}
    assert len(others) == 39
    assert all(len({state["software"] for state in said[asset]}) == 1 for asset in others)


def test_a_station_reports_the_version_that_its_birth_names(campaign):
    engine, messages, said, _ = campaign
    stations = set(engine.stations.devices.ids)
    updated = {update.asset_id for update in engine.updates} & stations
    assert updated
    versions = defaultdict(list)
    for message in messages:
        if message.channel is Channel.SIGNALS and message.asset_id in stations:
            frame = decoded(message)
            versions[message.asset_id] += [frame["signals"][key] for key in FIRMWARE if key in frame["signals"]]
    for asset in stations:
        assert set(versions[asset]) == {state["software"] for state in said[asset]}
        assert versions[asset][-1] == said[asset][-1]["software"]


def test_the_oracle_expects_the_new_version_and_says_why(campaign):
    engine, _, _, truth = campaign
    assert truth.updates() == [update._asdict() for update in engine.updates]
    world = expect.read([truth])
    update = engine.updates[0]
    expected = world.expected(update.asset_id)
    assert expected.software == update.after
    twin = {"connection": {"session": expected.connection[2], "online": False, "software": update.before}}
    texts = [found.text for found in compare.differences(expected, Actual(twin, {}, []))]
    words = (
        f"software is {update.before!r}, expected {update.after!r}, since it was updated from {update.before!r} at 20"
    )
    assert any(text.startswith(words) for text in texts), texts


def test_half_updated_devices_speak_the_old_format_with_the_old_version_until_they_are_updated():
    fleet = FleetSection(vehicles=20, stations=4, seed=3, sleepers=0.0, updates=0.0, step_s=2.0)
    quirks, send = QuirkSection(old_format=0.3), SendSection(misbehave=0.0)
    engine = Engine(SimulatorSettings(fleet=fleet, faults=NO_FAULTS, quirks=quirks, send=send), START_MS)
    said = defaultdict(list)
    for _ in range(600):
        for message in engine.step():
            if message.channel is Channel.SIGNALS:
                said[message.asset_id].append((engine.now_ms, decoded(message).get("version")))
    assert len(engine.updates) == 7
    for update in engine.updates:
        old = [at_ms for at_ms, version in said[update.asset_id] if version == "0.9"]
        new = [at_ms for at_ms, version in said[update.asset_id] if version is None]
        assert max(old, default=0) <= update.at_ms < min(new)
        assert update.after == updates.VERSIONS[Kind.VEHICLE if update.asset_id.startswith("car") else Kind.STATION][-1]


def test_a_device_that_is_off_is_updated_when_it_is_on():
    engine = Engine(settings(vehicles=4, stations=0, updates=1.0, updates_within_s=0.0, faults=NO_FAULTS), START_MS)
    engine.vehicles.devices.returns_at_s[:2] = 300.0
    for _ in range(400):
        engine.step()
    when = {update.asset_id: (update.at_ms - START_MS) / 1_000 for update in engine.updates}
    assert [when[asset] >= 300 for asset in engine.vehicles.devices.ids] == [True, True, False, False]
