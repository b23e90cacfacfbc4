"""What is evicted or damaged is named in a gap record, once, whatever crashes."""

import errno

import pytest

from edge.spool.records import Gap, StorageClass
from edge.spool.spool import Limits, Spool
from tests.edge_disk import (
    Crash,
    MemoryDisk,
    gaps,
    message,
    number_of,
    open_spool,
    put,
    read_all,
    segments,
)
from wire.malformed import Reason
from wire.topics import Channel

SMALL = Limits(bytes_max=4_000, segment_bytes=1_000, read_bytes=500)
SIGNALS, EVENTS = StorageClass.SIGNALS, StorageClass.EVENTS


def test_a_full_spool_evicts_the_oldest_signals_first_and_says_so() -> None:
    disk = MemoryDisk()
    spool = open_spool(disk, SMALL)
    put(spool, message(0, Channel.EVENTS, size=800))
    put(spool, message(1, Channel.EVENTS, size=800))
    for number in range(2, 8):
        put(spool, message(number, size=400))
    assert spool.size_bytes <= SMALL.bytes_max
    events = [record for _, record in read_all(spool, EVENTS)]
    found = [record for record in events if isinstance(record, Gap)]
    assert [number_of(r) for r in events if not isinstance(r, Gap)] == [0, 1], "events outlive signals"
    assert [(gap.storage_class, gap.reason, gap.record_count) for gap in found] == [(SIGNALS, Reason.EVICTED, 2)]
    assert (found[0].first_sequence, found[0].last_sequence) == (2, 3)
    assert [number_of(record) for _, record in read_all(spool, SIGNALS)] == [4, 5, 6, 7]
    assert spool.lost[SIGNALS, Reason.EVICTED] == 2
    assert not [name for name in disk.names if name.endswith(".evicted")]


def test_losses_named_in_segments_that_are_evicted_are_named_anew_and_stay_few() -> None:
    disk = MemoryDisk()
    spool = open_spool(disk, SMALL)
    for number in range(8):
        put(spool, message(number, size=400))
    for number in range(8, 200):
        put(spool, message(number, Channel.EVENTS, size=400))
    found = gaps(spool)
    signals = [gap for gap in found if gap.storage_class is SIGNALS]
    assert {n for gap in signals for n in range(gap.first_sequence, gap.last_sequence + 1)} == set(range(6))
    assert len(signals) <= 3
    assert len([gap for gap in found if gap.storage_class is EVENTS]) < 10, "joined"
    events = [gap for gap in found if gap.storage_class is EVENTS]
    evicted = set(range(8, max(gap.last_sequence for gap in events)))
    assert evicted <= {n for gap in events for n in range(gap.first_sequence, gap.last_sequence + 1)}
    assert spool.lost[SIGNALS, Reason.EVICTED] == 6, "counted once"
    assert not [name for name in disk.names if name.endswith(".evicted")]


def test_what_was_delivered_goes_before_anything_is_lost() -> None:
    disk = MemoryDisk()
    spool = open_spool(disk, SMALL)
    for number in range(20):
        put(spool, message(number, size=400))
        read_all(spool, SIGNALS)
    assert spool.size_bytes <= SMALL.bytes_max
    assert not spool.lost


def test_an_eviction_counts_only_what_is_not_confirmed() -> None:
    disk = MemoryDisk()
    spool = open_spool(disk, SMALL)
    put(spool, message(0, size=400), message(1, size=400))
    chunk = spool.read(SIGNALS)
    assert chunk is not None
    spool.confirm(chunk, 1)
    for number in range(2, 10):
        put(spool, message(number, size=400))
    assert gaps(spool)[0].record_count == 1
    spool.confirm(chunk, 1)  # it was on its way and arrives all the same
    read_all(spool, SIGNALS)
    assert spool.undelivered == 0


def full_spool() -> tuple[MemoryDisk, Spool]:
    """The next message evicts."""
    disk = MemoryDisk()
    spool = open_spool(disk, SMALL)
    for number in range(8):
        put(spool, message(number, size=400))
    spool.stage([message(8, size=400)])
    return disk, spool


