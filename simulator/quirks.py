"""Devices with something wrong with them, on request and chosen by the seed; each has one quirk for the whole run.

* clock_skew: its clock is off by minutes; clock_jump: at some moment it jumps, forwards or back, by up to two hours.
* cut_short: now and then it restarts in mid-message: what arrives is the beginning of a payload.
* offline: it reaches nobody for hours (in a run that is too short for that, for most of it), and sends everything
  afterwards, in order, with the times of then.
* jitter: the last digits of its numbers are noise; stuck_sensor: one of its sensors says the same for ever.
* impossible_value: now and then a value that cannot be (far out of range, NaN, a text for a number).
* old_format: half-updated firmware: until the update is complete it speaks a format that nobody reads any more.

What is sent is what the truth has, so the twins are compared with it; what nobody can read is no frame for anybody.
Devices that a fault was planned for have no quirk, so that the fault can be seen.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Final, NamedTuple

import numpy as np

from simulator import bending
from simulator.arrays import Rows, stream
from simulator.bending import Details
from simulator.devices import Message
from simulator.links import Outage
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


class _Bend(NamedTuple):
    """How a quirk changes payloads, and whether those of all channels, or frames alone."""

    payload: Callable[[bytes, Details, float, np.random.Generator], bytes]
    all_channels: bool = False


_BENDS: Final[dict[Quirk, _Bend]] = {
    Quirk.CLOCK_SKEW: _Bend(bending.skew, all_channels=True),
    Quirk.CLOCK_JUMP: _Bend(bending.jump, all_channels=True),
    Quirk.CUT_SHORT: _Bend(bending.cut_short),
    Quirk.JITTER: _Bend(bending.jitter),
    Quirk.STUCK_SENSOR: _Bend(bending.stick),
    Quirk.IMPOSSIBLE_VALUE: _Bend(bending.impossible),
    Quirk.OLD_FORMAT: _Bend(bending.in_old_format),
}
"""All but `OFFLINE`, which changes no message (`links`)."""


class Quirks:
    """Bends what the chosen devices send. No clock of its own: `now_s` is simulated time since the start."""

    def __init__(self, seed: int, quirk_of: dict[int, Quirk], run_s: float) -> None:
        """`run_s`: how long the run is, in simulated time; outages end before it does."""
        self._quirk_of, self._run_s = quirk_of, run_s
        self._random = stream(seed, "bending")
        draws = stream(seed, "quirk details").random((len(quirk_of), 2)).tolist()
        self._details = {device: Details(*drawn) for device, drawn in zip(sorted(quirk_of), draws, strict=True)}

    def bend(self, messages: list[Message], now_s: float) -> list[Message]:
        """What devices send instead."""
        return [self.bent(message, now_s) for message in messages] if self._quirk_of else messages

    @property
    def outages(self) -> dict[int, Outage]:
        """When the devices that are offline for a while are so."""
        offline = [device for device, quirk in self._quirk_of.items() if quirk is Quirk.OFFLINE]
        details = {device: self._details[device] for device in offline}
        return {device: Outage.within(self._run_s, each.when, each.how_much) for device, each in details.items()}

    @property
    def half_updated_s(self) -> dict[int, float]:
        """When the update of the devices that speak an old format is complete."""
        half = [device for device, quirk in self._quirk_of.items() if quirk is Quirk.OLD_FORMAT]
        return {device: self._details[device].begins_s for device in half}

    def bent(self, message: Message, now_s: float) -> Message:
        """One message, with the device's own idea of the time."""
        bend = _BENDS.get(self._quirk_of[message.device]) if message.device in self._quirk_of else None
        if bend is None or not (bend.all_channels or message.channel is Channel.SIGNALS):
            return message
        details = self._details[message.device]
        return message._replace(payload=bend.payload(message.payload, details, now_s, self._random))
