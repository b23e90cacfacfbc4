"""What reaches the network: devices whose link is down keep their messages and send them later, in order.

A link is down for a while, or its modem dies: the signal fades, the link drops out for longer and longer, then nothing
gets through until the modem is replaced. What waits is in memory, half a kilobyte a message; a device that has no room
for another drops its oldest frame or event, as real ones do. No clock of its own: `now_s` is simulated time since the
start.
"""

from collections import deque
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from simulator.arrays import Flags, Floats, where_true
from simulator.devices import Message
from wire.topics import Channel

FADES_S: Final = 600.0
"""From the first drop-outs of a dying modem until nothing gets through."""
REPLACED_S: Final = (900.0, 2_400.0)
"""How long after that it is replaced, within these bounds."""
LOST_DB: Final = 60.0
"""What a dead modem hears less than a healthy one."""
_DROP_OUTS_EVERY_S: Final = 120.0
_OFFLINE_S: Final = (3_600.0, 14_400.0)
_OFFLINE_BEGINS_S: Final = 900.0
_OFFLINE_SHARE: Final = (0.3, 0.6)
"""Of a run that is too short for `_OFFLINE_S`."""
_OFFLINE_BEGINS_SHARE: Final = 0.2
_CATCHES_UP_MESSAGES: Final = 20
"""So many of what it kept a device sends in a step once its link is good again."""


class Outage(NamedTuple):
    """Seconds since the start: begins to fade, nothing gets through, works again."""

    fades_s: float
    dead_s: float
    ends_s: float

    @classmethod
    def within(cls, run_s: float, when: float, how_much: float) -> "Outage":
        """Of a device that is offline for 1 to 4 hours, or for 30 to 60 % of a shorter run; `when` and `how_much` are
        0 to 1. A fifth of the run is left for what it sends later."""
        begins_s = when * min(_OFFLINE_BEGINS_S, _OFFLINE_BEGINS_SHARE * run_s)
        bounds_s = zip(_OFFLINE_S, _OFFLINE_SHARE, strict=True)
        shortest_s, longest_s = (min(lasts_s, share * run_s) for lasts_s, share in bounds_s)
        return cls(begins_s, begins_s, begins_s + shortest_s + how_much * (longest_s - shortest_s))

    @classmethod
    def of_modem(cls, onset_s: float, size: float) -> "Outage":
        """Of a modem that dies; what was broken when the run began has faded already."""
        fades_s = onset_s if onset_s > 0 else -0.5 * FADES_S
        dead_s = fades_s + FADES_S
        return cls(fades_s, dead_s, dead_s + REPLACED_S[0] + size * (REPLACED_S[1] - REPLACED_S[0]))


class Links:
    """The links that are bad at some time; all others are good."""

    def __init__(self, outage_of: dict[int, Outage], kept_messages_max: int) -> None:
        """`kept_messages_max`: of all devices together, each has an equal share. Connection states, which are few, are
        kept in any case."""
        self._devices = list(outage_of)
        self._each_max = max(1, kept_messages_max // max(1, len(outage_of)))
        self._times: Floats = np.array(list(outage_of.values()), dtype=np.float64).reshape(-1, 3)
        self._kept: dict[int, deque[Message]] = {}
        self._dropped: list[Message] = []
        self.dropped = 0

    def faded(self, now_s: float) -> dict[int, float]:
        """Of devices whose link is bad now: 0 good to 1 nothing gets through."""
        if not self._devices:
            return {}
        share, _ = self._state(now_s)
        return {self._devices[place]: float(share[place]) for place in where_true(share > 0).tolist()}

    def pass_on(self, messages: list[Message], now_s: float) -> list[Message]:
        """What gets through of what devices made: the new messages, and those kept before."""
        if not self._devices:
            return messages
        _, is_down = self._state(now_s)
        down = {self._devices[place] for place in where_true(is_down).tolist()}
        if not down and not self._kept:
            return messages
        through: list[Message] = []
        affected = down | self._kept.keys()
        for message in messages:
            if message.device in affected:
                self._keep(message)
            else:
                through.append(message)
        for device in sorted(affected - down):
            through += self._caught_up(device)
        return through

    def take_dropped(self) -> list[Message]:
        """What devices have dropped since this was asked last."""
        taken, self._dropped = self._dropped, []
        return taken

    def _keep(self, message: Message) -> None:
        kept = self._kept.setdefault(message.device, deque())
        kept.append(message)
        if len(kept) <= self._each_max:
            return
        for place, oldest in enumerate(kept):
            if oldest.channel is not Channel.CONNECTION:
                del kept[place]
                self._dropped.append(oldest)
                self.dropped += 1
                return

    def _caught_up(self, device: int) -> list[Message]:
        """The oldest of what a device has kept; it has caught up when nothing is left."""
        kept = self._kept[device]
        oldest = [kept.popleft() for _ in range(min(_CATCHES_UP_MESSAGES, len(kept)))]
        if not kept:
            del self._kept[device]
        return oldest

    def release(self) -> Iterator[Message]:
        """What is still kept."""
        for kept in self._kept.values():
            yield from kept
        self._kept = {}

    def _state(self, now_s: float) -> tuple[Floats, Flags]:
        """How far each link has faded, and whether it is down at this moment."""
        fades_s, dead_s, ends_s = self._times.T
        lasts = (now_s >= fades_s) & (now_s < ends_s)
        share = np.where(lasts, np.clip((now_s - fades_s) / np.maximum(dead_s - fades_s, 1e-9), 0.0, 1.0), 0.0)
        dropped_out = (now_s - fades_s) % _DROP_OUTS_EVERY_S < share * _DROP_OUTS_EVERY_S
        return share, lasts & ((share >= 1.0) | dropped_out)
