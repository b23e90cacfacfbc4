"""No asset gets more than its share of a turn; offsets wait for what waits."""

import random

from hypothesis import given
from hypothesis import strategies as st

from cloud.frontier import Frontier
from cloud.inbox import Record
from cloud.sharing import Sharing


def record(asset: str, offset: int, size: int = 100, partition: int = 0, topic: str = "fleet.signals.v1") -> Record:
    return Record(topic, "g", partition, offset, asset.encode(), b"x" * size, 0)


def test_what_is_over_an_assets_share_is_first_in_its_next_turn() -> None:
    sharing = Sharing(bytes_per_turn_max=250)
    flood = [record("hot", n) for n in range(5)]
    assert sharing.admit([*flood, record("cool", 5)]) == [*flood[:2], record("cool", 5)]
    assert (sharing.carried_records, sharing.carried_bytes) == (3, 300)
    assert sharing.admit([record("hot", 6), record("cool", 7)]) == [*flood[2:4], record("cool", 7)]
    assert sharing.admit([]) == [flood[4], record("hot", 6)]
    assert sharing.carried_records == sharing.carried_bytes == 0


def test_one_record_larger_than_the_share_still_gets_its_turn() -> None:
    sharing = Sharing(bytes_per_turn_max=250)
    large = [record("hot", n, size=900) for n in range(2)]
    assert sharing.admit(large) == large[:1]
    assert sharing.admit([]) == large[1:]


def test_facts_of_other_systems_wait_for_nobody() -> None:
    sharing = Sharing(bytes_per_turn_max=1)
    roles = [record("hot", n, topic="asset.roles.v1") for n in range(3)]
    assert sharing.admit(roles) == roles


def test_partitions_of_what_waits_are_held_back_until_half_of_it_is_gone() -> None:
    sharing = Sharing(bytes_per_turn_max=100, carried_bytes_max=400)
    sharing.admit([record("hot", n, partition=3) for n in range(6)])
    assert (sharing.carried_bytes, sharing.crowded()) == (500, {("fleet.signals.v1", 3)})
    sharing.admit([])
    assert sharing.crowded()
    sharing.admit([])
    sharing.admit([])
    assert (sharing.carried_bytes, sharing.crowded()) == (200, set())


def test_what_waits_of_a_partition_that_was_given_up_is_forgotten() -> None:
    sharing = Sharing(bytes_per_turn_max=100)
    sharing.admit([record("a", 0), record("a", 1), record("b", 0, partition=1), record("b", 1, partition=1)])
    sharing.drop(lambda place: place[1] == 1)
    assert sharing.admit([]) == [record("b", 1, partition=1)]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 400)), max_size=40), st.integers(1, 600))
def test_every_record_is_admitted_once_and_in_the_order_of_its_asset(said: list[tuple[str, int]], share: int) -> None:
    records = [record(asset, offset, size) for offset, (asset, size) in enumerate(said)]
    sharing, admitted = Sharing(share), []
    for start in range(0, len(records), 7):
        admitted += sharing.admit(records[start : start + 7])
    while sharing.carried_records:
        admitted += sharing.admit([])
    assert sorted(admitted, key=lambda one: one.offset) == records
    for asset in (b"a", b"b", b"c"):
        offsets = [one.offset for one in admitted if one.key == asset]
        assert offsets == sorted(offsets)


@given(st.integers(1, 30), st.randoms(use_true_random=False))
def test_a_frontier_never_passes_a_record_that_is_not_done(count: int, chance: random.Random) -> None:
    """Whatever the order in which records are done, and whatever offsets the log leaves out."""
    offsets = sorted(chance.sample(range(100), count))
    frontier = Frontier()
    for offset in offsets:
        assert frontier.read(offset)
    left = set(offsets)
    for offset in chance.sample(offsets, count):
        assert frontier.position == min(left)
        frontier.done(offset)
        frontier.done(offset)
        left.discard(offset)
    assert frontier.position == offsets[-1] + 1


def test_reading_again_from_further_back_forgets_nothing_that_is_on_its_way() -> None:
    frontier = Frontier()
    for offset in (5, 6, 7):
        frontier.read(offset)
    assert not frontier.read(6)
    assert frontier.position == 5
    frontier.done(5)
    frontier.done(6)
    assert frontier.position == 7


def test_a_log_that_begins_anew_is_noticed() -> None:
    frontier = Frontier()
    frontier.read(41)
    assert not frontier.read(0)
    frontier.done(41)  # of the log that is gone
    assert frontier.position == 0
    frontier.done(0)
    assert frontier.position == 1
