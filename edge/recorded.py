"""Recorded messages of devices, for trials: a spool's directory, a simulator's truth, or a table of values.

* A spool is read as it lies, beside a running agent too; or what `spool export` made of it (`.jsonl`, or msgpack).
* A truth (`sent.msgpack`, or its directory) is a stream of msgpack arrays `[kind, asset_id, channel, payload, …]`.
* A table is CSV (`.csv`, `.csv.gz`) with the columns `time_ms, asset_id, path, value`, ordered by time; rows of one
  asset and time are one frame.
"""

import base64
import contextlib
import csv
import gzip
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgpack
import msgspec

from edge.spool import records
from edge.spool.disk import Directory
from edge.spool.files import SegmentName
from edge.spool.records import Bundle, Message
from edge.spool.scanner import Scanner
from wire import catalogue, codec, frames
from wire.malformed import Malformed
from wire.topics import ASSET_ID, Address, Channel, Kind

_SENT: Final = "sent.msgpack"
_COLUMNS: Final = ["time_ms", "asset_id", "path", "value"]
_BUFFER_BYTES: Final = 1_048_576


class UnreadableError(Exception):
    """What and where."""


def read(path: Path) -> Iterator[Message]:
    """The messages, in order. Raises UnreadableError, OSError."""
    if path.is_dir():
        return _stream(path / _SENT) if (path / _SENT).exists() else _spool(path)
    if path.name.endswith((".csv", ".csv.gz")):
        return _table(path)
    return _lines(path) if path.suffix == ".jsonl" else _stream(path)


def _stream(path: Path) -> Iterator[Message]:
    with path.open("rb") as file:
        unpacker = msgpack.Unpacker(file, max_buffer_size=_BUFFER_BYTES)
        for index in itertools.count(1):
            try:
                entry = next(unpacker)
            except StopIteration:  # also where a torn last entry begins
                return
            except (ValueError, msgpack.UnpackException) as error:
                raise UnreadableError(f"entry {index}: {error}") from None
            yield from _exported(entry, index) if isinstance(entry, dict) else _sent(entry, index)


def _lines(path: Path) -> Iterator[Message]:
    with path.open("rb") as file:
        for index, line in enumerate(file, 1):
            try:
                entry = msgspec.json.decode(line)
            except msgspec.DecodeError as error:
                raise UnreadableError(f"line {index}: {error}") from None
            yield from _exported(entry, index)


def _sent(entry: Any, index: int) -> Iterator[Message]:
    try:
        kind, asset_id, channel, payload, *_ = entry
        yield Message(_time_ms(payload), Address(Kind(kind), asset_id, Channel(channel)), payload)
    except (ValueError, TypeError) as error:
        raise UnreadableError(f"entry {index} is no message of a truth: {error}") from None


def _exported(entry: Any, index: int) -> Iterator[Message]:
    """Of a message; nothing of a gap or a refused message."""
    try:
        if entry["type"] == "message":
            address = Address(Kind(entry["kind"]), entry["asset_id"], Channel(entry["channel"]))
            yield Message(entry["received_ms"], address, _payload(entry))
    except (KeyError, ValueError, TypeError) as error:
        raise UnreadableError(f"entry {index} is no exported record: {error!r}") from None


def _payload(entry: dict[str, Any]) -> bytes:
    if "payload_base64" in entry:
        return base64.b64decode(entry["payload_base64"])
    payload = entry["payload"]
    return payload if isinstance(payload, bytes) else codec.to_msgpack(payload)


def _time_ms(payload: bytes) -> int:
    """When it was received, as far as is known: when it was taken."""
    frame = frames.decode(payload)
    return 0 if isinstance(frame, Malformed) else frame.ts + max(frame.dt or [0])


def _spool(path: Path) -> Iterator[Message]:
    disk = Directory(path, writable=False)
    with contextlib.closing(disk):
        names = sorted(name for name in map(SegmentName.parse, disk.list()) if name is not None)
        if not names:
            raise UnreadableError("neither a spool nor a truth: no segment, no sent.msgpack")
        for name in names:
            file = disk.open(str(name))
            scanner = Scanner(file, None, name.storage_class, _BUFFER_BYTES)
            scanner.tolerant = True
            with contextlib.closing(scanner):
                yield from _segment(scanner, file.size())


def _segment(scanner: Scanner, size_bytes: int) -> Iterator[Message]:
    while (block := scanner.next(size_bytes)) is not None:
        found = records.decode(block.body, block.header.record_count) if block.body is not None else []
        for record in found if isinstance(found, list) else []:
            if isinstance(record, Bundle):
                yield from records.messages(record)


def _table(path: Path) -> Iterator[Message]:
    with (
        gzip.open(path, "rt", encoding="utf-8", newline="")
        if path.suffix == ".gz"
        else path.open(encoding="utf-8", newline="") as text
    ):
        rows = csv.DictReader(text)
        if rows.fieldnames is None or not set(_COLUMNS) <= set(rows.fieldnames):
            raise UnreadableError(f"columns {', '.join(_COLUMNS)} are needed")
        sequences: dict[str, int] = {}
        for (asset_id, time_ms), members in itertools.groupby(rows, key=lambda row: (row["asset_id"], row["time_ms"])):
            sequences[asset_id] = sequences.get(asset_id, -1) + 1
            yield _message(asset_id, time_ms, members, sequences[asset_id], rows.line_num)


def _message(asset_id: str, time_ms: str, rows: Iterable[dict[str, Any]], seq: int, line: int) -> Message:
    signals: dict[str, Any] = {}
    kind = Kind.VEHICLE
    for row in rows:
        signal = catalogue.BY_PATH.get(row["path"])
        if signal is None:
            raise UnreadableError(f"line {line}: {row['path']!r} is not in the catalogue")
        kind = signal.kind
        signals[signal.path] = _value(signal, row["value"])
    if ASSET_ID.fullmatch(asset_id) is None or not time_ms.isdigit():
        raise UnreadableError(f"line {line}: asset id {asset_id!r}, time {time_ms!r}")
    payload = codec.to_msgpack({"v": 1, "session": "table", "seq": seq, "ts": int(time_ms), "signals": signals})
    return Message(int(time_ms), Address(kind, asset_id, Channel.SIGNALS), payload)


def _value(signal: catalogue.Signal, text: str) -> Any:
    if signal.type == "boolean":
        return text.lower() in ("1", "true")
    if signal.type == "string[]":
        return text.split()
    try:
        return float(text) if signal.is_numeric else text
    except ValueError:
        return text  # as it stands it will be refused, and sent
