"""The truth of a run: what was sent, what was broken, who owned what. Written while running, read by the oracle.

A directory, append-only; whatever kills the writer leaves a readable prefix, and a torn last entry is ignored:

- `run.json`: what was run, written once at the start.
- `sent.msgpack`: a stream of msgpack arrays `[kind, asset_id, channel, payload, acknowledged]`, one per distinct
  message, written before the message is sent. `acknowledged` is false while it is not known.
- `acknowledged.u32`: positions in `sent.msgpack` (0, 1, 2 …) that the broker acknowledged later, as little-endian
  unsigned 32-bit integers.
- `faults.jsonl`: `{asset_id, fault, detector, onset_ms, visible_ms, failed_ms}`; a later line about the same asset and
  fault replaces an earlier one.
- `roles.jsonl`, `profiles.jsonl`, `lifecycle.jsonl`, `activities.jsonl`: messages of the contract, one a line.
- `progress.json`: numbers for people who watch, replaced as a whole.
"""

import json
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, NamedTuple, Self

import msgpack
import msgspec

from simulator.devices import Message
from simulator.errors import UnusableError
from wire import codec
from wire.messages import Activity, LifecycleStep, Profile, Role, plain

RUN: Final = "run.json"
SENT: Final = "sent.msgpack"
ACKNOWLEDGED: Final = "acknowledged.u32"
FAULTS: Final = "faults.jsonl"
ROLES: Final = "roles.jsonl"
PROFILES: Final = "profiles.jsonl"
LIFECYCLE: Final = "lifecycle.jsonl"
ACTIVITIES: Final = "activities.jsonl"
PROGRESS: Final = "progress.json"
SENT_MAX: Final = 2**32
"""Messages of one run: positions are 32-bit."""

_FILE_OF: Final = {Role: ROLES, Profile: PROFILES, LifecycleStep: LIFECYCLE, Activity: ACTIVITIES}


class TruthError(UnusableError):
    """A directory that cannot be a truth."""


class Sent(NamedTuple):
    """One distinct message that was sent."""

    kind: str
    asset_id: str
    channel: str
    payload: bytes
    acknowledged: bool


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

    def sent(self, messages: Sequence[Message]) -> list[int | None]:
        """Record messages that are about to be sent; their positions, None for repeated ones."""
        positions: list[int | None] = []
        records = []
        for message in messages:
            if message.again:
                positions.append(None)
                continue
            records.append(self._pack([message.kind, message.asset_id, message.channel, message.payload, False]))
            positions.append(self.written)
            self.written += 1
        if records:
            self._sent.write(b"".join(records))
            self._sent.flush()  # to the operating system, so that killing this process loses none
        assert self.written < SENT_MAX, "more messages than a truth can hold"
        return positions

    def acknowledged(self, positions: Iterable[int]) -> None:
        """Record which positions the broker has acknowledged."""
        numbers = array("I", positions)
        assert numbers.itemsize == 4
        if numbers:
            file = self._open(ACKNOWLEDGED)
            file.write(numbers.tobytes())
            file.flush()

    def faults(self, reports: Iterable[Any]) -> None:
        """Record faults, each a named tuple with the fields of `faults.jsonl`."""
        self._lines(FAULTS, [json.dumps(report._asdict()).encode() for report in reports])

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
        """Every distinct message, with whether it was acknowledged."""
        later = self._acknowledged()
        known = len(later)
        path = self.directory / SENT
        if not path.exists():
            return
        with path.open("rb") as file:
            records = msgpack.Unpacker(file, raw=False, max_buffer_size=2**31 - 1)
            try:
                for position, record in enumerate(records):
                    kind, asset_id, channel, payload, acknowledged = record
                    yield Sent(
                        kind, asset_id, channel, payload, acknowledged or (position < known and later[position] == 1)
                    )
            except ValueError as error:  # a torn last record ends the iteration by itself; this is damage
                raise TruthError(f"{path}: damaged after {records.tell()} bytes: {error}") from error

    def faults(self) -> list[dict[str, Any]]:
        """The newest line about each asset and fault."""
        newest: dict[tuple[str, str], dict[str, Any]] = {}
        for line in self._lines(FAULTS):
            newest[line["asset_id"], line["fault"]] = line
        return list(newest.values())

    def roles(self) -> list[Role]:
        return [msgspec.convert(line, Role) for line in self._lines(ROLES)]

    def profiles(self) -> list[Profile]:
        return [msgspec.convert(line, Profile) for line in self._lines(PROFILES)]

    def lifecycle(self) -> list[LifecycleStep]:
        return [msgspec.convert(line, LifecycleStep) for line in self._lines(LIFECYCLE)]

    def activities(self) -> list[Activity]:
        return [msgspec.convert(line, Activity) for line in self._lines(ACTIVITIES)]

    def _acknowledged(self) -> bytearray:
        """A byte for each position up to the highest acknowledged one: 1 where it was."""
        path = self.directory / ACKNOWLEDGED
        raw = path.read_bytes() if path.exists() else b""
        positions = array("I", raw[: len(raw) // 4 * 4])
        flags = bytearray(max(positions, default=-1) + 1)
        for position in positions:
            flags[position] = 1
        return flags

    def _lines(self, name: str) -> Iterator[Any]:
        path = self.directory / name
        if not path.exists():
            return
        *whole, _torn = path.read_bytes().split(b"\n")
        for line in whole:
            yield json.loads(line)
