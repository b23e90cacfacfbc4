"""Whatever Kafka's client and the machine do, records of an asset come first in the order of their sequences."""

import random

import pytest

from edge.spool.records import StorageClass
from edge.upload import Upload
from tests.edge_agent_world import World
from tests.edge_disk import ROOMY
from tests.edge_fakes import BROKEN
from wire import batches
from wire.messages import Batch

ASSETS = ("car-1", "car-2", "car-3")


def step(world: World, chance: random.Random, number: int) -> int:
    """Something of what happens to an agent; returns the number of the next message."""
    what = chance.choice(["receive"] * 6 + ["deliver"] * 4 + ["turn", "away", "back", "late", "broken", "kill"])
    match what:
        case "receive":
            count = chance.randint(1, 30)
            asset_id = chance.choice(ASSETS)
            numbers = range(number, number + count)
            world.receiver.signals(*numbers, asset_id=asset_id, size=chance.randint(0, 200), now_ms=world.clock.wall_ms)
            number += count
        case "deliver":
            if not world.sink.broken:  # an idempotent client confirms nothing behind what it lost
                world.sink.deliver(chance.randint(1, 1 + len(world.sink.held)))
        case "away":
            world.sink.room = 0
        case "back":
            world.sink.room = chance.choice([1, 3, 1_000])
        case "late":
            world.clock.advance_ms(40_000)
        case "broken":
            world.sink.refuse(BROKEN)
            world.sink.broken = True
        case "kill":
            world.disk = world.disk.after_crash()
            world.sink.held.clear()
            world.sink.pending.clear()
            world.sink.broken = False
            world.reopen()
    world.turns(chance.randint(0, 2))
    return number


@pytest.mark.parametrize("seed", range(15))
def test_first_arrivals_of_an_asset_rise_by_sequence_within_a_stream_and_none_is_missing(seed: int) -> None:
    chance = random.Random(seed)
    world = World(ROOMY._replace(read_bytes=2_000), window_bytes_max=60_000, upload=Upload(50))
    number = 0
    for _ in range(300):
        number = step(world, chance, number)
    world.sink.room = 1_000
    for _ in range(800):
        world.turns(1)
        if not world.sink.broken:
            world.sink.deliver()
    assert world.spool.undelivered_of(StorageClass.SIGNALS) == 0
    came: dict[tuple[str, str], list[int]] = {}
    payloads: set[bytes] = set()
    for parcel in world.sink.delivered:
        batch = batches.decode(parcel.value)
        assert isinstance(batch, Batch)
        sequences = [batch.first_sequence + offset for offset in batch.sequence_offsets]
        came.setdefault((batch.asset_id, batch.epoch), []).extend(sequences)
        payloads |= {payload.partition(b":")[0] for payload in batch.payloads}
    for where, sequences in came.items():
        first = list(dict.fromkeys(sequences))
        assert first == sorted(first), where
    assert {str(each).encode() for each in range(number)} <= payloads | world_unacknowledged(world, number)


def world_unacknowledged(world: World, number: int) -> set[bytes]:
    """What a kill took was never acknowledged: in a world without a broker nobody sends it again."""
    acknowledged = {each - 1 for each in world.receiver.acknowledged}
    return {str(each).encode() for each in range(number) if each not in acknowledged}
