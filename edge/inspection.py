"""What a spool directory holds, for people and scripts; reads only, also beside a running agent."""

import contextlib
from typing import Any

from edge.spool import files, recovery
from edge.spool.checkpoint import Checkpoint
from edge.spool.disk import Disk
from edge.spool.files import GapName, SegmentName
from edge.spool.lanes import Span
from edge.spool.scanner import Scanner

_BUFFER_BYTES = 1_048_576


def inspect(disk: Disk) -> dict[str, Any]:
    """Plain values: epoch, segments oldest first, losses not yet recorded, checkpoint. Raises OSError."""
    listed = disk.list()
    names = sorted(name for name in map(SegmentName.parse, listed) if name is not None)
    epoch = recovery.epoch_of(disk, names)
    spans = Checkpoint(disk, epoch).newest if epoch is not None else None
    segments = [_segment(disk, name, epoch) for name in names]
    return {
        "epoch": epoch.hex() if epoch is not None else None,
        "bytes": sum(segment["bytes"] for segment in segments),
        "records": sum(segment["records"] for segment in segments),
        "segments": segments,
        "lost": [name._asdict() | {"storage_class": name.storage_class.label} for name in _gaps(listed)],
        "checkpoint": spans and {each.label: [_span(span) for span in members] for each, members in spans.items()},
    }


def _span(span: Span) -> dict[str, int | None]:
    limit = span.limit
    return {
        **span.position._asdict(),
        "limit_sequence": limit and limit.sequence,
        "limit_ordinal": limit and limit.ordinal,
    }


def _gaps(listed: list[str]) -> list[GapName]:
    return sorted(name for name in map(GapName.parse, listed) if name is not None)


def _segment(disk: Disk, name: SegmentName, epoch: bytes | None) -> dict[str, Any]:
    file = disk.open(str(name))
    scanner = Scanner(file, epoch, name.storage_class, _BUFFER_BYTES)
    scanner.tolerant = True
    size_bytes = file.size()
    found = {"blocks": 0, "records": 0, "damaged_blocks": 0, "good_bytes": len(files.FILE_MAGIC)}
    first_sequence = last_sequence = None
    with contextlib.closing(scanner):
        while (block := scanner.next(size_bytes)) is not None:
            header = block.header
            first_sequence = header.first_sequence if first_sequence is None else first_sequence
            last_sequence = header.end_sequence - 1
            found["blocks"] += 1
            found["good_bytes"] += files.HEADER_BYTES + header.length
            found["records" if block.body is not None else "damaged_blocks"] += (
                header.record_count if block.body is not None else 1
            )
    return {
        "file": str(name),
        "storage_class": name.storage_class.label,
        "first_sequence": first_sequence,
        "last_sequence": last_sequence,
        "bytes": size_bytes,
        "blocks": found["blocks"],
        "records": found["records"],
        "damaged_blocks": found["damaged_blocks"],
        "unreadable_bytes": max(0, size_bytes - found["good_bytes"]),
    }
