"""Frames that the agent makes: samples that were withheld, with their own times, without session and seq."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from wire import codec, limits


class Extra(NamedTuple):
    """One sample to be sent in a frame of the agent's. `rule`: why."""

    ms: int
    path: str
    value: Any
    rule: str
    urgent: bool


def frames(samples: Iterable[Extra]) -> list[tuple[bytes, bool]]:
    """(payload, urgent) of the frames that hold them: one or more per rule, each within the limits of a frame."""
    rows_of: dict[tuple[str, bool], dict[int, dict[str, Any]]] = {}
    for sample in samples:
        rows = rows_of.setdefault((sample.rule, sample.urgent), {})
        rows.setdefault(sample.ms, {})[sample.path] = sample.value
    made: list[tuple[bytes, bool]] = []
    for (rule, urgent), rows in rows_of.items():
        labels = {"capture": rule, "urgent": True} if urgent else {"capture": rule}
        made += [(payload, urgent) for payload in _encoded(sorted(rows.items()), labels)]
    return made


_Rows = list[tuple[int, dict[str, Any]]]


def _encoded(rows: _Rows, labels: dict[str, Any]) -> list[bytes]:
    """Halves the rows, then the columns, until each frame is small enough."""
    if len(rows) <= limits.SAMPLES_PER_FRAME_MAX:
        payload = codec.to_msgpack(_frame(rows, labels))
        if len(payload) <= limits.PAYLOAD_BYTES_MAX or (len(rows) == 1 and len(rows[0][1]) == 1):
            return [payload]
    if len(rows) > 1:
        half = len(rows) // 2
        return _encoded(rows[:half], labels) + _encoded(rows[half:], labels)
    ((ms, values),) = rows
    items = list(values.items())
    half = len(items) // 2
    return _encoded([(ms, dict(items[:half]))], labels) + _encoded([(ms, dict(items[half:]))], labels)


def _frame(rows: _Rows, labels: dict[str, Any]) -> dict[str, Any]:
    first_ms, values = rows[0]
    if len(rows) == 1:
        return {"v": 1, "ts": first_ms, "signals": values, **labels}
    paths = dict.fromkeys(path for _, row in rows for path in row)
    return {
        "v": 1,
        "ts": first_ms,
        "dt": [ms - first_ms for ms, _ in rows],
        "signals": {path: [row.get(path) for _, row in rows] for path in paths},
        **labels,
    }
