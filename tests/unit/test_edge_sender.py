"""What is sent first: events, then live and backlog side by side, and what waits for a free link."""

from collections import Counter

import pytest

from edge.link import LinkCost
from edge.spool.records import StorageClass
from edge.upload import Upload
from tests.edge_agent_world import World
from tests.edge_disk import ROOMY, numbers_in
from tests.edge_fakes import REFUSED

EVENTS_TOPIC = "dt/fleet/vehicle/car-1/events"


def by_epoch(world: World) -> dict[str, list[int]]:
    """Numbers as they arrived, by the epoch that their batch carries."""
    found: dict[str, list[int]] = {}
    for parcel in world.sink.delivered:
        epoch = world.sender._source.epoch_of(parcel.stream)
        found.setdefault(epoch, []).extend(numbers_in(parcel))
    return found


def after_an_outage(upload: Upload | None = None) -> World:
    """2,000 messages wait for an hour, then Kafka takes a parcel."""
    world = World(ROOMY._replace(read_bytes=2_000), window_bytes_max=8_000, upload=upload)
    world.sink.room = 2
    for first in range(0, 2_000, 20):
        world.receiver.signals(*range(first, first + 20), size=50, now_ms=world.clock.wall_ms)
        world.turns(1, pause_ms=36_000)
    return world


def live(world: World, first: int) -> None:
    """A second in which Kafka takes two parcels and ten messages come in."""
    world.sink.deliver()
    world.receiver.signals(*range(first, first + 10), size=50, now_ms=world.clock.wall_ms)
    world.turns(2, pause_ms=500)


def test_after_an_outage_what_comes_in_is_sent_beside_the_backlog() -> None:
    world = after_an_outage()
    for second in range(20):
        live(world, 10_000 + 10 * second)
    arrived = by_epoch(world)
    assert len(arrived) == 2
    backlog, fresh = arrived.values()
    assert fresh[0] >= 10_000, "what came in after the split"
    assert len(fresh) > 100
    assert len(backlog) > 100
    assert world.spool.backlog > 0
    world.sink.room = 1_000
    for _ in range(400):
        world.sink.deliver()
        world.turns(1)
    for numbers in by_epoch(world).values():
        assert numbers == sorted(numbers), "in order within each stream"
        assert len(set(numbers)) == len(numbers)
    assert sorted(world.delivered()) == [*range(2_000), *range(10_000, 10_200)]
    assert world.spool.backlog == 0
    assert world.spool.undelivered == 0


def test_without_a_share_for_what_is_live_everything_is_sent_in_the_order_received() -> None:
    world = after_an_outage(Upload(live_share_percent=0))
    for second in range(5):
        live(world, 10_000 + 10 * second)
    world.sink.room = 1_000
    for _ in range(400):
        world.sink.deliver()
        world.turns(1)
    assert world.delivered() == [*range(2_000), *range(10_000, 10_050)]
    assert len(by_epoch(world)) == 1


def test_while_kafka_takes_nothing_there_is_no_split() -> None:
    world = after_an_outage()
    world.turns(50, pause_ms=10_000)
    assert world.spool.live_stream(StorageClass.SIGNALS) == 0


def test_a_kill_in_the_middle_of_a_split_keeps_every_record_in_its_stream() -> None:
    world = after_an_outage()
    for second in range(10):
        live(world, 10_000 + 10 * second)
    world.agent.request_checkpoint()
    world.agent.turn()
    before = by_epoch(world)
    world.sink.held.clear()
    world.disk = world.disk.after_crash()
    world.reopen()
    for second in range(10, 15):
        live(world, 10_000 + 10 * second)
    world.sink.room = 1_000
    for _ in range(400):
        world.sink.deliver()
        world.turns(1)
    after = by_epoch(world)
    assert list(before) == list(after)[:2]
    epoch_of = {number: epoch for epoch, numbers in before.items() for number in numbers}
    for epoch, numbers in after.items():
        first_arrivals = list(dict.fromkeys(numbers))
        assert first_arrivals == sorted(first_arrivals)
        assert all(epoch_of.get(number, epoch) == epoch for number in numbers)
    assert set(world.delivered()) == {*range(2_000), *range(10_000, 10_150)}


def test_events_overtake_signals() -> None:
    world = World()
    world.sink.room = 0
    for number in range(30):
        world.receiver.signals(number)
        world.turns(1)
    world.receiver.put(EVENTS_TOPIC, b"999:event", 1)
    world.turns(3)
    world.sink.room = 1_000
    world.turns(2)
    world.sink.deliver()
    assert world.delivered()[0] == 999


