"""Dead letters as people and scripts read them. Pure."""

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from cloud.dlq.letters import Buried
from cloud.dlq.returning import Stuck, way_back
from cloud.queries.formats import printable
from wire import batches, codec
from wire.malformed import Malformed
from wire.messages import Batch
from wire.records import iso_time

_ROW_BYTES: Final = 16
_DECODED_CHARS_MAX: Final = 4_000


def fields(buried: Buried, replayed: datetime | None) -> dict[str, Any]:
    """One letter for JSON."""
    letter = buried.letter
    return {
        "place": buried.place,
        "topic": buried.topic,
        "partition": buried.partition,
        "offset": buried.offset,
        "asset_id": letter.asset_id,
        "reason": str(letter.reason),
        "detail": letter.detail,
        "origin": letter.origin,
        "source": letter.source or None,
        "time_ms": letter.time_ms,
        "buried_ms": buried.written_ms,
        "size": letter.size,
        "replayed": replayed.isoformat() if replayed is not None else None,
    }


def lines(buried: Buried, replayed: datetime | None, bytes_max: int) -> Iterator[str]:
    """One letter with everything that is known about it."""
    letter = buried.letter
    named: Mapping[str, object] = {
        "place": buried.place,
        "reason": letter.reason,
        "detail": letter.detail,
        "asset": letter.asset_id or "unknown",
        "received": iso_time(letter.time_ms),
        "buried": iso_time(buried.written_ms),
        "origin": letter.origin,
        "source": letter.source or "-",
        "size": f"{letter.size} bytes" + ("" if letter.size == len(letter.value) else f", {len(letter.value)} kept"),
        "replayed": replayed.isoformat(timespec="seconds") if replayed is not None else "no",
        "way back": _way(buried),
    }
    yield from (f"{name:>9}  {printable(value)}" for name, value in named.items())
    yield ""
    yield from decoded(letter.value)
    yield ""
    yield from hexdump(letter.value[:bytes_max])
    if len(letter.value) > bytes_max:
        yield f"… {len(letter.value) - bytes_max} bytes more: give it more --bytes"


def _way(buried: Buried) -> str:
    way = way_back(buried)
    return f"none: {way.why}" if isinstance(way, Stuck) else f"{way.topic}, key {way.key.decode()}"


def decoded(value: bytes) -> Iterator[str]:
    """What can be read of the bytes: a batch's head, or the message."""
    batch = batches.decode(value)
    if isinstance(batch, Batch):
        yield (
            f"a batch of {len(batch.payloads)} on {batch.channel} from {batch.gateway}/{batch.epoch}, "
            f"from sequence {batch.first_sequence}; its first message:"
        )
        value = batch.payloads[0]
    content = codec.decode(value)
    if isinstance(content, Malformed):
        yield f"neither msgpack nor JSON: {printable(content.detail)}"
        return
    text = json.dumps(content, indent=2, ensure_ascii=False, default=repr)
    shown = text[:_DECODED_CHARS_MAX]
    yield from map(printable, shown.splitlines())
    if len(text) > len(shown):
        yield "…"


def hexdump(value: bytes) -> Iterator[str]:
    """Offset, bytes, and what of them is ASCII."""
    for start in range(0, len(value), _ROW_BYTES):
        row = value[start : start + _ROW_BYTES]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        yield f"{start:08x}  {row.hex(' '):<{_ROW_BYTES * 3}} {text}"
