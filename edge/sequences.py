"""Notices frames that devices sent and nobody delivered: jumps in a device's (session, seq).

Only the last payload of what arrived together is looked into; when its number fits, so do those before it. What is
missing may still come late; what is missing before the first of a session is not seen; devices that count nothing are
not watched. Used by one thread.
"""

from collections.abc import Mapping
from typing import Final

import msgspec
import structlog

from edge.counts import Counts
from edge.receive import Arrival
from edge.spool import series as names
from wire.topics import Channel


class _Place(msgspec.Struct, gc=False):
    """Of a frame or an event; −1: it counts nothing."""

    session: str = ""
    seq: int = -1


_msgpack: Final = msgspec.msgpack.Decoder(_Place).decode
_json: Final = msgspec.json.Decoder(_Place).decode
_JSON_FIRST_BYTES: Final = frozenset(b"{ \t\r\n")


class SequenceWatch:
    """Remembers the last place of at most `series_max` series; those heard of longest ago are forgotten, half of them
    at once."""

    def __init__(self, series_max: int, counts: Counts) -> None:
        self._half_max = max(1, series_max // 2)
        self._counts = counts
        self._last: dict[bytes, _Place] = {}
        self._before: dict[bytes, _Place] = {}
        """Of series that were not heard of since `_last` was empty."""
        self._log = structlog.get_logger("edge.sequences")
        self._logged = 0
        self._example = ""

    def look(self, arrivals: Mapping[bytes, Arrival]) -> None:
        """At what arrived, before anything is done with it."""
        for series, arrival in arrivals.items():
            payloads = arrival.payloads
            known, last = self._known(series), _place(payloads[-1])
            if last is None or (known is None and len(payloads) > 1):
                self._look_at_each(series, payloads)
            elif known is None:
                self._learn(series, last)
            elif last.session == known.session and last.seq == known.seq + len(payloads):
                self._last[series] = last
            else:
                self._look_at_each(series, payloads)

    def _known(self, series: bytes) -> _Place | None:
        known = self._last.get(series)
        if known is None and (known := self._before.pop(series, None)) is not None:
            self._learn(series, known)
        return known

    def _look_at_each(self, series: bytes, payloads: list[bytes]) -> None:
        for payload in payloads:
            place = _place(payload)
            if place is not None:
                self._step(series, place)

    def _step(self, series: bytes, place: _Place) -> None:
        known = self._last.get(series)
        if known is None:
            self._learn(series, place)
            return
        expected = known.seq + 1
        if place.session == known.session and place.seq > expected:
            self._counts.sequence_jumps += 1
            self._counts.sequence_missing += place.seq - expected
            self._example = f"{names.address_of(series).asset_id} {place.session} {expected}..{place.seq - 1}"
        # never back: what a broker sends again is old
        if place.session != known.session or place.seq > known.seq:
            self._last[series] = place

    def _learn(self, series: bytes, place: _Place) -> None:
        if names.channel_of(series) is Channel.CONNECTION:
            return
        if len(self._last) >= self._half_max:
            self._before, self._last = self._last, {}
        self._last[series] = place

    def report(self) -> None:
        """One line in the log about the jumps since the last report, if there are any."""
        jumps = self._counts.sequence_jumps
        if jumps != self._logged:
            self._log.warning(
                "device_sequence_jumps",
                jumps=jumps - self._logged,
                missing_since_start=self._counts.sequence_missing,
                last=self._example,
                advice="a broker dropped messages, a device did not wait for PUBACK, or they come late",
            )
            self._logged = jumps


def _place(payload: bytes) -> _Place | None:
    try:
        place = _json(payload) if payload[0] in _JSON_FIRST_BYTES else _msgpack(payload)
    except msgspec.DecodeError:  # also of another shape; others judge what becomes of it
        return None
    return place if place.seq >= 0 else None
