"""A disk that refuses: nothing is lost, appended twice or forgotten."""

import errno

import pytest

from edge.spool.records import StorageClass
from edge.spool.spool import Limits
from tests.edge_disk import (
    MemoryDisk,
    message,
    number_of,
    open_spool,
    put,
    read_all,
)

SMALL = Limits(bytes_max=4_000, segment_bytes=1_000, read_bytes=500)
SIGNALS, EVENTS = StorageClass.SIGNALS, StorageClass.EVENTS


def fail_once(disk: MemoryDisk, *operations: str) -> None:
    """Let the next of each operation fail."""
    left = list(operations)

    def fault(operation: str, name: str) -> None:
        if operation in left:
            left.remove(operation)
            raise OSError(errno.EIO, operation, name)

    disk.fault = fault


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
