"""Frames as almost all are, folded a turn at a time: each brings new values of all that is known of an asset, whose
document then differs only in numbers (`cloud/forms.py`). Whole columns are judged and written, no frame by itself.

What comes of it is what `fold`, `detect` and `changes` make of each such frame; whatever is odd about one leaves it to
them. Pure but for the twins, which keep the bytes.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from bson.raw_bson import RawBSONDocument
from numpy.typing import NDArray

from cloud import detect
from cloud.changes import Change
from cloud.detectors.base import Flags, Floats
from cloud.forms import Blank
from cloud.inbox import Record
from cloud.picking import Group, Part
from cloud.search import PLACE_STEP_DEGREES, SEEN_STEP_MS, STEPS
from cloud.twin import LATITUDE, LONGITUDE
from wire import catalogue, limits
from wire.catalogue import Signal

_INT32_MAX: Final = 2**31 - 1
Integers = NDArray[np.int64]
Fields = list[tuple[Blank, Integers]]


@dataclass(slots=True)
class Folded:
    """What came of a turn's plain frames: what is written, and because of which."""

    changes: list[Change] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    left: list[Record] = field(default_factory=list)
    """Records that are for others after all."""


class _Columns:
    """A group's frames beside the documents that they change."""

    def __init__(self, group: Group) -> None:
        self.form, self.parts = group.form, group.parts
        count = len(group.parts)
        self.before = np.frombuffer(b"".join([part.filled.raw for part in group.parts]), np.uint8).reshape(count, -1)
        sent = np.frombuffer(group.values).reshape(count, -1)
        self.values: Floats = sent[:, group.order.columns]
        self.ts_ms = np.array([part.ts_ms for part in group.parts])
        self.received_ms = np.array([part.received_ms for part in group.parts])
        self.seq = np.array([part.seq for part in group.parts])
        self.offset = np.array([part.record.offset for part in group.parts])

    def read(self, blank: Blank) -> Integers:
        width = np.dtype(blank.number).itemsize
        cells = np.ascontiguousarray(self.before[:, blank.at : blank.at + width]).view(blank.number)
        return cells[:, 0].astype(np.int64)


def fold(groups: Iterable[Group], detecting: bool) -> Folded:
    """Fill in the documents of a turn's plain frames; twins keep the bytes."""
    folded = Folded()
    for group in groups:
        columns = _Columns(group)
        fields = _fields(columns)
        plain = _is_plain(columns, fields)
        if detecting:
            plain &= _is_quiet(columns)
        folded.left += [part.record for part, is_plain in zip(group.parts, plain.tolist(), strict=True) if not is_plain]
        if plain.any():
            _write(columns, fields, plain, folded)
    return folded


def _fields(columns: _Columns) -> Fields:
    """What the documents' own numbers become."""
    form, read = columns.form, columns.read
    signals = len(form.values) + len(form.texts)
    return [
        (form.revision, read(form.revision) + 1),
        (form.frames, read(form.frames) + 1),
        (form.samples, read(form.samples) + signals),
        (form.heard, read(form.heard) + 1),
        (form.offset, columns.offset),
        (form.next, columns.seq + 1),
        (form.newest_ms, np.maximum(read(form.newest_ms), columns.ts_ms)),
        (form.last_seen, columns.received_ms),
        *[(blank, columns.ts_ms) for blank in form.times],
    ]


def _is_plain(columns: _Columns, fields: Fields) -> Flags:
    form, read, values = columns.form, columns.read, columns.values
    latest_ms = np.minimum(columns.received_ms + limits.CLOCK_AHEAD_MS_MAX, limits.TIME_MS_MAX)
    plain: Flags = np.array([part.twin.filled is part.filled for part in columns.parts])
    plain &= (columns.offset > read(form.offset)) & (columns.seq == read(form.next))
    plain &= (columns.ts_ms > read(form.times[0])) & (columns.ts_ms <= latest_ms)
    plain &= columns.received_ms >= read(form.last_seen)
    for blank, numbers in fields:
        if blank.number == "<i4":
            plain &= numbers <= _INT32_MAX
    bounds = np.array([_bounds(catalogue.BY_NUMBER[number], blank) for number, blank in form.values.items()])
    plain &= np.all((values >= bounds[:, 0]) & (values <= bounds[:, 1]), axis=1)
    return plain & _stays_near(columns)


def _bounds(signal: Signal, blank: Blank) -> tuple[float, float]:
    """What a signal may be, without a change of the number's width."""
    if signal.type == "boolean":
        return 0.0, 1.0
    if signal.type == "uint32":
        return (signal.min, min(signal.max, _INT32_MAX)) if blank.number == "<i4" else (_INT32_MAX + 1.0, signal.max)
    return max(signal.min, -np.finfo(float).max), min(signal.max, np.finfo(float).max)


def _stays_near(columns: _Columns) -> Flags:
    """Whether the coarse copies, by which questions find a twin, may stay; see `search.renewed`."""
    form, values = columns.form, columns.values
    copies = np.frombuffer(b"".join([part.filled.copies for part in columns.parts])).reshape(len(values), -1)
    numbers = list(form.values)
    chosen, steps = form.searched, [STEPS[number] for number in form.searched]
    if form.location:
        chosen, steps = [*chosen, LONGITUDE, LATITUDE], [*steps, PLACE_STEP_DEGREES, PLACE_STEP_DEGREES]
    moved = np.abs(values[:, [numbers.index(number) for number in chosen]] - copies[:, :-1])
    later = columns.received_ms - copies[:, -1]
    near: Flags = np.all(moved <= np.array(steps), axis=1)
    return near & (later >= 0) & (later <= SEEN_STEP_MS)


def _is_quiet(columns: _Columns) -> Flags:
    """Whether no detector has anything to say."""
    codes = np.frombuffer(b"".join([part.filled.codes for part in columns.parts])).reshape(len(columns.parts), -1)
    known = np.hstack([columns.values, codes])
    numbers = [*columns.form.values, *columns.form.texts]
    return detect.is_quiet(columns.parts[0].twin.kind, numbers, known, columns.ts_ms)


def _write(columns: _Columns, fields: Fields, plain: Flags, folded: Folded) -> None:
    form, after = columns.form, columns.before[plain]
    for blank, numbers in fields:
        _put(after, blank, numbers[plain])
    values = columns.values[plain]
    for place, blank in enumerate(form.values.values()):
        _put(after, blank, values[:, place])
    for number, blank in zip((LONGITUDE, LATITUDE), form.location, strict=bool(form.location)):
        _put(after, blank, values[:, list(form.values).index(number)])
    revisions, together, length = fields[0][1][plain].tolist(), after.tobytes(), form.length
    parts = [columns.parts[place] for place in np.flatnonzero(plain).tolist()]
    for place, (part, revision) in enumerate(zip(parts, revisions, strict=True)):
        raw = together[place * length : (place + 1) * length]
        part.filled.raw = raw
        document, size_bytes = RawBSONDocument(raw), part.filled.size_bytes
        folded.changes.append(Change(part.twin.asset_id, revision - 1, document, size_bytes, False, True))
    folded.parts += parts


def _put(documents: "NDArray[np.uint8]", blank: Blank, numbers: "NDArray[Any]") -> None:
    bytes_of = np.ascontiguousarray(numbers.astype(blank.number)).view(np.uint8).reshape(len(numbers), -1)
    documents[:, blank.at : blank.at + bytes_of.shape[1]] = bytes_of
