"""When a broker was heard last, from the statistics of the Kafka client.

A worker keeps its partitions while all brokers are away (with the next-generation protocol nobody tells it otherwise),
and a broker that hangs keeps its connections: only that nothing comes back tells of either.
"""

import time
from collections.abc import Callable
from typing import Final

import msgspec

INTERVAL_MS: Final = 2_000
"""How often the client tells; beside the fetches, of which one is answered each tenth of a second."""


class _Broker(msgspec.Struct):
    """Of librdkafka's statistics (STATISTICS.md): state of the connection, µs since it brought something."""

    state: str
    rxidle: int


class _Statistics(msgspec.Struct):
    brokers: dict[str, _Broker] = {}


_DECODER: Final = msgspec.json.Decoder(_Statistics)


class Hearing:
    """`silent_ms`: for how long no broker was heard."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._heard_s = clock_s()

    @property
    def silent_ms(self) -> int:
        return int(1000 * (self._clock_s() - self._heard_s))

    def on_statistics(self, text: str) -> None:
        """librdkafka's `stats_cb`."""
        now_s = self._clock_s()
        idle_us = [
            one.rxidle for one in _DECODER.decode(text).brokers.values() if one.state == "UP" and one.rxidle >= 0
        ]
        if idle_us:
            self._heard_s = max(self._heard_s, now_s - min(idle_us) / 1e6)
