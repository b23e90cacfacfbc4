"""Whatever is added comes out once, in order per asset and channel, within the limits."""

import hypothesis.strategies as st
from hypothesis import given

from edge.batcher import Batcher, Group, Limits
from edge.spool.chain import Position
from edge.spool.reader import Chunk
from edge.spool.records import StorageClass
from tests.edge_disk import message, numbers_of
from wire.topics import Channel

_LIMITS = Limits(frames_max=4, bytes_max=200, age_s=0.05)
_ITEM = st.tuples(
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from(list(Channel)),
    st.integers(0, 250),
    st.integers(0, 40),
    st.booleans(),
)


@given(items=st.lists(_ITEM, max_size=60), held_bytes_max=st.integers(0, 5_000))
def test_nothing_is_lost_doubled_or_reordered(
    items: list[tuple[str, Channel, int, int, bool]], held_bytes_max: int
) -> None:
    batcher = Batcher(_LIMITS)
    source = Chunk(StorageClass.SIGNALS, [], 0, 100, 100, Position(0, 0))
    groups: list[Group] = []
    now_s = 0.0
    for number, (asset_id, channel, size, pause_ms, pops) in enumerate(items):
        now_s += pause_ms / 1000
        batcher.add(number, message(number, channel, asset_id, size), source, now_s)
        if pops:
            groups += batcher.pop(now_s, held_bytes_max)
            assert batcher.held_bytes <= held_bytes_max
            assert batcher.due_s is None or batcher.due_s > now_s
    groups += batcher.pop(now_s, -1)
    assert batcher.held_bytes == 0
    came: dict[tuple[str, Channel], list[int]] = {}
    for group in groups:
        keys = {(each.address.asset_id, each.address.channel) for _, each in group.members}
        assert len(keys) == 1
        assert len(group.members) <= _LIMITS.frames_max
        assert len(group.members) == 1 or group.size_bytes <= _LIMITS.bytes_max
        assert sum(claim.record_count for claim in group.claims) == len(group.members)
        came.setdefault(keys.pop(), []).extend(number for _, each in group.members for number in numbers_of(each))
    sent: dict[tuple[str, Channel], list[int]] = {}
    for number, (asset_id, channel, *_) in enumerate(items):
        sent.setdefault((asset_id, channel), []).append(number)
    assert came == sent
