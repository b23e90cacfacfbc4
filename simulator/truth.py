"""The truth of a run: what was sent, what was broken, who owned what. Written while running, read by the oracle.

A directory, append-only; whatever kills the writer leaves a readable prefix, and a torn last entry is ignored:

- `run.json`: what was run, written once at the start.
- `sent.msgpack`: a stream of msgpack arrays `[kind, asset_id, channel, payload, acknowledged]`, one per distinct
  message, written before the message is sent. `acknowledged` is false while it is not known.
- `acknowledged.u32`: positions in `sent.msgpack` (0, 1, 2 …) that the broker acknowledged later, as little-endian
  unsigned 32-bit integers.
- `cells.msgpack`: frames that are not in `sent.msgpack`, since a large fleet sends thousands in a second: what they
  say, as numbers. A stream of maps, one for each kind of asset and step of the clock, written before any of its frames
  is sent: `kind`, `ts_ms`, `first` (number of its first frame in the file), `rows` (of assets), `sequences`, `send` (a
  row of bits for each frame: which columns it has), `units` (the values, frame after frame, in units of the column's
  resolution, or which text). All little-endian; rows and sequences have 32 bits, units `bits`.
- `cells.json`: by kind, the `ids` of the rows and the `columns`: path, form, scale (units in 1), texts.
- `cells_acknowledged.u32`: numbers of frames in `cells.msgpack` that the broker acknowledged.
- `dropped.u32`, `cells_dropped.u32`: the same of what devices dropped, since they had no link and no room: it was made,
  and never sent.
- `faults.jsonl`: `{asset_id, fault, detector, onset_ms, visible_ms, failed_ms}`; a later line about the same asset and
  fault replaces an earlier one.
- `updates.jsonl`: `{asset_id, before, after, at_ms}`: devices that were given new firmware, as they were.
- `roles.jsonl`, `profiles.jsonl`, `lifecycle.jsonl`, `activities.jsonl`: messages of the contract, one a line.
- `progress.json`: numbers for people who watch, replaced as a whole.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, NamedTuple, Self

import msgpack
import msgspec
import numpy as np

from simulator import cells
from simulator.arrays import Flags, Integers
from simulator.cells import Assets, Cells, CellsOf, SentCells
from simulator.devices import UNCOUNTED, Message
from simulator.errors import UnusableError
from wire import codec
from wire.messages import Activity, LifecycleStep, Profile, Role, plain

RUN: Final = "run.json"
SENT: Final = "sent.msgpack"
ACKNOWLEDGED: Final = "acknowledged.u32"
FAULTS: Final = "faults.jsonl"
UPDATES: Final = "updates.jsonl"
ROLES: Final = "roles.jsonl"
PROFILES: Final = "profiles.jsonl"
LIFECYCLE: Final = "lifecycle.jsonl"
ACTIVITIES: Final = "activities.jsonl"
PROGRESS: Final = "progress.json"
CELLS: Final = "cells.msgpack"
CELLS_OF: Final = "cells.json"
CELLS_ACKNOWLEDGED: Final = "cells_acknowledged.u32"
DROPPED: Final = "dropped.u32"
CELLS_DROPPED: Final = "cells_dropped.u32"
SENT_MAX: Final = 2**32
"""Messages of one run: positions are 32-bit. Positions from here on are those of frames in `cells.msgpack`."""

_FILE_OF: Final = {Role: ROLES, Profile: PROFILES, LifecycleStep: LIFECYCLE, Activity: ACTIVITIES}


class TruthError(UnusableError):
    """A directory that cannot be a truth."""


class Sent(NamedTuple):
    """One distinct message that was sent, or that its device `dropped` before it could be."""

    kind: str
    asset_id: str
    channel: str
    payload: bytes
    acknowledged: bool
    dropped: bool = False


class TruthWriter:
    """Writes the truth of one run into a new directory. Raises `TruthError` where one is already."""

    def __init__(self, directory: Path, description: Mapping[str, Any]) -> None:
        if (directory / RUN).exists():
            raise TruthError(f"{directory} already holds the truth of a run; give a new directory")
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._files: dict[str, BinaryIO] = {}
            self._directory = directory
            self._replace(RUN, {"v": 1, **description})
            self._sent = self._open(SENT)
        except OSError as error:
            raise TruthError(f"{directory} cannot be written: {error.strerror}") from error
        self._pack = msgpack.Packer(use_bin_type=True).pack
        self.written = 0

    def assets(self, assets: Iterable[Assets]) -> None:
        """Say what the cells of this run stand for, before any are sent."""
        self._replace(CELLS_OF, {each.kind: cells.described(each) for each in assets})

    def sent(self, messages: Sequence[Message], frames: Iterable[Cells] = ()) -> list[int]:
        """Record messages that are about to be sent, and frames that will be. The messages' positions."""
        for of_kind in frames:
            if len(of_kind):
                self._open(CELLS).write(self._pack(cells.packed(of_kind)))
                self._open(CELLS).flush()
        positions: list[int] = []
        records = []
        for message in messages:
            if message.again:
                positions.append(UNCOUNTED)
            elif message.cells_at is not None:
                positions.append(SENT_MAX + message.cells_at)
            else:
                records.append(self._pack([message.kind, message.asset_id, message.channel, message.payload, False]))
                positions.append(self.written)
                self.written += 1
        if records:
            self._sent.write(b"".join(records))
            self._sent.flush()  # to the operating system, so that killing this process loses none
        assert self.written < SENT_MAX, "more messages than a truth can hold"
        return positions

    def acknowledged(self, positions: Iterable[int] | Integers) -> None:
        """Record which positions the broker has acknowledged."""
        self._note(positions, ACKNOWLEDGED, CELLS_ACKNOWLEDGED)

    def dropped(self, messages: Sequence[Message]) -> None:
        """Record messages that are not sent at all; those that are cells have been recorded as such."""
        self._note(self.sent(messages), DROPPED, CELLS_DROPPED)

    def _note(self, positions: Iterable[int] | Integers, name: str, name_of_cells: str) -> None:
        numbers = np.asarray(positions, dtype=np.int64)
        in_cells = numbers >= SENT_MAX
        for file_name, of_file in ((name, numbers[~in_cells]), (name_of_cells, numbers[in_cells] - SENT_MAX)):
            if len(of_file):
                file = self._open(file_name)
                file.write(of_file.astype("<u4").tobytes())
                file.flush()

    def faults(self, reports: Iterable[Any]) -> None:
        """Record faults, each a named tuple with the fields of `faults.jsonl`."""
        self._lines(FAULTS, [json.dumps(report._asdict()).encode() for report in reports])

    def updates(self, updates: Iterable[Any]) -> None:
        """Record new firmware, each a named tuple with the fields of `updates.jsonl`."""
        self._lines(UPDATES, [json.dumps(update._asdict()).encode() for update in updates])

    def facts(self, messages: Iterable[Role | Profile | LifecycleStep | Activity]) -> None:
        """Record what was said about customers, ownership and life."""
        lines: dict[str, list[bytes]] = {}
        for message in messages:
            lines.setdefault(_FILE_OF[type(message)], []).append(codec.to_json(plain(message)))
        for name, of_name in lines.items():
            self._lines(name, of_name)

    def progress(self, numbers: Mapping[str, Any]) -> None:
        """Replace the numbers for people who watch."""
        self._replace(PROGRESS, numbers)

    def close(self) -> None:
        for file in self._files.values():
            file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _lines(self, name: str, lines: list[bytes]) -> None:
        if lines:
            file = self._open(name)
            file.write(b"\n".join(lines) + b"\n")
            file.flush()

    def _open(self, name: str) -> BinaryIO:
        if name not in self._files:
            self._files[name] = (self._directory / name).open("ab")
        return self._files[name]

    def _replace(self, name: str, values: Mapping[str, Any]) -> None:
        fresh = self._directory / f".{name}.new"
        fresh.write_text(json.dumps(values), encoding="utf-8")
        fresh.replace(self._directory / name)


