"""What waits too long for Kafka is given up, by class, and named; no clock can make that come too early."""

import errno

import msgspec
import pytest

from edge.spool.records import Bundle, Gap, Run, StorageClass
from edge.spool.spool import Limits, Spool
from tests.edge_disk import Crash, ManualClock, MemoryDisk, message, number_of, open_spool, put, read_all
from wire.malformed import Reason
from wire.topics import Channel

SIGNALS, EVENTS = StorageClass.SIGNALS, StorageClass.EVENTS
HOUR_S = 3600
LIMITS = Limits(100_000_000, 1_000_000, 4096, signals_age_s=HOUR_S, events_age_s=10 * HOUR_S)


def received(number: int, clock: ManualClock, channel: Channel = Channel.SIGNALS) -> Bundle:
    return msgspec.structs.replace(message(number, channel), runs=(Run(clock.wall_ms, 1),))


def upkeep(spool: Spool) -> None:
    """As the agent does it every second."""
    spool.expire()
    if spool.must_commit:
        spool.commit()
    spool.checkpoint()
    spool.trim()


def numbers(spool: Spool, storage_class: StorageClass = SIGNALS) -> list[int]:
    entries = read_all(spool, storage_class, confirm=False)
    return [number_of(record) for _, record in entries if isinstance(record, Bundle)]


def gaps(spool: Spool) -> list[Gap]:
    return [record for _, record in read_all(spool, EVENTS) if isinstance(record, Gap)]


def test_signals_expire_after_their_age_and_events_after_theirs() -> None:
    disk, clock = MemoryDisk(), ManualClock()
    spool = open_spool(disk, LIMITS, clock)
    for number in range(0, 40, 2):
        put(spool, received(number, clock), received(number + 1, clock, Channel.EVENTS))
        clock.advance_ms(600_000)
        upkeep(spool)
    left = numbers(spool)
    assert left[0] in (28, 30), "an hour and at most a tenth of it are kept"
    assert left[-1] == 38
    found = gaps(spool)
    assert {(gap.storage_class, gap.reason) for gap in found} == {(SIGNALS, Reason.EXPIRED)}
    named = sum(gap.record_count for gap in found)
    assert named == len(range(0, left[0], 2))
    assert spool.lost == {(SIGNALS, Reason.EXPIRED): named}
    assert sum(name.startswith("signals") for name in disk.names) <= 8, "expired segments are deleted"


def test_the_last_segment_expires_as_well_and_its_numbers_are_not_used_again() -> None:
    disk, clock = MemoryDisk(), ManualClock()
    spool = open_spool(disk, LIMITS, clock)
    put(spool, received(0, clock), received(1, clock))
    clock.advance_ms(1000 * (HOUR_S + 1))
    upkeep(spool)
    assert numbers(spool) == []
    assert spool.undelivered_of(SIGNALS) == 0
    (gap,) = gaps(spool)
    assert (gap.first_sequence, gap.last_sequence, gap.record_count) == (0, 1, 2)
    put(spool, received(2, clock))
    assert [sequence for sequence, _ in read_all(spool, SIGNALS)] == [3]


def test_what_was_delivered_does_not_expire() -> None:
    clock = ManualClock()
    spool = open_spool(MemoryDisk(), LIMITS, clock)
    put(spool, received(0, clock))
    read_all(spool, SIGNALS)
    clock.advance_ms(1000 * 2 * HOUR_S)
    upkeep(spool)
    assert not spool.lost


def test_a_crash_after_expiring_leads_to_the_same_loss_under_the_same_name() -> None:
    for operations in range(1, 30):
        disk, clock = MemoryDisk(), ManualClock()
        spool = open_spool(disk, LIMITS, clock)
        put(spool, received(0, clock))
        clock.advance_ms(1000 * (HOUR_S + 1))
        disk.crash_at = disk.operations + operations
        try:
            upkeep(spool)
        except Crash:
            disk = disk.after_crash()
            spool = open_spool(disk, LIMITS, clock)
            upkeep(spool)
        disk.crash_at = None
        found = gaps(spool)
        assert {(gap.reason, gap.first_sequence, gap.last_sequence) for gap in found} == {(Reason.EXPIRED, 0, 0)}
        assert numbers(spool) == []


def test_age_goes_on_while_the_agent_is_stopped() -> None:
    disk, clock = MemoryDisk(), ManualClock()
    limits = LIMITS._replace(segment_bytes=150)
    spool = open_spool(disk, limits, clock)
    for number in range(3):
        put(spool, received(number, clock))
        clock.advance_ms(1000)
    spool.close()
    clock.advance_ms(1000 * HOUR_S - 1_500)
    again = open_spool(disk, limits, clock)
    upkeep(again)
    assert numbers(again) == [1, 2], "each segment by its own age"
    again.rewind()
    clock.advance_ms(10_000)
    upkeep(again)
    assert numbers(again) == []


@pytest.mark.parametrize("jump_s", [-20 * 365 * 86400, -HOUR_S, HOUR_S * 2, 20 * 365 * 86400])
def test_a_wall_clock_that_jumps_expires_nothing_too_early(jump_s: int) -> None:
    disk, clock = MemoryDisk(), ManualClock()
    spool = open_spool(disk, LIMITS, clock)
    put(spool, received(0, clock))
    clock.wall_ms += jump_s * 1000
    put(spool, received(1, clock))
    upkeep(spool)
    assert numbers(spool) == [0, 1]
    assert spool.oldest_received_ms(SIGNALS) is not None
    spool.rewind()
    clock.advance_ms(1000 * (HOUR_S + 1))
    upkeep(spool)
    assert numbers(spool) == []


def test_what_a_clock_that_was_never_set_dated_counts_from_the_start() -> None:
    disk, clock = MemoryDisk(), ManualClock(wall_ms=5_000)
    put(open_spool(disk, LIMITS, clock), received(0, clock))
    clock = ManualClock()
    again = open_spool(disk, LIMITS, clock)
    upkeep(again)
    assert numbers(again) == [0], "not 55 years old"
    again.rewind()
    clock.advance_ms(1000 * (HOUR_S + 1))
    upkeep(again)
    assert numbers(again) == []


def test_a_clock_behind_what_is_on_disk_expires_nothing() -> None:
    disk, clock = MemoryDisk(), ManualClock()
    put(open_spool(disk, LIMITS, clock), received(0, clock))
    clock.wall_ms -= 1000 * 5 * HOUR_S
    again = open_spool(disk, LIMITS, clock)
    upkeep(again)
    assert numbers(again) == [0]


def test_a_segment_that_cannot_be_read_is_looked_at_again_later() -> None:
    disk, clock = MemoryDisk(), ManualClock()
    put(open_spool(disk, LIMITS, clock), received(0, clock))
    clock.advance_ms(1000 * (HOUR_S + 1))
    again = open_spool(disk, LIMITS, clock)

    def fault(operation: str, name: str) -> None:
        if operation == "read":
            raise OSError(errno.EIO, "cannot read")

    disk.fault = fault
    with pytest.raises(OSError, match="cannot read"):
        again.expire()
    disk.fault = None
    upkeep(again)
    assert numbers(again) == []
