"""What is written per payload byte: flash cards live by it."""

import pytest

from edge.spool import records
from edge.spool import series as names
from edge.spool.records import Run, StorageClass
from edge.spool.spool import Limits
from tests.edge_disk import MemoryDisk, open_spool, read_all
from wire.topics import Address, Channel, Kind

PAYLOAD = b"x" * 300


def written_per_payload_byte(assets: int, per_asset: int, commits: int) -> tuple[float, float]:
    """Bytes, and bytes in whole pages, with a checkpoint after each tenth commit."""
    disk = MemoryDisk()
    spool = open_spool(disk, Limits(100_000_000, 1_000_000, 65_536))
    for commit in range(commits):
        spool.stage(
            [
                records.bundle(
                    names.of(Address(Kind.VEHICLE, f"car-{asset:04d}", Channel.SIGNALS)),
                    [Run(1_750_000_000_000, per_asset)],
                    [PAYLOAD] * per_asset,
                )
                for asset in range(assets)
            ]
        )
        spool.commit()
        read_all(spool, StorageClass.SIGNALS)
        if commit % 10 == 9:
            spool.checkpoint()
            spool.trim()
    payload_bytes = assets * per_asset * commits * len(PAYLOAD)
    return spool.written_bytes / payload_bytes, spool.flash_bytes / payload_bytes


@pytest.mark.parametrize(
    ("assets", "per_asset", "bytes_max", "pages_max"),
    [(1, 100, 1.02, 1.2), (100, 1, 1.2, 1.35), (10, 1, 1.25, 2.8), (1, 1, 1.55, 17.0)],
    ids=["one busy car", "a hundred cars", "ten cars", "one message a commit"],
)
def test_what_is_written_per_payload_byte_is_bounded(
    assets: int, per_asset: int, bytes_max: float, pages_max: float
) -> None:
    written, pages = written_per_payload_byte(assets, per_asset, 100)
    assert 1.0 < written < bytes_max
    assert written < pages < pages_max


def test_what_is_counted_as_written_is_what_the_disk_was_given() -> None:
    disk = MemoryDisk()
    spool = open_spool(disk)
    spool.stage([records.bundle(b"\0\0a", [Run(1, 5)], [PAYLOAD] * 5)])
    spool.commit()
    (segment,) = [inode for name, inode in disk.names.items() if name.endswith(".seg")]
    assert spool.written_bytes == len(segment.data)
    assert spool.flash_bytes == 4096
    read_all(spool, StorageClass.SIGNALS)
    spool.checkpoint()
    line = disk.names["checkpoint.0"].data.partition(b"\n")[0] + b"\n"
    assert spool.written_bytes == len(segment.data) + len(line)
    assert spool.flash_bytes == 2 * 4096
