"""Bytes on disk: every prefix of a segment opens, every flipped byte is found."""

import pytest

from edge.spool import checkpoint, records
from edge.spool import series as names
from edge.spool.chain import Position
from edge.spool.checkpoint import Checkpoint
from edge.spool.lanes import Span
from edge.spool.records import Gap, Record, Refused, Run, StorageClass
from edge.spool.scanner import Scanner
from edge.spool.spool import Limits, Spool
from tests.edge_disk import Inode, MemoryDisk, bundle, gaps, message, number_of, open_spool, put, read_all
from wire.malformed import Malformed, Reason
from wire.topics import Address, Channel, Kind

SEGMENT = f"signals-{0:020d}-{0:020d}.seg"


def filled_disk(blocks: int = 4) -> MemoryDisk:
    """One segment with blocks of two records each."""
    disk = MemoryDisk()
    spool = open_spool(disk)
    for block in range(blocks):
        put(spool, message(2 * block, size=10), message(2 * block + 1, size=20))
    spool.close()
    return disk


def disk_with(data: bytes) -> MemoryDisk:
    inode = Inode(data, data)
    return MemoryDisk({SEGMENT: inode}, {SEGMENT: inode})


def numbers(spool: Spool) -> list[int]:
    entries = read_all(spool, StorageClass.SIGNALS)
    return [number_of(record) for _, record in entries]


def test_records_are_read_as_they_were_written() -> None:
    written: list[Record] = [
        records.bundle(names.of(Address(Kind.STATION, "a" * 64, Channel.CONNECTION)), [Run(5, 1)], [b""]),
        bundle(list(range(40)), Channel.SIGNALS, size=300),
        message(7, Channel.EVENTS, size=70_000),
        message(8, urgent=True),
        Refused(9, "t.dlq", "mqtt:häßlich", "", Reason.BAD_TOPIC, "why", 3, b"\0\xff"),
        Gap(11, StorageClass.SIGNALS, 2**53 - 2, 2**53 - 1, 2, Reason.EVICTED, "full"),
    ]
    assert records.decode(records.encode(written), len(written) + 39) == written


