"""Sessions of a recording as messages of devices: birth, frames of several samples, events, farewell."""

import heapq
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec

from simulator.devices import Message
from simulator.replay.moments import Moment, Session
from wire import catalogue, codec
from wire.messages import ConnectionState, plain
from wire.topics import Channel, Kind

_SOFTWARE: Final = "replay"


class Timed(NamedTuple):
    """A message and when the device would have sent it."""

    ts_ms: int
    message: Message


def messages(sessions: list[Session], kind: Kind, samples_per_frame: int) -> Iterator[Timed]:
    """Everything that the devices of all sessions send, in order of time."""
    devices = {asset_id: number for number, asset_id in enumerate(sorted({session.asset_id for session in sessions}))}
    streams = [
        _Device(kind, session, devices[session.asset_id], index).stream(samples_per_frame)
        for index, session in enumerate(sessions)
    ]
    return heapq.merge(*streams, key=lambda timed: timed.ts_ms)


def count(sessions: list[Session], samples_per_frame: int) -> int:
    """How many frames and events `messages` will yield."""
    total = 0
    for session in sessions:
        samples = sum(1 for moment in session.moments if moment.signals)
        total += -(-samples // samples_per_frame) + sum(len(moment.events) for moment in session.moments)
    return total


class _Device:
    def __init__(self, kind: Kind, session: Session, number: int, index: int) -> None:
        self._kind, self._asset_id, self._number = kind, session.asset_id, number
        self._moments = session.moments
        self._session = f"{session.moments[0].ts_ms:x}-r{index:x}"
        self._frames = self._events = 0

    def stream(self, samples_per_frame: int) -> Iterator[Timed]:
        """Times never go back within a device, so that the streams can be merged."""
        yield self._connection(self._moments[0].ts_ms, online=True)
        samples: list[Moment] = []
        for moment in self._moments:
            if moment.signals:
                samples.append(moment)
            if len(samples) == samples_per_frame:
                yield self._frame(samples)
                samples = []
            for event in moment.events:
                numbered = msgspec.structs.replace(event, session=self._session, seq=self._events)
                self._events += 1
                yield Timed(moment.ts_ms, self._message(Channel.EVENTS, codec.to_msgpack(plain(numbered))))
        if samples:
            yield self._frame(samples)
        yield self._connection(self._moments[-1].ts_ms, online=False)

    def _frame(self, samples: list[Moment]) -> Timed:
        frame: dict[str, Any] = {"v": 1, "ts": samples[0].ts_ms, "session": self._session, "seq": self._frames}
        self._frames += 1
        if len(samples) == 1:
            frame["signals"] = samples[0].signals
        else:
            paths = dict.fromkeys(path for sample in samples for path in sample.signals)
            frame["signals"] = {path: [sample.signals.get(path) for sample in samples] for path in paths}
            frame["dt"] = [sample.ts_ms - samples[0].ts_ms for sample in samples]
        return Timed(samples[-1].ts_ms, self._message(Channel.SIGNALS, codec.to_msgpack(frame)))

    def _connection(self, ts_ms: int, *, online: bool) -> Timed:
        state = ConnectionState(
            v=1, online=online, session=self._session, ts=ts_ms, catalog=catalogue.VERSION, software=_SOFTWARE
        )
        message = self._message(Channel.CONNECTION, codec.to_msgpack(plain(state)))
        will = ConnectionState(v=1, online=False, session=self._session)
        return Timed(ts_ms, message._replace(will=codec.to_msgpack(plain(will)) if online else None))

    def _message(self, channel: Channel, payload: bytes) -> Message:
        return Message(self._number, self._kind, self._asset_id, channel, payload)
