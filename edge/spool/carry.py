"""Gap records in segments that are given up themselves: what they name must not vanish with them.

They are recorded anew behind everything else, joined to one per class and reason, so that they stay few however often
that happens: the joined one says from the first to the last sequence and how many records in all.
"""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Final

from edge.spool import records
from edge.spool.chain import Chain
from edge.spool.disk import Disk
from edge.spool.files import GapName
from edge.spool.lanes import Span
from edge.spool.records import Gap, StorageClass
from edge.spool.scanner import Scanner
from wire.malformed import Malformed, Reason

_BUFFER_BYTES: Final = 65_536


def undelivered(
    disk: Disk, chain: Chain, segment_count: int, spans: list[Span], tolerant: bool = False
) -> list[GapName]:
    """What the gap records in the oldest segments of a chain name, as far as `spans` have to deliver them still.

    What is damaged is passed over. Raises OSError when the disk cannot read; `tolerant`: takes that for damage, too.
    """
    found: list[GapName] = []
    for segment in chain.segments[:segment_count]:
        scanner = Scanner(disk.open(str(segment.name)), chain.epoch, chain.storage_class, _BUFFER_BYTES)
        scanner.tolerant = tolerant
        with contextlib.closing(scanner):
            found += _named_in(scanner, segment.size_bytes, spans)
    return _joined(found)


def _named_in(scanner: Scanner, size_bytes: int, spans: list[Span]) -> Iterator[GapName]:
    while (block := scanner.next(size_bytes)) is not None:
        decoded = [] if block.body is None else records.decode(block.body, block.header.record_count)
        if isinstance(decoded, Malformed):
            continue
        ordinal = block.header.first_ordinal
        for record in decoded:
            count = records.count_of(record)
            if type(record) is Gap and any(span.needs(ordinal, ordinal + count) for span in spans):
                yield GapName(*record[1:-1])
            ordinal += count


def _joined(gaps: Iterable[GapName]) -> list[GapName]:
    joined: dict[tuple[StorageClass, Reason], GapName] = {}
    for gap in gaps:
        key = gap.storage_class, gap.reason
        joined[key] = _both(joined[key], gap) if key in joined else gap
    return list(joined.values())


def _both(one: GapName, other: GapName) -> GapName:
    count = one.record_count + other.record_count if one.record_count and other.record_count else 0  # 0: unknown
    return one._replace(
        first_sequence=min(one.first_sequence, other.first_sequence),
        last_sequence=max(one.last_sequence, other.last_sequence),
        record_count=count,
    )
