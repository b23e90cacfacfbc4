"""A device's payload to samples: decode, check shape, resolve names, judge each value."""

from typing import Any

from msgspec import Struct

from wire import catalogue, codec, limits, quick
from wire.catalogue import Signal, Value
from wire.malformed import Malformed, Reason
from wire.messages import Frame, plain, shaped
from wire.topics import Kind


class Sample(Struct, frozen=True, gc=False):
    """Values taken at one moment, by catalogue number."""

    ts_ms: int
    values: dict[int, Value]


class Reading(Struct, frozen=True, gc=False):
    """A frame whose values were judged: `samples` are good, `rejected` says what was not and why.

    `capture`, `urgent`: an edge agent made the frame, see `Frame`.
    """

    session: str | None
    seq: int | None
    samples: list[Sample]
    rejected: list[Malformed]
    capture: str | None = None
    urgent: bool = False


def encode(frame: Frame, json: bool = False) -> bytes:
    """The MQTT payload of a frame."""
    return codec.to_json(frame) if json else codec.to_msgpack(plain(frame))


def open_payload(raw: bytes, received_ms: int, kind: Kind | None = None) -> Reading | Malformed:
    """`decode` and `read` in one, quickly where all is well."""
    reading = _read_quickly(raw, received_ms, kind)
    if reading is not None:
        return reading
    frame = decode(raw)
    return frame if isinstance(frame, Malformed) else read(frame, received_ms, kind)


def _read_quickly(raw: bytes, received_ms: int, kind: Kind | None) -> Reading | None:
    frame = quick.frame(raw)
    if frame is None:
        return None
    ts_ms, latest_ms = frame.ts, min(received_ms + limits.CLOCK_AHEAD_MS_MAX, limits.TIME_MS_MAX)
    if frame.dt is None:
        values = quick.values(frame.signals, kind)
        if values is None or ts_ms > latest_ms:
            return None
        return Reading(frame.session, frame.seq, [Sample(ts_ms, values)], [], frame.capture, frame.urgent)
    moments = quick.columns(frame.signals, len(frame.dt), kind)
    if moments is None or ts_ms + max(frame.dt) > latest_ms or ts_ms + min(frame.dt) < limits.TIME_MS_MIN:
        return None
    samples = [Sample(ts_ms + offset, values) for offset, values in zip(frame.dt, moments, strict=True)]
    return Reading(frame.session, frame.seq, samples, [], frame.capture, frame.urgent)


def decode(raw: bytes) -> Frame | Malformed:
    """Read a payload as a frame; the values are not judged yet."""
    return of_value(codec.decode(raw))


def of_value(value: Any) -> Frame | Malformed:
    """A decoded payload as a frame; `Malformed` passes through."""
    frame = shaped(value, Frame)
    if isinstance(frame, Malformed):
        return frame
    offsets = frame.dt or [0]
    if frame.ts + max(offsets) > limits.TIME_MS_MAX or frame.ts + min(offsets) < limits.TIME_MS_MIN:
        return Malformed(Reason.BAD_TIME, f"`dt` reaches outside {limits.TIME_MS_MIN}..{limits.TIME_MS_MAX}")
    return frame


def read(frame: Frame, received_ms: int, kind: Kind | None = None) -> Reading | Malformed:
    """Resolve and judge a frame's values. A source clock far ahead of `received_ms` refuses the frame.

    With `kind`, signals of the other kind of asset are rejected too.
    """
    times = [frame.ts] if frame.dt is None else [frame.ts + offset for offset in frame.dt]
    if max(times) > received_ms + limits.CLOCK_AHEAD_MS_MAX:
        return Malformed(Reason.CLOCK_AHEAD, f"{max(times) - received_ms} ms ahead of the gateway")
    samples = [Sample(ts_ms, {}) for ts_ms in times]
    rejected: list[Malformed] = []
    first, several = samples[0].values, frame.dt is not None
    for key, given in frame.signals.items():
        signal = catalogue.find(key)
        if signal is None:
            rejected.append(Malformed(Reason.UNKNOWN_SIGNAL, f"{str(key)[:120]!r} is not in the catalogue"))
        elif kind is not None and signal.kind is not kind:
            rejected.append(Malformed(Reason.UNKNOWN_SIGNAL, f"{signal.path} is not a signal of a {kind}"))
        elif several:
            _place(signal, given, samples, rejected)
        elif given is not None:
            value = signal.judge(given)
            if isinstance(value, Malformed):
                rejected.append(value)
            else:
                first[signal.number] = value
    return Reading(frame.session, frame.seq, samples, rejected, frame.capture, frame.urgent)


def _place(signal: Signal, column: Any, samples: list[Sample], rejected: list[Malformed]) -> None:
    if type(column) is not list or len(column) != len(samples):
        rejected.append(Malformed(Reason.WRONG_SHAPE, f"{signal.path}: not a list of {len(samples)} values"))
        return
    refused: list[Malformed] = []
    for sample, given in zip(samples, column, strict=True):
        if given is None:
            continue
        value = signal.judge(given)
        if isinstance(value, Malformed):
            refused.append(value)
        else:
            sample.values[signal.number] = value
    if len(refused) > 1:
        last = refused[-1]
        rejected.append(Malformed(last.reason, f"{last.detail} ({len(refused)} of {len(column)} values refused)"))
    else:
        rejected.extend(refused)