def test_a_crash_between_eviction_and_its_record_still_leads_to_the_record() -> None:
    disk, spool = full_spool()
    before = disk.operations
    spool.commit()
    assert ("rename", f"signals-{0:020d}-{0:020d}.seg") in disk.log[before:]
    for crash_in in range(1, disk.operations - before + 1):
        disk, spool = full_spool()
        disk.crash_at = disk.operations + crash_in
        with pytest.raises(Crash):
            spool.commit()
        again = open_spool(disk.after_crash(), SMALL)
        read = [number_of(record) for _, record in read_all(again, SIGNALS)]
        found = gaps(again)
        named = [n for gap in found for n in range(gap.first_sequence, gap.last_sequence + 1)]
        assert set(range(8)) <= {*read, *named}, crash_in
        evicted = {(gap.first_sequence, gap.last_sequence) for gap in found if gap.reason is Reason.EVICTED}
        assert evicted <= {(0, 1)}


def test_an_eviction_is_reported_under_one_name_though_a_crash_follows() -> None:
    disk = MemoryDisk()
    spool = open_spool(disk, SMALL)
    put(spool, message(0, size=400))
    read_all(spool, SIGNALS)
    spool.checkpoint()
    for number in range(1, 9):
        put(spool, message(number, size=400))
    again = open_spool(disk.after_crash(), SMALL)
    read_all(again, SIGNALS)
    assert {(gap.reason, gap.first_sequence, gap.last_sequence) for gap in gaps(again)} == {(Reason.EVICTED, 1, 1)}


def test_damage_in_the_middle_is_skipped_and_reported_with_its_number() -> None:
    disk = MemoryDisk()
    spool = open_spool(disk)
    for number in range(0, 9, 3):
        put(spool, message(number), message(number + 1), message(number + 2))
    inode = disk.names[segments(disk)[0]]
    middle = inode.data.index(b"4:")
    inode.data = inode.data[:middle] + b"?" + inode.data[middle + 1 :]
    assert [number_of(record) for _, record in read_all(spool, SIGNALS)] == [0, 1, 2, 6, 7, 8]
    (gap,) = gaps(spool)
    assert (gap.reason, gap.first_sequence, gap.last_sequence, gap.record_count) == (Reason.CORRUPT, 3, 5, 3)
    assert spool.undelivered == 0


def test_the_checkpoint_does_not_pass_a_loss_before_its_record_is_durable() -> None:
    disk = MemoryDisk()
    spool = open_spool(disk)
    put(spool, message(0))
    put(spool, message(1))
    spool.close()
    inode = disk.names[segments(disk)[0]]
    inode.data = inode.durable = inode.data.replace(b"0:", b"?:")
    spool = open_spool(disk)
    read_all(spool, SIGNALS)
    spool.checkpoint()
    again = open_spool(disk.after_crash())
    read_all(again, SIGNALS)
    (gap,) = gaps(again)
    assert gap.record_count == 1


def test_a_damaged_end_is_reported_even_when_nothing_follows() -> None:
    disk = MemoryDisk()
    spool = open_spool(disk)
    put(spool, message(0))
    put(spool, message(1), message(2))
    inode = disk.names[segments(disk)[0]]
    inode.data = inode.durable = inode.data[:-1] + b"?"
    again = open_spool(disk)
    assert [number_of(record) for _, record in read_all(again, SIGNALS)] == [0]
    (gap,) = gaps(again)
    assert (gap.reason, gap.record_count) == (Reason.CORRUPT, 2)
    assert again.undelivered == 0


def test_a_missing_file_is_reported() -> None:
    disk = MemoryDisk()
    spool = open_spool(disk, SMALL)
    for number in range(6):
        put(spool, message(number, size=400))
    spool.close()
    del disk.names[segments(disk)[1]]
    again = open_spool(disk, SMALL)
    assert [number_of(record) for _, record in read_all(again, SIGNALS)] == [0, 1, 4, 5]
    assert gaps(again)[0].record_count == 2


def test_a_page_that_the_disk_cannot_read_is_given_up_after_some_attempts() -> None:
    disk = MemoryDisk()
    spool = open_spool(disk)
    for number in range(3):
        put(spool, message(number, size=5_000))
    spool.close()
    spool = open_spool(disk)

    def fault(operation: str, name: str) -> None:
        if operation == "read":
            raise OSError(errno.EIO, "cannot read")

    disk.fault = fault
    for _ in range(5):
        with pytest.raises(OSError, match="cannot read"):
            spool.read(SIGNALS)
    assert spool.read(SIGNALS) is None
    disk.fault = None
    assert gaps(spool)[0].record_count == 3
