"""Devices with something wrong with them, on request and chosen by the seed; each has one quirk for the whole run.

* clock_skew: its clock is off by minutes; clock_jump: at some moment it jumps, forwards or back, by up to two hours.
* cut_short: now and then it restarts in mid-message: what arrives is the beginning of a payload.
* offline: for a while it reaches nobody, and sends everything afterwards, in order, with the times of then.
* jitter: the last digits of its numbers are noise; stuck_sensor: one of its sensors says the same for ever.
* impossible_value: now and then a value that cannot be (far out of range, NaN, a text for a number).
* old_format: half-updated firmware: until the update is complete it speaks a format that nobody reads any more.

What is sent is what the truth has, so the twins are compared with it; what nobody can read is no frame for anybody.
Devices that a fault was planned for have no quirk, so that the fault can be seen.
"""

import json
import math
from collections.abc import Iterator
from enum import StrEnum
from typing import Any, Final

import msgpack

from simulator.arrays import Rows, stream
from simulator.devices import Message
from simulator.settings import QuirkSection
from wire.topics import Channel


class Quirk(StrEnum):
    """By the names of the settings."""

    CLOCK_SKEW = "clock_skew"
    CLOCK_JUMP = "clock_jump"
    CUT_SHORT = "cut_short"
    OFFLINE = "offline"
    JITTER = "jitter"
    STUCK_SENSOR = "stuck_sensor"
    IMPOSSIBLE_VALUE = "impossible_value"
    OLD_FORMAT = "old_format"


_BY_CLOCK: Final = (Quirk.CLOCK_SKEW, Quirk.CLOCK_JUMP)
_SKEW_MS_MAX: Final = 600_000
_JUMP_MS_MAX: Final = 7_200_000
_BEGINS_S_MAX: Final = 900.0
_OFFLINE_S: Final = (600.0, 1_800.0)
_NOW_AND_THEN: Final = 0.05
_NOISE: Final = 1e-4
_IMPOSSIBLE: Final = (1e12, -1e12, math.nan, "n/a")


def choose(settings: QuirkSection, seed: int, free: Rows) -> dict[int, Quirk]:
    """Which of the devices `free` has which quirk."""
    random = stream(seed, "quirks")
    left = random.permutation(free).tolist()
    chosen: dict[int, Quirk] = {}
    for quirk in Quirk:
        rate = getattr(settings, quirk.value)
        count = max(round(rate * len(free)), 1 if rate > 0 else 0)
        chosen |= dict.fromkeys(left[:count], quirk)
        left = left[count:]
    return chosen


