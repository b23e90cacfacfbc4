"""The boxes that report: who is awake, which session, which sequence, which format. One set for each kind of asset."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Final, NamedTuple

import numpy as np

from simulator import identity
from simulator.arrays import Flags, Floats, Integers, Texts, stream
from simulator.settings import FleetSection
from simulator.updates import NEWEST, VERSIONS
from wire import catalogue, codec
from wire.messages import ConnectionState, plain
from wire.topics import Channel, Kind

_DAY_S: Final = 86_400.0

UNCOUNTED: Final = -1
"""The position in the truth of a message that is not there, since it is sent a second time."""


class Message(NamedTuple):
    """One MQTT message. `device` counts over both kinds, so that one device always has one connection."""

    device: int
    kind: Kind
    asset_id: str
    channel: Channel
    payload: bytes
    again: bool = False
    """A re-send of a message that was sent before: not in the truth a second time."""
    will: bytes | None = None
    """Of a birth: what the broker shall say if the device vanishes, for devices with a connection of their own."""
    cells_at: int | None = None
    """Where the truth has the cells of this frame: its number among all frames that it has as cells."""


@dataclass(slots=True)
class Devices:
    """State of all devices of one kind; arrays `[n]`."""

    kind: Kind
    ids: identity.AssetIds
    first_device: int
    phase: Integers
    """Each device reports at its own step within the interval."""
    json: Flags
    numbers: Flags
    several: Flags
    sleeps: Flags
    software: Integers
    """Which of `updates.VERSIONS`."""
    odd: Flags
    """Devices whose messages are bent on their way (`quirks`), so that the truth keeps them as they left."""
    awake: Flags
    boots: Integers
    sessions: Texts
    """Each names one life of a device: when it started and how often it had before."""
    signal_seq: Integers
    event_seq: Integers
    reboots_at_s: Floats
    returns_at_s: Floats
    """When a device that is off switches itself on; infinite for one that sleeps."""

    def __len__(self) -> int:
        return len(self.ids)

    def version(self, row: int) -> str:
        """What the device runs."""
        return VERSIONS[self.kind][int(self.software[row])]

    def session(self, row: int) -> str:
        """The present one, or the last."""
        return bytes(self.sessions[row]).decode()

    def boot(self, row: int, now_ms: int) -> Message:
        """Begin a session; the message is its birth."""
        self.awake[row] = True
        self.boots[row] += 1
        self.sessions[row] = f"{now_ms:x}-{int(self.boots[row]):x}"
        self.signal_seq[row] = 0
        self.event_seq[row] = 0
        return self._connection(row, now_ms, online=True)._replace(will=self.will(row))

    def stop(self, row: int, now_ms: int) -> Message:
        """End the session in order; the message says so."""
        self.awake[row] = False
        return self._connection(row, now_ms, online=False)

    def will(self, row: int) -> bytes:
        """What the broker says for the device when its connection breaks. It cannot know the time."""
        return self.encoded(row, ConnectionState(v=1, online=False, session=self.session(row)))

    def encoded(self, row: int, message: ConnectionState) -> bytes:
        """In the device's own format."""
        return codec.to_json(message) if self.json[row] else codec.to_msgpack(plain(message))

    def message(self, row: int, channel: Channel, payload: bytes) -> Message:
        """A payload of this device, addressed."""
        return Message(self.first_device + row, self.kind, self.ids[row], channel, payload)

    def frames(self, rows: list[int], payloads: list[bytes], numbers: Sequence[int | None]) -> list[Message]:
        """The payloads of many devices, addressed."""
        numbered = (self.first_device + row for row in rows)
        fields = (numbered, repeat(self.kind), self.ids.of(rows), repeat(Channel.SIGNALS), payloads)
        return list(map(Message._make, zip(*fields, repeat(False), repeat(None), numbers, strict=False)))

    def _connection(self, row: int, now_ms: int, *, online: bool) -> Message:
        state = ConnectionState(
            v=1,
            online=online,
            session=self.session(row),
            ts=now_ms,
            catalog=catalogue.VERSION,
            software=self.version(row),
        )
        return self.message(row, Channel.CONNECTION, self.encoded(row, state))


def create(settings: FleetSection, kind: Kind, count: int, first_device: int) -> Devices:
    """The devices of a seed, all switched off."""
    seed = settings.seed

    def share(name: str, limit: float) -> Flags:
        return np.asarray(stream(seed, f"{kind} {name}").random(count) < limit)

    is_vehicle = kind is Kind.VEHICLE
    return Devices(
        kind=kind,
        ids=identity.AssetIds(seed, kind, count),
        first_device=first_device,
        phase=_phases(settings, stream(seed, f"{kind} phase").random(count)),
        json=share("json", settings.json_share),
        numbers=share("numbers", settings.numbers_share),
        several=share("several", settings.samples_share if is_vehicle else 0.0),
        sleeps=share("sleeps", settings.sleepers if is_vehicle else 0.0),
        software=(np.arange(count) % NEWEST).astype(np.int8),
        odd=np.zeros(count, dtype=np.bool_),
        awake=np.zeros(count, dtype=np.bool_),
        boots=np.zeros(count, dtype=np.int32),
        sessions=np.zeros(count, dtype="S24"),
        signal_seq=np.zeros(count, dtype=np.int32),
        event_seq=np.zeros(count, dtype=np.int32),
        reboots_at_s=_first_reboots(seed, kind, count, settings.reboots_per_day),
        returns_at_s=settings.ramp_s * stream(seed, f"{kind} ramp").random(count),
    )


def _phases(settings: FleetSection, draws: Floats) -> Integers:
    """When in the interval each device reports."""
    interval_steps = round(settings.interval_s / settings.step_s)
    groups = min(settings.groups or interval_steps, interval_steps)
    return (np.floor(groups * draws) * interval_steps // groups).astype(np.int32)


def _first_reboots(seed: int, kind: Kind, count: int, per_day: float) -> Floats:
    if per_day <= 0:
        return np.full(count, np.inf)
    return stream(seed, f"{kind} reboots").exponential(_DAY_S / per_day, count) + 120.0


def next_reboot_s(now_s: float, per_day: float, random: np.random.Generator) -> float:
    """When a device restarts next."""
    return now_s + 120.0 + float(random.exponential(_DAY_S / per_day))