@pytest.mark.parametrize("share_percent", [0, 10, 50])
def test_signals_have_their_share_while_more_events_come_than_kafka_takes(share_percent: int) -> None:
    world = World(window_bytes_max=30_000, upload=Upload(0, signals_share_percent=share_percent))
    world.sink.room = 1
    for _ in range(400):
        world.receiver.signals(*range(15), size=200)
        for number in range(30):
            world.receiver.put(EVENTS_TOPIC, f"{100_000 + number}:".encode() + b"x" * 200, 1 + number)
        world.turns(1)
        world.sink.deliver()
    assert world.spool.undelivered_of(StorageClass.EVENTS) > 1_000, "events never ceased to wait"
    bytes_of = Counter[StorageClass]()
    for parcel in world.sink.delivered[50:]:
        bytes_of[parcel.storage_class] += len(parcel.value)
    assert bytes_of[StorageClass.SIGNALS] / bytes_of.total() == pytest.approx(share_percent / 100, abs=0.03)


def test_signals_wait_for_a_free_link_and_events_do_not() -> None:
    world = World(upload=Upload(metered_classes=frozenset({StorageClass.EVENTS})))
    world.link_cost = LinkCost.METERED
    world.receiver.signals(0, 1)
    world.receiver.put(EVENTS_TOPIC, b"999:event", 1)
    world.turns(5)
    world.sink.deliver()
    world.turns(5)
    assert world.delivered() == [999]
    assert world.sender.held == {StorageClass.SIGNALS}
    assert len(world.receiver.acknowledged) == 3, "devices notice nothing"
    world.link_cost = LinkCost.FREE
    world.turns(5)
    world.sink.deliver()
    world.turns(1)
    assert world.delivered() == [999, 0, 1]


def test_what_was_read_before_the_link_became_metered_waits_as_well() -> None:
    world = World(upload=Upload(metered_classes=frozenset({StorageClass.EVENTS})))
    world.sink.room = 0
    world.receiver.signals(0, 1)
    world.turns(5)
    world.link_cost = LinkCost.METERED
    world.turns(1)
    world.sink.room = 10
    world.turns(5)
    assert world.sink.held == []


def test_a_metered_rate_is_kept() -> None:
    world = World(upload=Upload(bytes_per_s=10_000, metered_bytes_per_s=500))
    world.link_cost = LinkCost.METERED
    world.receiver.signals(*range(200), size=100)
    for _ in range(10):
        world.turns(10, pause_ms=100)
        world.sink.deliver()
    given = sum(len(parcel.value) for parcel in world.sink.delivered)
    assert 4_000 < given < 7_500


def test_a_window_full_of_single_messages_of_many_devices_does_not_wait_for_their_age() -> None:
    world = World(ROOMY._replace(read_bytes=2_000), window_bytes_max=8_000)
    for device in range(20):
        world.receiver.signals(device, size=50, now_ms=world.clock.wall_ms, asset_id=f"car-{device}")
    world.turns(1, pause_ms=0)
    world.turns(1, pause_ms=0)
    assert len(world.sink.held) > 0, "their payloads are a part of the window only, but it holds no more"


def test_records_of_one_message_each_count_for_what_they_cost_on_their_way() -> None:
    """Payloads of 10 bytes, a kilobyte and more in memory each: the window is not full of payloads."""
    world = World(ROOMY._replace(read_bytes=2_000), window_bytes_max=100_000)
    for number in range(1_000):
        world.receiver.signals(number, asset_id=f"car-{number}", size=10)
        if number % 50 == 49:  # a block is read as a whole
            world.turns(1, pause_ms=0)
    world.turns(20)
    assert 20 < len(world.sink.held) <= 150, "200 if a batch cost nothing beside its payloads"
    world.sink.room = 10_000
    for _ in range(200):
        world.sink.deliver()
        world.turns(1)
    assert sorted(world.delivered()) == list(range(1_000))


def test_what_is_on_its_way_is_counted_as_batches_and_letters_and_nothing_stays_counted() -> None:
    world = World()
    world.receiver.signals(*range(25))
    world.receiver.put("dt/fleet/vehicle/NOBODY/signals", b"x", 9)
    world.turns(4)
    assert world.sink.held
    on_its_way = world.sender._batcher.held_bytes + sum(parcel.weight_bytes for parcel in world.sink.held)
    assert sum(world.sender._window_bytes.values()) == on_its_way > 0
    world.sink.refuse(REFUSED, 1)
    for _ in range(20):
        world.turns(1)
        if world.sink.held:
            world.sink.deliver()
    assert world.spool.undelivered == 0
    assert not world.sender._window_bytes


def test_what_waited_in_the_spool_leaves_when_all_is_read_and_waits_for_no_more_company() -> None:
    world = World()
    world.fail("append")
    world.receiver.signals(*range(25), now_ms=world.clock.wall_ms)
    world.turns(1)
    world.disk.fault = None
    world.turns(1, pause_ms=1_000)  # the disk is asked again
    world.turns(1, pause_ms=0)
    assert sorted(number for parcel in world.sink.held for number in numbers_in(parcel)) == list(range(25))
    world.receiver.signals(100, now_ms=world.clock.wall_ms)
    world.turns(2, pause_ms=0)
    assert 100 not in [number for parcel in world.sink.held for number in numbers_in(parcel)], "it may find company"
