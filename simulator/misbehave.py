"""Devices that misbehave as real ones do: the same message twice, or a message later than the next ones.

Never across sessions: what a device still owes is sent before its session ends. Duplicates are the same message and
carry `again`, so that the truth has it once.
"""

from collections import Counter
from typing import Final

from simulator.arrays import stream, where_true
from simulator.devices import Message
from wire.topics import Channel

_DELAY_STEPS_MAX: Final = 40


class Misbehaviour:
    """Holds messages back and repeats them; `rate` is the share of messages it touches."""

    def __init__(self, seed: int, rate: float) -> None:
        self._random = stream(seed, "misbehaviour")
        self._rate = rate
        self._later: dict[int, list[Message]] = {}
        self._owed: Counter[int] = Counter()
        self.repeated = 0
        self.delayed = 0

    def pass_on(self, messages: list[Message], step: int) -> list[Message]:
        """What is sent at `step` of what the devices made, with what was due from before."""
        if self._rate <= 0:
            return messages
        sent: list[Message] = []
        draws, begin = self._random.random((len(messages), 2)), 0
        borders = [place for place, message in enumerate(messages) if message.channel is Channel.CONNECTION]
        touched = where_true(draws[:, 0] < self._rate).tolist()
        for place in sorted({*borders, *touched}):
            sent += messages[begin:place]
            sent += self._special(messages[place], step, *draws[place].tolist())
            begin = place + 1
        sent += messages[begin:]
        for message in self._later.pop(step, []):
            self._owed[message.device] -= 1
            sent.append(message)
        return sent

    def _special(self, message: Message, step: int, which: float, how_long: float) -> list[Message]:
        """What is sent now instead of a message that is a border of sessions, or is touched."""
        if message.channel is Channel.CONNECTION:
            return [*self.release(message.device), message]
        at = step + 1 + int(how_long * _DELAY_STEPS_MAX)
        if which < self._rate / 2:
            self.repeated += 1
            self._keep(at, message._replace(again=True))
            return [message]
        self.delayed += 1
        self._keep(at, message)
        return []

    def release(self, device: int | None = None) -> list[Message]:
        """Everything still owed, by one device or by all, in order of its time."""
        if device is not None and not self._owed[device]:
            return []
        released = []
        for step in sorted(self._later):
            released += [message for message in self._later[step] if device is None or message.device == device]
            self._later[step] = [message for message in self._later[step] if device not in (None, message.device)]
        self._owed.subtract(message.device for message in released)
        return released

    def _keep(self, step: int, message: Message) -> None:
        self._later.setdefault(step, []).append(message)
        self._owed[message.device] += 1
