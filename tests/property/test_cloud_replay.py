"""Laws of what comes back from the dead letters: once, in any order, however often."""

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from cloud import fold, twin
from cloud.inbox import Delivery, open_record
from cloud.twin import Twin
from tests.cloud_world import NOW_MS, delivery, frame, record
from wire import catalogue
from wire.topics import Kind

SPEED = catalogue.BY_PATH["Vehicle.Speed"].number


def replayed(payload: bytes, sequence: int, offset: int, replay: str = "messages") -> Delivery:
    """One dead letter, put back."""
    return delivery("a", [payload], offset, first_sequence=sequence, replay=replay)


def frames(count: int, numbered: bool) -> list[bytes]:
    session = "s" if numbered else None
    return [frame(NOW_MS + n, {"Vehicle.Speed": n}, session, n if numbered else None) for n in range(count)]


def visible(asset: Twin) -> dict[str, Any]:
    counters = {name: asset.counters[name] for name in ("frames", "samples", "gaps", "rejected", "uncertain")}
    return {"signals": asset.signals, "counters": counters}


@given(st.booleans(), st.integers(1, 60), st.data())
@settings(deadline=None)
def test_messages_replayed_in_any_order_and_number_are_folded_once(
    numbered: bool, count: int, data: st.DataObject
) -> None:
    """With what was missed put back, in any order, some of it again and again, the twin is what it would be if nothing
    had been missed; the agent's numbers, which otherwise only rise, are no exception."""
    payloads = frames(count, numbered)
    missed = data.draw(st.sets(st.sampled_from(range(count)), min_size=1))
    chance = random.Random(data.draw(st.integers(0, 2**32)))
    whole, asset = Twin("a", Kind.VEHICLE), Twin("a", Kind.VEHICLE)
    for n, payload in enumerate(payloads):
        fold.fold(whole, [delivery("a", [payload], n, first_sequence=7 * n)])
        if n not in missed:
            fold.fold(asset, [delivery("a", [payload], n, first_sequence=7 * n)])
    back = [*missed, *chance.choices(sorted(missed), k=5)]
    chance.shuffle(back)
    for offset, n in enumerate(back, count):
        fold.fold(asset, [replayed(payloads[n], 7 * n, offset)])
    assert visible(asset) == visible(whole)
    before = twin.fold_fields(asset, 1)["signals"]
    fold.fold(asset, [replayed(payloads[n], 7 * n, 1000 + n) for n in sorted(missed)])
    assert visible(asset) == visible(whole)
    assert twin.fold_fields(asset, 1)["signals"] == before


@given(st.booleans())
@settings(deadline=None)
def test_replayed_values_are_taken_and_counted_nowhere(numbered: bool) -> None:
    """A frame that was folded but for a value that was rejected then: when it is replayed, only the value is news."""
    first, *_ = frames(1, numbered)
    asset = Twin("a", Kind.VEHICLE)
    fold.fold(asset, [delivery("a", [first], 0, first_sequence=5)])
    counted = dict(asset.counters)
    amended = frame(NOW_MS + 3, {"Vehicle.Speed": 77}, "s" if numbered else None, 0 if numbered else None)
    for offset in (1, 2):
        outcome = fold.fold(asset, [replayed(amended, 5, offset, "values")])
        assert asset.signals[SPEED] == (77.0, NOW_MS + 3)
        assert asset.counters == counted
        assert len(outcome.advances) == (1 if offset == 1 else 0)


def test_a_replay_that_fails_again_is_not_rejected_twice() -> None:
    asset = Twin("a", Kind.VEHICLE)
    for offset, replay in enumerate((None, "messages", "messages")):
        opened = open_record(record("a", [b"junk"], offset, first_sequence=5, replay=replay))
        assert [letter.source for letter in opened.dead_letters] == ["mqtt:dt/fleet/vehicle/a/signals#gw/e1/5"]
        assert opened.delivery is not None
        fold.fold(asset, [opened.delivery])
    assert asset.counters["rejected"] == 1
