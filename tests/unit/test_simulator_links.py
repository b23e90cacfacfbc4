"""Links that are bad: nothing is lost, nothing twice, all of it in order, and the truth says since when."""

import math
from collections import defaultdict

import pytest

from simulator.devices import Message
from simulator.engine import Engine
from simulator.faults import FaultKind
from simulator.links import Links, Outage
from simulator.settings import FaultSection
from tests.simulator_world import START_MS, decoded, events, settings
from wire.topics import Channel, Kind

RUN_S = 4_200


def _run(links=None):
    rates = {kind.value: 0.0 for kind in FaultKind}
    rates |= {"modem_loss": 0.1, "station_modem_loss": 0.4, "from_the_start": 0.3, "onset_s_max": 600.0}
    engine = Engine(settings(vehicles=30, stations=6, sleepers=0.0, step_s=2.0, faults=FaultSection(**rates)), START_MS)
    if links is not None:
        engine.links = links
    sent = defaultdict(list)
    for _ in range(RUN_S // 2):
        for message in engine.step():
            sent[message.device].append((engine.now_ms, message))
    for message in engine.finish():
        sent[message.device].append((engine.now_ms, message))
    return engine, sent


@pytest.fixture(scope="module")
def dying():
    return _run()


@pytest.fixture(scope="module")
def whole():
    """The same fleet, every link good."""
    return _run(Links({}, 1))[1]


def _reports(engine):
    return {report.asset_id: report for report in engine.fault_reports}


def test_what_waits_for_a_modem_arrives_later_complete_and_in_order(dying, whole):
    engine, sent = dying
    broken = _reports(engine)
    waited = []
    for device, late in sent.items():
        usual = whole[device]
        assert [_said(message) for _, message in late] == [_said(message) for _, message in usual]
        longest = max(at_ms - then_ms for (at_ms, _), (then_ms, _) in zip(late, usual, strict=True))
        assert (longest > 0) is (late[0][1].asset_id in broken)
        waited += [longest] * (longest > 0)
    assert len(waited) == 5
    assert max(waited) >= 900_000  # it was silent for a quarter of an hour at least


def _said(message):
    """Without what the station hears, which differs on purpose."""
    body = decoded(message)
    if message.channel is Channel.SIGNALS:
        heard = ("Station.DataLink.SignalStrength", 229, "229")
        body["signals"] = {key: value for key, value in body["signals"].items() if key not in heard}
    return body


def test_a_station_hears_less_and_less_before_it_is_silent(dying):
    engine, sent = dying
    for asset, report in _reports(engine).items():
        if report.fault != FaultKind.STATION_MODEM_LOSS:
            continue
        assert report.onset_ms <= report.visible_ms <= report.failed_ms
        device = len(engine.vehicles.devices) + engine.stations.devices.ids.index(asset)
        heard = []
        for _, message in sent[device]:
            if message.channel is Channel.SIGNALS:
                body = decoded(message)
                value = body["signals"].get("Station.DataLink.SignalStrength", body["signals"].get(229))
                heard += [] if value is None else [(body["ts"], value)]
        fading = [value for ts, value in heard if report.onset_ms <= ts <= report.failed_ms]
        assert fading == sorted(fading, reverse=True)
        assert min(fading) < -110 < max(value for ts, value in heard if ts > report.failed_ms + 2_400_000)


def test_a_car_notes_the_code_of_a_lost_modem_without_a_lamp(dying):
    engine, sent = dying
    cars = {asset for asset, report in _reports(engine).items() if report.fault == FaultKind.MODEM_LOSS}
    told = events([message for messages in sent.values() for _, message in messages])
    codes = {asset: body for asset, body in told if body["type"] == "dtc"}
    assert codes.keys() == cars
    assert {body["code"] for body in codes.values()} == {"U0198"}
    assert not any(body["status"].get("warningIndicatorRequested") for body in codes.values())
    assert all(_reports(engine)[asset].failed_ms for asset in cars)


def test_links_drop_out_for_longer_and_longer_then_nothing_gets_through_then_all_does():
    device = 7
    links = Links({device: Outage.of_modem(100.0, 0.0)}, 2_000)
    message = Message(device, Kind.VEHICLE, "car-1", Channel.SIGNALS, b"")
    through = [len(links.pass_on([message], float(now))) for now in range(2_000)]
    stopped = [through[begin:end].count(0) for begin, end in ((0, 100), (100, 400), (400, 700), (700, 1_600))]
    assert stopped[0] == 0
    assert 0 < stopped[1] < stopped[2] < 300
    assert stopped[3] == 900
    assert through[1_600:1_640] == [20] * 40  # it catches up, not all at once
    assert through[1_700:] == [1] * 300
    assert sum(through) == 2_000


def test_a_device_without_room_drops_its_oldest_frames_and_events_and_keeps_its_states():
    rooms = 6  # for each of the two
    links = Links({device: Outage(0.0, 0.0, 100.0) for device in (1, 2)}, 2 * rooms)
    made = [
        Message(device, Kind.VEHICLE, f"car-{device}", channel, b"%d" % number)
        for number in range(12)
        for device, channel in ((1, Channel.SIGNALS if number % 3 else Channel.CONNECTION), (2, Channel.EVENTS))
        if device == 1 or number < rooms
    ]
    for now, message in enumerate(made, 1):
        assert links.pass_on([message], float(now)) == []
    assert links.dropped == 6
    kept = list(links.release())
    dropped = links.take_dropped()
    assert links.take_dropped() == []
    assert sorted(kept + dropped) == sorted(made)
    of_first = [message for message in kept if message.device == 1]
    assert [m.payload for m in of_first if m.channel is Channel.CONNECTION] == [b"0", b"3", b"6", b"9"]
    assert [m.payload for m in dropped] == [b"1", b"2", b"4", b"5", b"7", b"8"]
    assert [message for message in kept if message.device == 2] == [message for message in made if message.device == 2]


@pytest.mark.parametrize(("run_s", "shortest_s", "longest_s"), [(math.inf, 3_600, 14_400), (3_600, 1_080, 2_160)])
def test_who_is_offline_is_so_for_hours_or_for_most_of_a_short_run_and_then_back(run_s, shortest_s, longest_s):
    outages = [Outage.within(run_s, when, how_much) for when in (0.0, 1.0) for how_much in (0.0, 0.5, 1.0)]
    lasts_s = [outage.ends_s - outage.dead_s for outage in outages]
    assert min(lasts_s) == pytest.approx(shortest_s)
    assert max(lasts_s) == pytest.approx(longest_s)
    assert all(outage.ends_s <= 0.81 * run_s and outage.fades_s == outage.dead_s <= 900 for outage in outages)
