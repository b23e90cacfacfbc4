"""The name of a series: one channel of one asset.

u8 kind · u8 channel · asset id (ASCII). Kind and channel are numbers of `_KINDS` and `_CHANNELS`; these never change
meaning. The channel has `_URGENT` added where the payloads outlive the others of their channel.
"""

import re
from typing import Final

from wire.topics import ASSET_ID, Address, Channel, Kind

_CODE_BYTES: Final = 2
"""Before the asset id."""
_URGENT: Final = 0x80
_KINDS: Final = (Kind.VEHICLE, Kind.STATION)
_CHANNELS: Final = (Channel.SIGNALS, Channel.EVENTS, Channel.CONNECTION)
_SIGNALS: Final = _CHANNELS.index(Channel.SIGNALS)


def of(address: Address, urgent: bool = False) -> bytes:
    """The name of a series. `urgent`: signals that are kept as long as events are."""
    numbers = bytes((_KINDS.index(address.kind), _CHANNELS.index(address.channel) | urgent * _URGENT))
    return numbers + address.asset_id.encode("ascii")


_SERIES_OF: Final = {
    (kind.encode(), channel.encode()): bytes((k, c))
    for k, kind in enumerate(_KINDS)
    for c, channel in enumerate(_CHANNELS)
}
_CODES: Final = frozenset(
    code[:1] + bytes((code[1] | urgent,)) for code in _SERIES_OF.values() for urgent in (0, _URGENT)
)
_TOPIC: Final = re.compile(rb"(?:dt|(state))/fleet/([a-z]+)/(%s)/([a-z]+)" % ASSET_ID.pattern.encode())


def of_topic(topic: bytes) -> bytes | None:
    """The name of the series that an MQTT topic of the contract has; None for any other topic.

    Not remembered: a gateway may have 100,000 devices, and this takes 1 µs (measured).
    """
    match = _TOPIC.fullmatch(topic)
    if match is None:
        return None
    state, kind, asset_id, channel = match.groups()
    numbers = _SERIES_OF.get((kind, channel))
    return None if numbers is None or (state is not None) != (channel == b"connection") else numbers + asset_id


def channel_of(series: bytes) -> Channel:
    """The channel alone."""
    return _CHANNELS[series[1] & ~_URGENT]


def code_of(series: bytes) -> bytes:
    """What a series says beside the asset id: the same for all assets of a kind, by channel."""
    return series[:_CODE_BYTES]


def asset_id_of(series: bytes) -> bytes:
    """In ASCII."""
    return series[_CODE_BYTES:]


def address_of(series: bytes) -> Address:
    """The inverse of `of`. Raises IndexError, ValueError."""
    kind, channel = series[:_CODE_BYTES]
    return Address(_KINDS[kind], series[_CODE_BYTES:].decode("ascii"), _CHANNELS[channel & ~_URGENT])


def is_signals(series: bytes) -> bool:
    """Whether these are signals that are not urgent: most of the volume."""
    return series[1] == _SIGNALS


def is_known(series: bytes) -> bool:
    """Whether an agent of this version can have made the name."""
    return series[:_CODE_BYTES] in _CODES and series[_CODE_BYTES:].isascii()
