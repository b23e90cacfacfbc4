"""Reading what is well-formed, quickly: each function gives what the slow way (`codec`, `shaped`, `frames.read`) gives,
or None, and then the slow way says what is wrong. Nothing is refused here, and nothing else is accepted; what is rare
(fields of a frame that this version does not know) goes the slow way too.

Types are checked while the bytes are decoded, without plain values in between; patterns, which cost more than the
rest together, are checked by hand.
"""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from wire import catalogue, codec, limits
from wire.catalogue import Signal, Value
from wire.malformed import Malformed
from wire.messages import Batch, Frame
from wire.topics import Kind

Judge = Callable[[Any], Value | Malformed]
Check = tuple[int, type | None, Any, Any, Judge]
"""Number, and what is plainly good: this very type, from, to. None: only `judge` can tell."""

_SESSION: Final = re.compile(r"[A-Za-z0-9_.:-]+")
_ShortText = Annotated[str, Meta(min_length=1, max_length=64)]


class _Frame(Frame, frozen=True, forbid_unknown_fields=True):
    session: _ShortText | None = None


_FRAMES: Final = msgspec.msgpack.Decoder(_Frame)
_JSON_FRAMES: Final = msgspec.json.Decoder(_Frame)
_BATCHES: Final = msgspec.msgpack.Decoder(Batch)
_TYPES: Final[Mapping[str, type | None]] = MappingProxyType(
    {"boolean": bool, "float": float, "double": float, "string": None, "string[]": None}
)


def _check(signal: Signal) -> Check:
    low, high = (False, True) if signal.type == "boolean" else (signal.min, signal.max)
    return signal.number, _TYPES.get(signal.type, int), low, high, signal.judge


CHECKS: Final[Mapping[Kind | None, Mapping[str | int, Check]]] = {
    kind: {
        key: _check(signal)
        for signal in catalogue.SIGNALS
        if kind in (None, signal.kind)
        for key in (signal.path, signal.number, str(signal.number))
    }
    for kind in (None, *Kind)
}
"""Kind of asset → what a frame may call a signal → what is checked about its value."""


def batch(raw: bytes, bytes_max: int) -> Batch | None:
    """A record value. Fields that this version does not know are skipped without looking into them."""
    if not 0 < len(raw) <= bytes_max or raw[0] in codec.JSON_FIRST_BYTES:
        return None
    try:
        return _BATCHES.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def frame(raw: bytes) -> Frame | None:
    """A signals payload; its values and `dt` are not judged yet."""
    if not 0 < len(raw) <= limits.PAYLOAD_BYTES_MAX:
        return None
    try:
        found = (_JSON_FRAMES if raw[0] in codec.JSON_FIRST_BYTES else _FRAMES).decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    session = found.session
    return found if session is None or _SESSION.fullmatch(session) else None


def values(signals: Mapping[Any, Any], kind: Kind | None) -> dict[int, Value] | None:
    """The values of one moment by catalogue number, if all are good."""
    found: dict[int, Any] = {}
    check_of = CHECKS[kind].get
    for key, given in signals.items():
        check = check_of(key)
        if check is None:
            return None
        number, exact, low, high, judge = check
        # bool is not int here: `type`, not `isinstance`. NaN fails the comparison.
        if type(given) is exact and low <= given <= high:
            found[number] = given
        elif given is not None:
            value = judge(given)
            if type(value) is Malformed:
                return None
            found[number] = value
    return found


def columns(signals: Mapping[Any, Any], length: int, kind: Kind | None) -> list[dict[int, Value]] | None:
    """The values of several moments, from a list per signal, if all are good."""
    found: list[dict[int, Any]] = [{} for _ in range(length)]
    checks = CHECKS[kind]
    for key, column in signals.items():
        check = checks.get(key)
        if check is None or type(column) is not list or len(column) != length:
            return None
        number, exact, low, high, judge = check
        for sample, given in zip(found, column, strict=True):
            if type(given) is exact and low <= given <= high:
                sample[number] = given
            elif given is not None:
                value = judge(given)
                if type(value) is Malformed:
                    return None
                sample[number] = value
    return found
