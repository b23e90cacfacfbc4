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
from edge.spool import records
from wire.topics import Channel


class _Place(msgspec.Struct, gc=False):
    """Of a frame or an event; −1: it counts nothing."""

    session: str = ""
    seq: int = -1


_msgpack: Final = msgspec.msgpack.Decoder(_Place).decode
_json: Final = msgspec.json.Decoder(_Place).decode
_JSON_FIRST_BYTES: Final = frozenset(b"{ \t\r\n")


class SequenceWatch:
    """Remembers the last place of at most `series_max` series; of the others it forgets the one known longest."""

    def __init__(self, series_max: int, counts: Counts) -> None:
        self._series_max = series_max
        self._counts = counts
        self._last: dict[bytes, _Place] = {}
        self._log = structlog.get_logger("edge.sequences")
        self._logged = 0
        self._example = ""

    def look(self, arrivals: Mapping[bytes, Arrival]) -> None:
        """At what arrived, before anything is done with it."""
        for series, arrival in arrivals.items():
            payloads = arrival.payloads
            known, last = self._last.get(series), _place(payloads[-1])
            if (
                known is not None
                and last is not None
                and last.session == known.session
                and last.seq == known.seq + len(payloads)
            ):
                self._last[series] = last
            else:
                for payload in payloads:
                    self._step(series, payload)

    def _step(self, series: bytes, payload: bytes) -> None:
        place, known = _place(payload), self._last.get(series)
        if place is None:
            return
        if known is None:
            self._learn(series, place)
            return
        expected = known.seq + 1
        if place.session == known.session and place.seq > expected:
            self._counts.sequence_jumps += 1
            self._counts.sequence_missing += place.seq - expected
            self._example = f"{records.address_of(series).asset_id} {place.session} {expected}..{place.seq - 1}"
        # never back: what a broker sends again is old
        if place.session != known.session or place.seq > known.seq:
            self._last[series] = place

    def _learn(self, series: bytes, place: _Place) -> None:
        if records.address_of(series).channel is Channel.CONNECTION:
            return
        if len(self._last) >= self._series_max:
            del self._last[next(iter(self._last))]
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