@pytest.mark.parametrize("count", [1, 15, 16, 65_535, 65_536])
def test_a_bundle_holds_its_payloads_in_order(count: int) -> None:
    payloads = [b"%d" % number for number in range(count)]
    made = records.bundle(b"\0\0a", [Run(5, count - count // 3), Run(6, count // 3)], payloads)
    read = records.messages(made)
    assert [each.payload for each in read] == payloads
    assert sum(each.received_ms == 6 for each in read) == count // 3
    assert read[0].address == Address(Kind.VEHICLE, "a", Channel.SIGNALS)


def test_a_split_keeps_order_and_times_and_meets_its_limits() -> None:
    made = bundle(list(range(20)), size=100)
    by_count, by_size = records.split(made, 7, 100_000), records.split(made, 100, 350)
    for parts in (by_count, by_size):
        assert [each for part in parts for each in records.messages(part)] == records.messages(made)
    assert [part.payload_count for part in by_count] == [7, 7, 6]
    assert all(len(part.packed) <= 350 for part in by_size)
    assert [part.payload_count for part in records.split(made, 100, 1)] == [1] * 20


def test_a_body_of_a_newer_agent_is_malformed_and_not_an_error() -> None:
    body = records.encode([message(1)])
    for damaged in (
        body[:-1],
        b"\x09" + body,
        body + b"\x02",
        b"\x03\xff\xff\xff\xff",
        b"\x04",
        bytes([4, 1, 0, 0]) + body[4:],
    ):
        assert isinstance(records.decode(damaged, 1), Malformed)
    assert isinstance(records.decode(body, 2), Malformed)


def test_every_prefix_of_a_segment_opens_and_holds_the_whole_blocks_before_it() -> None:
    data = filled_disk().names[SEGMENT].data
    scanner = Scanner(disk_with(data).open(SEGMENT), b"\xee" * 8, StorageClass.SIGNALS, 4096)
    ends = [scanner.offset]
    while scanner.next(len(data)) is not None:
        ends.append(scanner.offset)
    assert ends[-1] == len(data)
    for length in range(len(data) + 1):
        spool = open_spool(disk_with(data[:length]))
        whole_blocks = sum(end <= length for end in ends[1:])
        assert numbers(spool) == list(range(2 * whole_blocks)), length
        assert spool.cut_bytes == length - (max(end for end in ends if end <= length) if whole_blocks else 0)
        assert gaps(spool) == []
        put(spool, message(100))
        assert numbers(spool) == [100]


@pytest.mark.parametrize("mask", [0x01, 0xFF])
def test_every_flipped_byte_is_found_and_costs_only_its_block(mask: int) -> None:
    data = filled_disk().names[SEGMENT].data
    for offset in range(8, len(data)):
        flipped = bytearray(data)
        flipped[offset] ^= mask
        spool = open_spool(disk_with(bytes(flipped)))
        put(spool, message(100))
        read = numbers(spool)
        assert len(read) == 7, offset
        assert read == sorted(read)
        lost = sorted({*range(8), 100} - set(read))
        assert lost[1] == lost[0] + 1, "one block"
        assert read[-1] == 100
        found = gaps(spool)
        assert found, offset
        assert all(gap.reason is Reason.CORRUPT for gap in found)
        assert sum(gap.record_count for gap in found) in (2, 0)  # 0: a damaged header at the end tells no number
        named = {n for gap in found for n in range(gap.first_sequence, gap.last_sequence + 1) if n < 8}
        assert set(lost) <= named or sum(gap.record_count for gap in found) == 0


def test_a_damaged_magic_costs_nothing() -> None:
    data = bytearray(filled_disk().names[SEGMENT].data)
    data[3] ^= 0xFF
    assert numbers(open_spool(disk_with(bytes(data)))) == list(range(8))


def test_a_payload_that_holds_a_block_is_not_taken_for_one() -> None:
    inner = filled_disk(1).names[SEGMENT].data[8:]
    foreign = inner.replace(b"\xee" * 8, b"\xdd" * 8)
    disk = MemoryDisk()
    spool = open_spool(disk)
    put(spool, records.bundle(message(0).series, [Run(0, 1)], [b"0:" + foreign]), message(1))
    put(spool, message(2))
    data = bytearray(disk.names[SEGMENT].data)
    data[8 + 20] ^= 1  # the header of the first block
    assert numbers(open_spool(disk_with(bytes(data)))) == [2]


def test_random_bytes_are_no_reason_not_to_start() -> None:
    for data in (b"", b"\0" * 10_000, b"\xf1BLK" * 3_000, bytes(range(256)) * 40):
        spool = open_spool(disk_with(data))
        put(spool, message(1))
        assert numbers(spool) == [1]


def test_a_damaged_checkpoint_means_that_records_are_read_again() -> None:
    disk = MemoryDisk()
    spool = open_spool(disk)
    put(spool, message(0), message(1))
    read_all(spool, StorageClass.SIGNALS)
    spool.close()
    name, other = checkpoint.NAMES
    assert other not in disk.names
    good = disk.names[name].data.partition(b"\n")[0]
    assert numbers(open_spool(disk)) == []
    for offset in range(len(good)):
        flipped = bytearray(good)
        flipped[offset] ^= 0x01
        disk.names[name] = Inode(bytes(flipped), bytes(flipped))
        assert numbers(open_spool(disk)) == [0, 1], offset
    for length in range(len(good)):
        disk.names[name] = Inode(good[:length], good[:length])
        assert numbers(open_spool(disk)) == [0, 1], length


def test_of_two_checkpoints_the_newest_whole_one_counts_and_neither_was_trimmed_past() -> None:
    disk = MemoryDisk()
    spool = open_spool(disk, Limits(100_000, 200, 4096))
    for number in range(0, 8, 2):
        put(spool, message(number, size=100))
        put(spool, message(number + 1, size=100))
        read_all(spool, StorageClass.SIGNALS)
        spool.checkpoint()
        spool.trim()
    disk.sync_directory()
    left: list[list[int]] = []
    for name in checkpoint.NAMES:
        one_is_damaged = disk.after_crash()
        one_is_damaged.names[name].data = b"?"
        again = open_spool(one_is_damaged)
        left.append(numbers(again))
        assert gaps(again) == [], "what was trimmed is not taken for lost"
    assert sorted(left) == [[], [6, 7]]


def test_a_checkpoint_of_another_spool_is_ignored() -> None:
    disk = filled_disk(1)
    spans = {each: [Span(Position(99, 99))] for each in StorageClass}
    Checkpoint(disk, b"\x11" * 8).save(spans)
    assert numbers(open_spool(disk)) == [0, 1]