class Quirks:
    """Bends what the chosen devices send. No clock of its own: `now_s` is simulated time since the start."""

    def __init__(self, seed: int, quirk_of: dict[int, Quirk]) -> None:
        self._quirk_of = quirk_of
        self._random = stream(seed, "bending")
        draws = stream(seed, "quirk details").random((len(quirk_of), 3)).tolist()
        self._details = dict(zip(sorted(quirk_of), draws, strict=True))
        self._stuck: dict[int, tuple[Any, Any]] = {}
        self._kept: dict[int, list[Message]] = {}

    def bend(self, messages: list[Message], now_s: float) -> list[Message]:
        """What really leaves, now."""
        if not self._quirk_of:
            return messages
        sent: list[Message] = []
        for message in messages:
            quirk = self._quirk_of.get(message.device)
            if quirk is None:
                sent.append(message)
            elif quirk is Quirk.OFFLINE and self._is_offline(message.device, now_s):
                self._kept.setdefault(message.device, []).append(message)
            else:
                sent += self._kept.pop(message.device, [])
                sent.append(self._bent(quirk, message, now_s))
        return sent

    def release(self) -> Iterator[Message]:
        """What devices still keep."""
        for kept in self._kept.values():
            yield from kept
        self._kept = {}

    def farewell(self, message: Message, now_s: float) -> Message:
        """The last message of a device, with its own idea of the time."""
        quirk = self._quirk_of.get(message.device)
        return self._bent(quirk, message, now_s) if quirk in _BY_CLOCK else message

    def _is_offline(self, device: int, now_s: float) -> bool:
        when, how_long, _ = self._details[device]
        begins_s = when * _BEGINS_S_MAX
        return bool(begins_s <= now_s < begins_s + _OFFLINE_S[0] + how_long * (_OFFLINE_S[1] - _OFFLINE_S[0]))

    def _bent(self, quirk: Quirk, message: Message, now_s: float) -> Message:
        if quirk in _BY_CLOCK:
            return self._by_wrong_clock(quirk, message, now_s)
        if quirk is Quirk.OFFLINE or message.channel is not Channel.SIGNALS:
            return message
        if quirk is Quirk.CUT_SHORT:
            return self._cut_short(message)
        is_json = message.payload[:1] == b"{"
        body: dict[str, Any] = _decoded(message.payload, is_json)
        if quirk is Quirk.OLD_FORMAT:
            body = self._in_old_format(body, message.device, now_s)
        else:
            self._bend_values(quirk, body, message.device, is_json)
        return message._replace(payload=_encoded(body, is_json))

    def _by_wrong_clock(self, quirk: Quirk, message: Message, now_s: float) -> Message:
        when, how_much, _ = self._details[message.device]
        if quirk is Quirk.CLOCK_JUMP and now_s < when * _BEGINS_S_MAX:
            return message
        most_ms = _SKEW_MS_MAX if quirk is Quirk.CLOCK_SKEW else _JUMP_MS_MAX
        is_json = message.payload[:1] == b"{"
        body = _decoded(message.payload, is_json)
        body["ts"] += round((2.0 * how_much - 1.0) * most_ms)
        return message._replace(payload=_encoded(body, is_json))

    def _cut_short(self, message: Message) -> Message:
        if self._random.random() >= _NOW_AND_THEN:
            return message
        length = int(self._random.integers(1, len(message.payload)))
        return message._replace(payload=message.payload[:length])

    def _in_old_format(self, body: dict[str, Any], device: int, now_s: float) -> dict[str, Any]:
        if now_s >= self._details[device][0] * _BEGINS_S_MAX:
            return body
        return {
            "version": "0.9",
            "time": body["ts"] / 1_000,
            "values": {str(key): v for key, v in body["signals"].items()},
        }

    def _bend_values(self, quirk: Quirk, body: dict[str, Any], device: int, is_json: bool) -> None:
        signals: dict[Any, Any] = body["signals"]
        if quirk is Quirk.JITTER:
            for key, given in signals.items():
                signals[key] = [self._noisy(value) for value in given] if "dt" in body else self._noisy(given)
        elif quirk is Quirk.STUCK_SENSOR:
            floats = [key for key, given in signals.items() if type(given) is float]
            if device not in self._stuck and floats:
                key = floats[int(self._details[device][0] * len(floats))]
                self._stuck[device] = (key, signals[key])
            key, value = self._stuck.get(device, (None, None))
            if key in signals:
                signals[key] = [value] * len(signals[key]) if "dt" in body else value
        elif self._random.random() < _NOW_AND_THEN and signals:
            keys = [key for key, given in signals.items() if type(given) is float]
            if keys:
                which = int(self._random.integers(0, len(_IMPOSSIBLE)))
                impossible = _IMPOSSIBLE[which]
                key = keys[int(self._random.integers(0, len(keys)))]
                signals[key] = 1e12 if is_json and impossible != impossible else impossible  # JSON has no NaN

    def _noisy(self, value: Any) -> Any:
        return value * (1.0 + _NOISE * float(self._random.standard_normal())) if type(value) is float else value


def _decoded(payload: bytes, is_json: bool) -> Any:
    return json.loads(payload) if is_json else msgpack.unpackb(payload, strict_map_key=False)


def _encoded(body: Any, is_json: bool) -> bytes:
    packed: bytes = json.dumps(body, separators=(",", ":")).encode() if is_json else msgpack.packb(body)
    return packed