class Truth:
    """Reads a truth. Raises `TruthError` when the directory holds none."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        if not (directory / RUN).is_file():
            raise TruthError(f"{directory} holds no truth: {RUN} is missing")

    def run(self) -> dict[str, Any]:
        """What was run."""
        description: dict[str, Any] = json.loads((self.directory / RUN).read_text(encoding="utf-8"))
        return description

    def sent(self) -> Iterator[Sent]:
        """Every distinct message, with whether it was acknowledged or dropped."""
        later, dropped = self._numbers(ACKNOWLEDGED), self._numbers(DROPPED)
        for position, record in enumerate(self._records(SENT)):
            kind, asset_id, channel, payload, acknowledged = record
            known = acknowledged or _is_in(later, position)
            yield Sent(kind, asset_id, channel, payload, known, _is_in(dropped, position))

    def cells_of(self) -> dict[str, CellsOf]:
        """What the cells stand for, by kind; empty when there are none."""
        path = self.directory / CELLS_OF
        if not path.exists():
            return {}
        described = json.loads(path.read_text(encoding="utf-8"))
        return {kind: cells.understood(of_kind) for kind, of_kind in described.items()}

    def cells(self) -> Iterator[SentCells]:
        """Every frame that is not among `sent`, many at a time."""
        later, dropped = self._numbers(CELLS_ACKNOWLEDGED), self._numbers(CELLS_DROPPED)
        widths = {kind: len(of_kind.columns) for kind, of_kind in self.cells_of().items()}
        for record in self._records(CELLS):
            yield cells.unpacked(record, widths[record["kind"]], later, dropped)

    def _records(self, name: str) -> Iterator[Any]:
        """A stream of msgpack values; a torn last one is ignored."""
        path = self.directory / name
        if not path.exists():
            return
        with path.open("rb") as file:
            records = msgpack.Unpacker(file, raw=False, max_buffer_size=2**31 - 1)
            try:
                yield from records
            except ValueError as error:  # a torn last record ends the iteration by itself; this is damage
                raise TruthError(f"{path}: damaged after {records.tell()} bytes: {error}") from error

    def faults(self) -> list[dict[str, Any]]:
        """The newest line about each asset and fault."""
        newest: dict[tuple[str, str], dict[str, Any]] = {}
        for line in self._lines(FAULTS):
            newest[line["asset_id"], line["fault"]] = line
        return list(newest.values())

    def updates(self) -> list[dict[str, Any]]:
        """In the order in which they were."""
        return list(self._lines(UPDATES))

    def roles(self) -> list[Role]:
        return [msgspec.convert(line, Role) for line in self._lines(ROLES)]

    def profiles(self) -> list[Profile]:
        return [msgspec.convert(line, Profile) for line in self._lines(PROFILES)]

    def lifecycle(self) -> list[LifecycleStep]:
        return [msgspec.convert(line, LifecycleStep) for line in self._lines(LIFECYCLE)]

    def activities(self) -> list[Activity]:
        return [msgspec.convert(line, Activity) for line in self._lines(ACTIVITIES)]

    def _numbers(self, name: str) -> Flags:
        """A flag for each number up to the highest in the file: whether it is there."""
        path = self.directory / name
        raw = path.read_bytes() if path.exists() else b""
        numbers = np.frombuffer(raw, dtype="<u4", count=len(raw) // 4)
        flags = np.zeros(int(numbers.max()) + 1 if len(numbers) else 0, dtype=np.bool_)
        flags[numbers] = True
        return flags

    def _lines(self, name: str) -> Iterator[Any]:
        path = self.directory / name
        if not path.exists():
            return
        *whole, _torn = path.read_bytes().split(b"\n")
        for line in whole:
            yield json.loads(line)


def _is_in(flags: Flags, position: int) -> bool:
    return position < len(flags) and bool(flags[position])
