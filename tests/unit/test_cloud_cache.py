"""The twins in memory are bounded in number and in bytes, and the bytes are what they really take."""

import random
import tracemalloc
from collections.abc import Callable

import pytest

from cloud import cache, changes, fold
from cloud.cache import Cache
from cloud.leaves import Leaves
from cloud.twin import Twin
from tests.cloud_world import NOW_MS, delivery, frame
from wire import catalogue
from wire.topics import Kind

NUMERIC = [one for one in catalogue.SIGNALS if one.kind is Kind.VEHICLE and one.type in ("float", "uint8", "int32")]
CODES = "Vehicle.Diagnostics.DTCList"


def said(number: int, signals: int = 20, sessions: int = 1, pieces: int = 0, codes: int = 0) -> Twin:
    """The twin of a car that said so much; `pieces`: how often it lost something, `codes`: trouble codes."""
    chance, asset = random.Random(number), Twin(f"vehicle-{number:06}", Kind.VEHICLE, new=True)
    for session in range(sessions):
        for seq in range(1 + pieces):
            values = {
                one.path: chance.randint(int(max(one.min, -99)), int(min(one.max, 99))) for one in NUMERIC[:signals]
            }
            listed = {CODES: [f"P{chance.randrange(10_000):04}" for _ in range(codes)]} if codes else {}
            payload = frame(
                NOW_MS + session * 1_000 + seq, {**values, **listed}, f"boot-{number}-{session}", 9_000 + 2 * seq
            )
            fold.fold(asset, [delivery(asset.asset_id, [payload], session * 1_000 + seq)])
    changes.of(asset, Leaves())
    return asset


@pytest.mark.parametrize(
    "make",
    [
        said,
        lambda number: said(number, signals=5),
        lambda number: said(number, signals=40),
        lambda number: said(number, sessions=20),
        lambda number: said(number, sessions=3, pieces=60),
        lambda number: said(number, codes=200),
    ],
    ids=["20 signals", "5 signals", "40 signals", "20 sessions", "many lost pieces", "many trouble codes"],
)
def test_what_a_twin_is_taken_to_need_is_what_it_needs(make: Callable[[int], Twin]) -> None:
    make(0)
    tracemalloc.start()
    kept = [make(number) for number in range(1, 31)]
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0.6 < taken / sum(map(cache.bytes_of, kept)) < 1.2


def test_beyond_its_bytes_the_least_recently_used_go() -> None:
    several = [said(number) for number in range(10)]
    size = cache.bytes_of(several[0])
    held = Cache(1_000, 5 * size + 1)
    held.put(several)
    assert [one.asset_id for one in several if held.take(one.asset_id)] == [f"vehicle-{n:06}" for n in range(5, 10)]
    assert (len(held), held.size_bytes) == (0, 0)


def test_beyond_their_number_the_least_recently_used_go() -> None:
    several = [said(number) for number in range(10)]
    held = Cache(3)
    held.put(several)
    held.put(several[7:8])
    held.put(several[:2])
    assert [one.asset_id for one in several if held.take(one.asset_id)] == [several[n].asset_id for n in (0, 1, 7)]
    assert held.size_bytes == 0


def test_a_twin_larger_than_all_room_is_not_kept_and_one_that_grew_is_counted_anew() -> None:
    small, large = said(1), said(1, codes=200)
    held = Cache(10, cache.bytes_of(small) + 100)
    held.put([small])
    held.put([large])
    assert (len(held), held.size_bytes) == (0, 0)
    held.put([small])
    held.put([small])
    assert held.size_bytes == cache.bytes_of(small)
    held.clear()
    assert (len(held), held.size_bytes) == (0, 0)
