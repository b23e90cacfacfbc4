"""Devices without a link and without room drop messages: the truth says which, and the oracle does not ask for them."""

from collections import Counter, defaultdict

import pytest

from simulator.engine import Engine
from simulator.oracle import compare, expect, report
from simulator.oracle.compare import Actual
from simulator.oracle.report import Told
from simulator.settings import QuirkSection
from simulator.truth import CELLS_DROPPED, DROPPED, Truth, TruthWriter
from tests.simulator_world import NO_FAULTS, START_MS, decoded, run, series, settings, told
from wire.topics import Channel

RUN_S = 3_000


def _engine(**fleet):
    modems = {"modem_loss": 0.2, "station_modem_loss": 0.5, "from_the_start": 1.0}
    rates = NO_FAULTS.model_copy(update=modems)
    of_fleet = settings(vehicles=20, stations=4, sleepers=0.0, step_s=2.0, faults=rates, **fleet)
    return Engine(of_fleet.model_copy(update={"quirks": QuirkSection(offline=0.3)}), START_MS)


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A run in which modems die and devices are offline, with room for a few messages each: what was sent, and its
    truth. Frames of the former are in the truth as cells, those of the latter as messages."""
    engine = _engine(kept_messages_max=100)
    directory = tmp_path_factory.mktemp("truth")
    with TruthWriter(directory, {}) as writer:
        messages = told(engine, RUN_S, writer)
    assert (directory / DROPPED).stat().st_size > 400
    assert (directory / CELLS_DROPPED).stat().st_size > 400
    return engine, messages, expect.read([Truth(directory)])


def _counted(messages):
    return [message for message in messages if message.channel is not Channel.CONNECTION]


def _missing(messages):
    """How many numbers each asset has left out below those that arrived."""
    numbers = defaultdict(set)
    for message in _counted(messages):
        body = decoded(message)
        numbers[message.asset_id, message.channel, body["session"]].add(body["seq"])
    missing = Counter()
    for (asset_id, *_), seen in numbers.items():
        missing[asset_id] += max(seen) + 1 - len(seen)
    return +missing


def test_what_was_dropped_is_told_and_is_all_that_is_missing(full):
    engine, messages, world = full
    expected = {asset_id: world.expected(asset_id) for asset_id in world.asset_ids}
    dropped = Counter({asset_id: asset.dropped for asset_id, asset in expected.items() if asset.dropped})
    arrived = Counter(message.asset_id for message in _counted(messages))
    made = Counter(message.asset_id for message in _counted(run(_engine(), RUN_S)))
    assert arrived + dropped == made
    assert world.dropped == engine.links.dropped == dropped.total() > 200
    assert {asset_id: asset.messages.sure for asset_id, asset in expected.items()} == arrived
    assert (world.sent, world.unacknowledged) == (arrived.total(), 0)


def test_the_newest_that_was_sent_is_expected_and_nothing_that_was_dropped(full):
    _, messages, world = full
    for asset_id, paths in series(messages).items():
        newest = {path: samples[-1][0] for path, samples in paths.items()}
        expected = world.expected(asset_id)
        assert {path: at.ts_ms for path, at in expected.signals.items()} == newest
        assert not [path for path in expected.maybe if not path.startswith("Station.")]  # those are of NotifyEvents


def test_a_gap_for_each_dropped_message_is_right_and_more_are_not(full):
    _, messages, world = full
    for asset_id, missing in _missing(messages).items():
        expected = world.expected(asset_id)
        for count, is_right in ((missing, True), (expected.dropped, True), (expected.dropped + 1, False)):
            twin = {"counters": {"gaps": count}}
            gaps = [d for d in compare.differences(expected, Actual(twin, {}, [])) if "gaps counted" in d.text]
            assert (gaps == []) is is_right


def test_the_verdict_says_how_many(full):
    _, _, world = full
    verdict = report.verdict(world, [], START_MS, Told())
    assert f"dropped: {world.dropped} messages" in verdict.lines(0)[-2]
    assert verdict.plain(0)["dropped"] == world.dropped
