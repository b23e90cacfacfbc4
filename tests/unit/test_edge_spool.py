"""The spool while all is well: sequences, epochs, one writer, reading in order, streams."""

from pathlib import Path
from typing import Any

import pytest

from edge.spool.disk import Directory, LockedError
from edge.spool.records import StorageClass
from edge.spool.spool import Limits, Spool
from tests.edge_disk import (
    ManualClock,
    MemoryDisk,
    message,
    number_of,
    open_spool,
    put,
    read_all,
    segments,
)
from wire.topics import Channel

SMALL = Limits(bytes_max=4_000, segment_bytes=1_000, read_bytes=500)
SIGNALS, EVENTS = StorageClass.SIGNALS, StorageClass.EVENTS


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
