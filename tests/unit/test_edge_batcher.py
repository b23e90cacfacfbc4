"""Grouping by asset and channel, within limits of number, bytes and age."""

from edge.batcher import BUNDLE_BYTES, Batcher, Group, Limits
from edge.spool.chain import Position
from edge.spool.reader import Chunk
from edge.spool.records import StorageClass
from tests.edge_disk import message, numbers_of
from wire.topics import Channel

LIMITS = Limits(frames_max=3, bytes_max=100, age_s=0.05)


def chunk() -> Chunk:
    return Chunk(StorageClass.SIGNALS, [], 0, 10, 10, Position(10, 10))


def numbers(groups: list[Group]) -> list[list[int]]:
    return [[number for _, each in group.members for number in numbers_of(each)] for group in groups]


def test_a_full_group_leaves_at_once_and_others_wait_for_their_age() -> None:
    batcher = Batcher(LIMITS)
    source = chunk()
    for number in range(4):
        batcher.add(number, message(number), source, now_s=1.0)
    assert numbers(batcher.pop(1.0)) == [[0, 1, 2]]
    assert batcher.pop(1.049) == []
    assert numbers(batcher.pop(1.05)) == [[3]]
    assert batcher.pop(9.0) == []


def test_of_what_is_held_too_much_the_oldest_leave() -> None:
    batcher = Batcher(LIMITS)
    for number in range(10):
        batcher.add(number, message(number, asset_id=f"car-{number}", size=46), chunk(), now_s=1.0)
    assert numbers(batcher.pop(1.0, held_bytes_max=4 * (50 + BUNDLE_BYTES))) == [[number] for number in range(6)]
    assert batcher.held_bytes == 4 * (50 + BUNDLE_BYTES)
    assert batcher.due_s == 1.05


def test_a_group_never_exceeds_its_bytes_unless_one_payload_does() -> None:
    batcher = Batcher(LIMITS)
    for number, size in enumerate([60, 60, 500]):
        batcher.add(number, message(number, size=size), chunk(), now_s=0.0)
    assert numbers(batcher.pop(0.0, -1)) == [[0], [1], [2]]


def test_assets_and_channels_do_not_share_a_group() -> None:
    batcher = Batcher(LIMITS)
    batcher.add(0, message(0, asset_id="a"), chunk(), now_s=0.0)
    batcher.add(1, message(1, asset_id="b"), chunk(), now_s=0.0)
    batcher.add(2, message(2, channel=Channel.EVENTS, asset_id="a"), chunk(), now_s=0.0)
    assert numbers(batcher.pop(1.0)) == [[0], [1], [2]]


def test_claims_count_the_records_of_each_chunk() -> None:
    batcher = Batcher(LIMITS)
    first, second = chunk(), chunk()
    for number, source in enumerate([first, first, second]):
        batcher.add(number, message(number), source, now_s=0.0)
    (group,) = batcher.pop(0.0)
    assert [(claim.chunk is first, claim.record_count) for claim in group.claims] == [(True, 2), (False, 1)]


def test_what_is_held_is_known_and_zero_in_the_end() -> None:
    batcher = Batcher(LIMITS)
    batcher.add(0, message(0, size=46), chunk(), now_s=2.0)
    assert batcher.held_bytes == 50 + BUNDLE_BYTES
    assert batcher.due_s == 2.05
    batcher.pop(0.0, -1)
    assert (batcher.held_bytes, batcher.due_s) == (0, None)


def test_urgent_messages_of_an_asset_go_apart_from_its_others() -> None:
    batcher = Batcher(LIMITS)
    batcher.add(1, message(1), chunk(), now_s=0.0)
    batcher.add(0, message(0, urgent=True), Chunk(StorageClass.EVENTS, [], 0, 1, 1, Position(1, 1)), 0.0)
    assert numbers(batcher.pop(1.0)) == [[1], [0]]
