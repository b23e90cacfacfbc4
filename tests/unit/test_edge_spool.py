"""The spool's rules: sequences, eviction, losses, checkpoints, a disk that refuses."""

import errno
from pathlib import Path
from typing import Any

import pytest

from edge.spool.disk import Directory, LockedError
from edge.spool.records import Gap, StorageClass
from edge.spool.spool import Limits, Spool
from tests.edge_disk import Crash, ManualClock, MemoryDisk, message, number_of, open_spool, put, read_all
from wire.malformed import Reason
from wire.topics import Channel

SMALL = Limits(bytes_max=4_000, segment_bytes=1_000, read_bytes=500)
SIGNALS, EVENTS = StorageClass.SIGNALS, StorageClass.EVENTS


def segments(disk: MemoryDisk) -> list[str]:
    return sorted(name for name in disk.names if name.endswith(".seg"))


def gaps(spool: Spool) -> list[Gap]:
    if spool.must_commit:
        spool.commit()
    return [record for _, record in read_all(spool, EVENTS) if isinstance(record, Gap)]


def fail_once(disk: MemoryDisk, *operations: str) -> None:
    """Let the next of each operation fail."""
    left = list(operations)

    def fault(operation: str, name: str) -> None:
        if operation in left:
            left.remove(operation)
            raise OSError(errno.EIO, operation, name)

    disk.fault = fault


def test_sequences_rise_over_all_classes_and_jump_at_each_start() -> None:
    disk = MemoryDisk()
    spool = open_spool(disk)
    put(spool, message(0), message(1, Channel.EVENTS), message(2))
    put(spool, message(3))
    assert [sequence for sequence, _ in read_all(spool, SIGNALS)] == [1, 2, 3]
    assert [sequence for sequence, _ in read_all(spool, EVENTS)] == [0], "events are durable before signals"
    again = open_spool(disk)
    assert again.epoch == spool.epoch
    put(again, message(4))
    assert [sequence for sequence, _ in read_all(again, SIGNALS)] == [1, 2, 3, 2**20]


def test_a_new_directory_has_a_new_epoch(tmp_path: Path) -> None:
    epochs = set()
    for name in ("a", "b"):
        disk = Directory(tmp_path / name)
        epochs.add(Spool.open(disk, SMALL, ManualClock()).epoch)
        disk.close()
    assert len(epochs) == 2


def test_a_spool_outlives_its_process(tmp_path: Path) -> None:
    disk = Directory(tmp_path / "spool")
    spool = Spool.open(disk, SMALL, ManualClock())
    put(spool, message(0, size=700), message(1, size=700), message(2, Channel.EVENTS))
    put(spool, message(3))
    spool.close()
    disk.close()
    disk = Directory(tmp_path / "spool")
    again = Spool.open(disk, SMALL, ManualClock())
    assert [number_of(record) for _, record in read_all(again, SIGNALS)] == [0, 1, 3]
    again.checkpoint()
    again.trim()
    assert again.undelivered == 1
    assert again.epoch == spool.epoch
    again.close()
    disk.close()


def test_a_second_writer_is_refused_and_told_who_is_there(tmp_path: Path) -> None:
    first = Directory(tmp_path)
    with pytest.raises(LockedError, match=rf"{tmp_path} is in use by another agent, process \d+"):
        Directory(tmp_path)
    assert "lock" in Directory(tmp_path, writable=False).list()
    first.close()
    Directory(tmp_path).close()


def test_delivered_segments_are_deleted_but_never_the_newest() -> None:
    disk = MemoryDisk()
    spool = open_spool(disk, SMALL)
    for number in range(6):
        put(spool, message(number, size=400))
    assert len(segments(disk)) == 3
    read_all(spool, SIGNALS)
    spool.trim()
    assert len(segments(disk)) == 3, "not before the checkpoint"
    spool.checkpoint()
    spool.trim()
    assert len(segments(disk)) == 1
    assert spool.undelivered == 0


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


def test_who_keeps_up_needs_no_disk_and_who_fell_behind_reads_on_in_order() -> None:
    disk = MemoryDisk()
    spool = open_spool(disk, SMALL)
    reads: list[str] = []

    def fault(operation: str, name: str) -> None:
        if operation == "read":
            reads.append(name)

    disk.fault = fault
    numbers: list[int] = []
    for number in range(40):
        put(spool, message(number, size=100))
        if number not in range(10, 13) and number not in range(20, 35):
            was_behind = number in (13, 35)
            reads.clear()
            numbers += [number_of(record) for _, record in read_all(spool, SIGNALS)]
            assert bool(reads) == was_behind, number
    assert numbers == list(range(40))
    assert spool.undelivered == 0


def test_an_error_while_reading_loses_nothing_that_was_read_before_it() -> None:
    disk = MemoryDisk()
    spool = open_spool(disk, Limits(100_000, 25_000, 10_000))
    for number in range(4):
        put(spool, message(number, size=3_000))
    reads = 0

    def fault(operation: str, name: str) -> None:
        nonlocal reads
        reads += operation == "read"
        if operation == "read" and reads == 2:
            raise OSError(errno.EIO, "cannot read")

    disk.fault = fault
    read: list[int] = []
    for _ in range(6):
        try:
            read += [number_of(record) for _, record in read_all(spool, SIGNALS)]
        except OSError:
            continue
    assert sorted(read) == [0, 1, 2, 3]
    assert spool.undelivered == 0


