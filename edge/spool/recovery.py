"""What a spool directory holds after a stop, a kill or a power cut.

Only the newest segment of each class is read; of the others, the names say enough. What is damaged in those is
found when they are read for sending. Bad bytes never stop a start.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field

from edge.spool import files
from edge.spool.chain import Chain, Position, Segment
from edge.spool.checkpoint import Checkpoint
from edge.spool.disk import Disk
from edge.spool.files import GapName, SegmentName
from edge.spool.lanes import Span
from edge.spool.records import StorageClass
from edge.spool.scanner import Scanner
from wire.malformed import Reason

_BUFFER_BYTES = 256 * 1024


@dataclass(slots=True)
class Recovered:
    """The state to go on from. `lost` still has to be recorded; `cut_bytes` were unfinished appends."""

    epoch: bytes
    checkpoint: Checkpoint
    chains: dict[StorageClass, Chain]
    spans: dict[StorageClass, list[Span]] = field(default_factory=dict)
    next_sequence: int = 0
    lost: list[GapName] = field(default_factory=list)
    cut_bytes: int = 0


def recover(disk: Disk, segment_bytes: int, new_epoch: Callable[[int], bytes]) -> Recovered:
    """Read the directory and clean up behind a crash. Raises OSError when files cannot be opened at all."""
    listed = disk.list()
    names = sorted(name for name in map(SegmentName.parse, listed) if name is not None)
    epoch = epoch_of(disk, names) or new_epoch(files.EPOCH_BYTES)
    chains = {each: Chain(disk, epoch, each, segment_bytes) for each in StorageClass}
    state = Recovered(
        epoch, Checkpoint(disk, epoch), chains, lost=[name for name in map(GapName.parse, listed) if name is not None]
    )
    for storage_class in StorageClass:
        _read_chain(disk, state, [name for name in names if name.storage_class is storage_class])
    _apply_checkpoint(state)
    _number_on(state)
    return state


def _scanner(disk: Disk, epoch: bytes | None, name: SegmentName) -> tuple[Scanner, int]:
    file = disk.open(str(name))
    scanner = Scanner(file, epoch, name.storage_class, _BUFFER_BYTES)
    scanner.tolerant = True
    return scanner, file.size()


def epoch_of(disk: Disk, names: list[SegmentName]) -> bytes | None:
    """The epoch of the newest block header that can be read."""
    for name in sorted(names, key=lambda each: each.first_sequence, reverse=True):
        scanner, size_bytes = _scanner(disk, None, name)
        with contextlib.closing(scanner):
            block = scanner.next(size_bytes)
            if block is not None:
                return block.header.epoch
    return None


def _read_chain(disk: Disk, state: Recovered, names: list[SegmentName]) -> None:
    while names and not _read_newest(disk, state, names[-1]):
        names = names[:-1]
    if names:
        older = [Segment(name, _size(disk, name)) for name in names[:-1]]
        state.chains[names[0].storage_class].adopt_older(older)


def _size(disk: Disk, name: SegmentName) -> int:
    file = disk.open(str(name))
    try:
        return file.size()
    finally:
        file.close()


def _read_newest(disk: Disk, state: Recovered, name: SegmentName) -> bool:
    """Find where a chain ends; False when the segment holds no block, and is gone now."""
    chain = state.chains[name.storage_class]
    scanner, size_bytes = _scanner(disk, state.epoch, name)
    with contextlib.closing(scanner):
        end = scanner.offset
        blocks = 0
        while (block := scanner.next(size_bytes)) is not None:
            blocks += 1
            end = scanner.offset
            chain.end_ordinal = max(chain.end_ordinal, block.header.end_ordinal)
            chain.end_sequence = max(chain.end_sequence, block.header.end_sequence)
            chain.stream = max(chain.stream, block.header.stream)
        if blocks == 0:
            _drop_unreadable(disk, state, name, scanner, size_bytes)
            return False
        if scanner.unfinished(end, size_bytes):
            state.cut_bytes += size_bytes - end
            scanner.cut(end)
            size_bytes = end
        else:
            state.lost.append(GapName(chain.storage_class, chain.end_sequence, chain.end_sequence, 0, Reason.CORRUPT))
        chain.adopt(Segment(name, size_bytes))
    return True


def _drop_unreadable(disk: Disk, state: Recovered, name: SegmentName, scanner: Scanner, size_bytes: int) -> None:
    """A newest segment in which nothing can be read: an unfinished first append, or a disk that lost it."""
    if scanner.unfinished(len(files.FILE_MAGIC), size_bytes):
        disk.delete(str(name))
        state.cut_bytes += size_bytes
        return
    lost = GapName(name.storage_class, name.first_sequence, name.first_sequence, 0, Reason.CORRUPT)
    disk.rename(str(name), str(lost))
    disk.sync_directory()
    state.lost.append(lost)


def _apply_checkpoint(state: Recovered) -> None:
    stored = state.checkpoint.newest or {}
    for storage_class, chain in state.chains.items():
        starts = [Position(segment.name.first_sequence, segment.name.first_ordinal) for segment in chain.segments]
        spans = stored.get(storage_class, [Span(starts[0] if starts else Position(0, 0))])
        for lost in state.lost:
            if lost.storage_class is storage_class and lost.reason is Reason.EVICTED:
                spans = _behind(spans, lost.last_sequence + 1, starts)
        last = spans[-1].position
        chain.end_ordinal = max(chain.end_ordinal, last.ordinal)
        chain.end_sequence = max(chain.end_sequence, last.sequence)
        if len(spans) > 1:  # the newest stream may not have a block yet
            chain.stream = min(chain.stream + 1, files.STREAM_MAX)
        state.spans[storage_class] = spans


def _behind(spans: list[Span], sequence: int, starts: list[Position]) -> list[Span]:
    """Spans from where an eviction ended: what lies before it is named by it."""
    left = [span for span in spans if span.limit is None or span.limit.sequence > sequence]
    start = next((start for start in starts if start.sequence == sequence), left[0].position)
    return [span._replace(position=max(span.position, start)) if span is left[0] else span for span in left]


def _number_on(state: Recovered) -> None:
    highest = max(chain.end_sequence for chain in state.chains.values())
    highest = max(highest, *(lost.last_sequence + 1 for lost in state.lost), 0)
    step = files.SEQUENCE_STEP
    state.next_sequence = (highest // step + 1) * step if highest else 0
