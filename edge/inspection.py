"""What a spool directory holds and whether it is whole, for people and scripts.

Reads only, also beside a running agent: segments that it deletes meanwhile are left out, and what it is just appending
is no damage.
"""

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Final, NamedTuple

from edge.spool import checkpoint, files, records, recovery
from edge.spool.checkpoint import Checkpoint, Spans
from edge.spool.disk import Disk
from edge.spool.files import GapName, SegmentName
from edge.spool.lanes import Span
from edge.spool.records import Record, StorageClass
from edge.spool.scanner import Scanner
from wire.malformed import Malformed

_BUFFER_BYTES: Final = 1_048_576


class Whole(NamedTuple):
    """A block that could be read, and its records in the order of their sequences."""

    header: files.Header
    entries: list[tuple[int, Record]]


@dataclass(slots=True)
class Segment:
    """One file. `last_received_ms` is that of the first record of the last block.

    `unfinished_bytes`: an append that goes on or was cut short; nothing of it was acknowledged.
    """

    file: str
    storage_class: str
    streams: list[int] = field(default_factory=list)
    first_sequence: int | None = None
    last_sequence: int | None = None
    first_ordinal: int | None = None
    end_ordinal: int = 0
    first_received_ms: int | None = None
    last_received_ms: int | None = None
    records: int = 0
    blocks: int = 0
    damaged_blocks: int = 0
    bytes: int = 0
    unreadable_bytes: int = 0
    unfinished_bytes: int = 0
    missing_records: int = 0
    """Between its blocks; damaged ones as well, where a block behind them tells."""
    is_marked: bool = True
    """Whether it begins with the magic of our format."""


class Survey:
    """Of one directory. Raises OSError when it cannot be read."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self.listed = disk.list()
        self.names = sorted(name for name in map(SegmentName.parse, self.listed) if name is not None)
        self.epoch = recovery.epoch_of(disk, self.names)
        self.spans: Spans | None = None if self.epoch is None else Checkpoint(disk, self.epoch).newest

    @property
    def lost(self) -> list[GapName]:
        """Losses that no gap record names yet."""
        return sorted(name for name in map(GapName.parse, self.listed) if name is not None)

    def segments(self) -> Iterator[Segment]:
        """What each file holds, oldest first by class."""
        for name in self.names:
            report = Segment(str(name), name.storage_class.label)
            with contextlib.suppress(FileNotFoundError):  # delivered and deleted meanwhile
                for _ in self.blocks(name, report):
                    pass
                yield report

    def blocks(self, name: SegmentName, report: Segment) -> Iterator[Whole]:
        """The blocks of a file that are whole; the report is complete at the end."""
        file = self._disk.open(str(name))
        scanner = Scanner(file, self.epoch, name.storage_class, _BUFFER_BYTES)
        scanner.tolerant = True
        good_bytes = end = len(files.FILE_MAGIC)
        with contextlib.closing(scanner):
            report.bytes = file.size()
            report.is_marked = file.read(0, end) == files.FILE_MAGIC
            while (block := scanner.next(report.bytes)) is not None:
                end = scanner.offset
                good_bytes += files.HEADER_BYTES + block.header.length
                entries = _entries(block.header, block.body)
                _count(report, block.header, is_whole=entries is not None)
                if entries is not None:
                    yield Whole(block.header, entries)
            if scanner.unfinished(end, report.bytes):
                report.unfinished_bytes = max(0, report.bytes - end)
        report.unreadable_bytes = max(0, report.bytes - good_bytes - report.unfinished_bytes)

    def is_unreadable(self, name: str) -> bool:
        """Whether a checkpoint file says nothing."""
        assert self.epoch is not None
        return checkpoint.read(self._disk, name, self.epoch) is None

    def is_delivered(self, storage_class: StorageClass, ordinal: int) -> bool:
        """Whether the checkpoint says so of a record."""
        spans = None if self.spans is None else self.spans.get(storage_class)
        return spans is not None and not any(span.needs(ordinal, ordinal + 1) for span in spans)


def _entries(header: files.Header, body: bytes | None) -> list[tuple[int, Record]] | None:
    decoded = None if body is None else records.decode(body, header.record_count)
    if decoded is None or isinstance(decoded, Malformed):
        return None
    entries: list[tuple[int, Record]] = []
    sequence = header.first_sequence
    for record in decoded:
        entries.append((sequence, record))
        sequence += records.count_of(record)
    return entries


def _count(report: Segment, header: files.Header, is_whole: bool) -> None:
    if header.stream not in report.streams:
        report.streams.append(header.stream)
    if report.first_sequence is None:
        report.first_sequence, report.first_received_ms = header.first_sequence, header.received_ms
        report.first_ordinal = header.first_ordinal
    elif header.first_ordinal > report.end_ordinal:
        report.missing_records += header.first_ordinal - report.end_ordinal
    report.end_ordinal = max(report.end_ordinal, header.end_ordinal)
    report.last_sequence, report.last_received_ms = header.end_sequence - 1, header.received_ms
    report.blocks += 1
    if is_whole:
        report.records += header.record_count
    else:
        report.damaged_blocks += 1


def inspect(disk: Disk) -> dict[str, Any]:
    """Plain values: epoch, segments oldest first, losses not yet recorded, what is to deliver. Raises OSError."""
    survey = Survey(disk)
    segments = list(survey.segments())
    spans = survey.spans
    return {
        "epoch": survey.epoch.hex() if survey.epoch is not None else None,
        "bytes": sum(segment.bytes for segment in segments),
        "records": sum(segment.records for segment in segments),
        "segments": [asdict(segment) for segment in segments],
        "lost": [name._asdict() | {"storage_class": name.storage_class.label} for name in survey.lost],
        "checkpoint": spans and {each.label: [_span(span) for span in members] for each, members in spans.items()},
    }


def _span(span: Span) -> dict[str, int | None]:
    limit = span.limit
    return {
        **span.position._asdict(),
        "limit_sequence": limit and limit.sequence,
        "limit_ordinal": limit and limit.ordinal,
    }


class Damage(NamedTuple):
    """What is wrong with a file, for people."""

    file: str
    what: str


def verify(survey: Survey, segments: list[Segment]) -> list[Damage]:
    """Everything in a surveyed directory that is not as it was written."""
    found = [Damage(segment.file, what) for segment in segments for what in _faults(segment)]
    for storage_class in StorageClass:
        chain = [segment for segment in segments if segment.storage_class == storage_class.label and segment.blocks]
        for before, behind in itertools.pairwise(chain):
            assert behind.first_ordinal is not None
            gap = range(before.end_ordinal, behind.first_ordinal)
            missing = sum(not survey.is_delivered(storage_class, ordinal) for ordinal in gap)
            if missing:
                found.append(Damage(behind.file, f"{missing} records before it are in no file"))
    return found + _checkpoint_faults(survey)


def _faults(segment: Segment) -> Iterator[str]:
    if not segment.is_marked:
        yield "does not begin with the mark of this format"
    if segment.damaged_blocks:
        yield f"{segment.damaged_blocks} blocks whose bytes are not those that were written"
    if segment.unreadable_bytes:
        yield f"{segment.unreadable_bytes} bytes that are no block"
    if segment.missing_records:
        yield f"{segment.missing_records} records missing between its blocks"


def _checkpoint_faults(survey: Survey) -> list[Damage]:
    if survey.epoch is None:
        return []
    there = [name for name in checkpoint.NAMES if name in survey.listed]
    return [Damage(name, "cannot be read; the other file counts") for name in there if survey.is_unreadable(name)]