@pytest.mark.parametrize("operation", ["append", "sync", "create", "sync_directory"])
def test_after_an_error_the_same_records_are_appended_once(operation: str) -> None:
    disk = MemoryDisk()
    spool = open_spool(disk)
    if operation != "create" and operation != "sync_directory":
        put(spool, message(0))
    fail_once(disk, operation, "truncate")
    spool.stage([message(1), message(2)])
    with pytest.raises(OSError, match=operation):
        spool.commit()
    assert spool.is_staged
    spool.commit()
    for each in (spool, open_spool(disk)):
        assert [number_of(record) for _, record in read_all(each, SIGNALS, confirm=False)][-2:] == [1, 2]
    assert spool.undelivered == len(read_all(open_spool(disk), SIGNALS))


def test_a_full_disk_takes_up_its_work_when_there_is_room() -> None:
    disk = MemoryDisk(capacity_bytes=500)
    spool = open_spool(disk)
    put(spool, message(0, size=200))
    spool.stage([message(1, size=400)])
    for _ in range(3):
        with pytest.raises(OSError, match="no space"):
            spool.commit()
    disk.capacity_bytes = None
    spool.commit()
    assert [number_of(record) for _, record in read_all(spool, SIGNALS)] == [0, 1]


def test_a_checkpoint_that_fails_leaves_the_old_one() -> None:
    disk = MemoryDisk()
    spool = open_spool(disk)
    put(spool, message(0), message(1))
    spool.checkpoint()
    read_all(spool, SIGNALS)
    fail_once(disk, "sync")
    with pytest.raises(OSError, match="sync"):
        spool.checkpoint()
    assert len(read_all(open_spool(disk), SIGNALS)) == 2
    spool.checkpoint()
    assert read_all(open_spool(disk), SIGNALS) == []


def test_a_full_disk_takes_checkpoints_and_so_becomes_empty_again() -> None:
    disk = MemoryDisk()
    spool = open_spool(disk, SMALL)
    put(spool, message(0, size=700))
    read_all(spool, SIGNALS)
    spool.checkpoint()
    spool.checkpoint()
    for number in range(1, 4):
        put(spool, message(number, size=700))
    read_all(spool, SIGNALS)
    spool.checkpoint()  # makes the second file
    disk.capacity_bytes = disk.used_bytes
    put_refused = [message(4, size=700)]
    spool.stage(list(put_refused))
    with pytest.raises(OSError, match="no space"):
        spool.commit()
    spool.checkpoint()
    spool.checkpoint()
    spool.trim()
    spool.commit()
    assert [number_of(record) for _, record in read_all(spool, SIGNALS)] == [4]


def test_a_checkpoint_is_written_only_when_something_moved() -> None:
    disk = MemoryDisk()
    spool = open_spool(disk)
    put(spool, message(0))
    read_all(spool, SIGNALS)
    spool.checkpoint()
    before = disk.operations
    spool.checkpoint()
    assert disk.operations == before


def test_rewind_reads_again_what_is_not_confirmed() -> None:
    spool = open_spool(MemoryDisk(), SMALL)
    for number in range(4):
        put(spool, message(number, size=400))
    first, second = spool.read(SIGNALS), spool.read(SIGNALS)
    assert first is not None
    assert second is not None
    spool.confirm(first, first.remaining)
    spool.rewind()
    spool.confirm(second, second.remaining)  # a report that comes too late changes nothing
    assert [number_of(record) for _, record in read_all(spool, SIGNALS)] == [1, 2, 3][-(4 - first.count) :]
    assert spool.undelivered == 0


def test_a_stream_that_had_no_block_before_a_power_cut_is_not_mixed_up_with_the_one_before() -> None:
    disk = MemoryDisk()
    spool = open_spool(disk)
    put(spool, message(0))
    assert spool.split(SIGNALS)
    spool.checkpoint()
    again = open_spool(disk.after_crash())
    put(again, message(1))
    live, backlog = again.read(SIGNALS), again.read(SIGNALS, backlog=True)
    assert live is not None
    assert backlog is not None
    assert backlog.stream < live.stream


def test_a_spool_is_split_again_and_again_but_not_without_end() -> None:
    spool = open_spool(MemoryDisk())
    split = 0
    for number in range(20):
        put(spool, message(number))
        split += spool.split(SIGNALS)
    assert split == 7
    read = [number_of(record) for backlog in (True, False) for _, record in read_lane(spool, backlog)]
    assert read == list(range(20))


def read_lane(spool: Spool, backlog: bool) -> list[tuple[int, Any]]:
    entries: list[tuple[int, Any]] = []
    while (chunk := spool.read(SIGNALS, backlog)) is not None:
        entries += chunk.entries
    return entries
