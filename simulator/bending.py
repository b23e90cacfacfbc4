"""How payloads are bent: one small function for each quirk (`quirks`). Payload, details of the device, simulated time
since the start and chance in; the payload that leaves out."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgpack
import numpy as np

_SKEW_MS_MAX: Final = 600_000
_JUMP_MS_MAX: Final = 7_200_000
_BEGINS_S_MAX: Final = 900.0
_NOW_AND_THEN: Final = 0.05
_NOISE: Final = 1e-4
_IMPOSSIBLE: Final = (1e12, -1e12, math.nan, "n/a")


@dataclass(slots=True)
class Details:
    """What is particular to one odd device: two numbers from 0 to 1, and the sensor that is stuck."""

    when: float
    how_much: float
    stuck: tuple[Any, Any] | None = None
    """Key and value, once there was one."""

    @property
    def begins_s(self) -> float:
        """When the quirk begins, or ends."""
        return self.when * _BEGINS_S_MAX


class Body(NamedTuple):
    """A payload with its parts to be bent."""

    fields: dict[str, Any]
    is_json: bool

    @classmethod
    def of(cls, payload: bytes) -> "Body":
        is_json = payload[:1] == b"{"
        return cls(json.loads(payload) if is_json else msgpack.unpackb(payload, strict_map_key=False), is_json)

    def encoded(self) -> bytes:
        packed: bytes = (
            json.dumps(self.fields, separators=(",", ":")).encode() if self.is_json else msgpack.packb(self.fields)
        )
        return packed

    @property
    def floats(self) -> list[Any]:
        """Keys of the signals with one fractional value."""
        return [key for key, given in self.fields["signals"].items() if type(given) is float]

    def change(self, key: Any, bent: Callable[[Any], Any]) -> None:
        """Bend a signal, or each of its samples."""
        signals = self.fields["signals"]
        given = signals[key]
        signals[key] = [bent(value) for value in given] if "dt" in self.fields else bent(given)


def skew(payload: bytes, details: Details, _now_s: float, _random: np.random.Generator) -> bytes:
    """Off by the same all the time."""
    return _at_another_time(payload, details, _SKEW_MS_MAX)


def jump(payload: bytes, details: Details, now_s: float, _random: np.random.Generator) -> bytes:
    """Right, then off."""
    return payload if now_s < details.begins_s else _at_another_time(payload, details, _JUMP_MS_MAX)


def _at_another_time(payload: bytes, details: Details, most_ms: int) -> bytes:
    body = Body.of(payload)
    body.fields["ts"] += round((2.0 * details.how_much - 1.0) * most_ms)
    return body.encoded()


def cut_short(payload: bytes, _details: Details, _now_s: float, random: np.random.Generator) -> bytes:
    """Now and then the beginning of the payload."""
    return payload[: int(random.integers(1, len(payload)))] if random.random() < _NOW_AND_THEN else payload


def in_old_format(payload: bytes, details: Details, now_s: float, _random: np.random.Generator) -> bytes:
    """Until the update is complete."""
    if now_s >= details.begins_s:
        return payload
    body = Body.of(payload)
    values = {str(key): value for key, value in body.fields["signals"].items()}
    old = {"version": "0.9", "time": body.fields["ts"] / 1_000, "values": values}
    return Body(old, body.is_json).encoded()


def jitter(payload: bytes, _details: Details, _now_s: float, random: np.random.Generator) -> bytes:
    """Noise in the last digits."""

    def noisy(value: Any) -> Any:
        return value * (1.0 + _NOISE * float(random.standard_normal())) if type(value) is float else value

    body = Body.of(payload)
    for key in body.fields["signals"]:
        body.change(key, noisy)
    return body.encoded()


def stick(payload: bytes, details: Details, _now_s: float, _random: np.random.Generator) -> bytes:
    """One sensor says what it said first."""
    body = Body.of(payload)
    if details.stuck is None and (keys := body.floats):
        key = keys[int(details.when * len(keys))]
        details.stuck = (key, body.fields["signals"][key])
    if details.stuck is not None and details.stuck[0] in body.fields["signals"]:
        key, value = details.stuck
        body.change(key, lambda _: value)
    return body.encoded()


def impossible(payload: bytes, _details: Details, _now_s: float, random: np.random.Generator) -> bytes:
    """Now and then one value that cannot be."""
    if random.random() >= _NOW_AND_THEN:
        return payload
    body = Body.of(payload)
    if keys := body.floats:
        value = _IMPOSSIBLE[int(random.integers(0, len(_IMPOSSIBLE)))]
        has_no_json = isinstance(value, float) and math.isnan(value)
        key = keys[int(random.integers(0, len(keys)))]
        body.fields["signals"][key] = _IMPOSSIBLE[0] if body.is_json and has_no_json else value
    return body.encoded()
