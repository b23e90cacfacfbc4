"""Records of one asset to pieces of history. Pure: the same stretch of the log gives the same pieces."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Final

from cloud import inbox
from cloud.history import documents
from cloud.history.documents import HOUR_MS, Document
from cloud.inbox import Record
from wire import catalogue
from wire.catalogue import Value
from wire.frames import Reading, Sample
from wire.malformed import Malformed
from wire.messages import NotifyEvent
from wire.topics import ASSET_ID, FLEET_EVENTS, FLEET_SIGNALS, Kind

PIECE_BYTES_MAX: Final = 1_000_000
"""Bytes of records that become one piece; the record that passes it is the last."""

_LETTER: Final = {FLEET_SIGNALS: "s", FLEET_EVENTS: "e"}
TOPICS: Final = tuple(_LETTER)
"""Where samples come from: frames, and notifications about catalogued variables."""

_Columns = tuple[list[int], list[Any]]


def pieces(records: Sequence[Record], kept: Collection[int], now_ms: int) -> list[Document]:
    """The pieces of one asset's records of one partition, in log order. `kept`: the signals that are kept.

    Records that cannot be read say nothing: the fold makes dead letters of them.
    """
    if ASSET_ID.fullmatch(records[0].key.decode("ascii", "replace")) is None:
        return []
    return [piece for stretch in _stretches(records) for piece in _pieces(stretch, kept, now_ms)]


def _stretches(records: Sequence[Record]) -> Iterator[Sequence[Record]]:
    first, size = 0, 0
    for place, record in enumerate(records):
        size += len(record.value or b"")
        if size >= PIECE_BYTES_MAX:
            yield records[first : place + 1]
            first, size = place + 1, 0
    if first < len(records):
        yield records[first:]


def _pieces(records: Sequence[Record], kept: Collection[int], now_ms: int) -> list[Document]:
    first, last = records[0], records[-1]
    origin = f"{_LETTER[first.topic]}-{first.generation}-{first.partition}-{first.offset}-{last.offset}"
    asset_id = first.key.decode()
    rows = _rows(_samples(records), kept)
    return [documents.piece(asset_id, hour, origin, samples, now_ms) for hour, samples in rows.items()]


def _rows(samples: Iterable[Sample], kept: Collection[int]) -> dict[int, dict[int, _Columns]]:
    """Hour → catalogue number → times and values.

    Rows with the same signals are put together first and turned as a whole: most frames of a device are alike.
    """
    alike: dict[tuple[int, tuple[int, ...]], tuple[list[int], list[tuple[Value, ...]]]] = {}
    for sample in samples:
        ts_ms, values = sample.ts_ms, sample.values
        key = (ts_ms // HOUR_MS, tuple(values))
        group = alike.get(key)
        if group is None:
            group = alike[key] = ([], [])
        group[0].append(ts_ms)
        group[1].append(tuple(values.values()))
    hours: dict[int, dict[int, _Columns]] = defaultdict(dict)
    for (hour, numbers), (times_ms, rows) in alike.items():
        for number, column in zip(numbers, zip(*rows, strict=True), strict=True):
            if number in kept:
                held = hours[hour].setdefault(number, ([], []))
                held[0].extend(times_ms)
                held[1].extend(column)
    return hours


def _samples(records: Iterable[Record]) -> Iterator[Sample]:
    for record in records:
        delivery = inbox.open_record(record).delivery
        for item in delivery.items if delivery is not None else ():
            content = item.content
            if isinstance(content, Reading):
                yield from content.samples
            elif isinstance(content, NotifyEvent) and delivery is not None and delivery.kind is Kind.STATION:
                yield from _notified(content)


def _notified(event: NotifyEvent) -> Iterator[Sample]:
    """What a station's notification says about a catalogued variable, as the fold takes it."""
    signal = catalogue.find(f"Station.{event.component}.{event.variable}")
    if signal is not None:
        value = catalogue.checked(signal, event.actual_value)
        if not isinstance(value, Malformed):
            yield Sample(event.ts, {signal.number: value})
