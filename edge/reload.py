"""What of a new configuration can count at once, and what needs a restart. Pure."""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from edge.config import EdgeSettings

SECTIONS: Final = frozenset({"log", "health", "batch", "kafka", "upload"})
"""Sections that can change while the agent runs. The others name files, sessions and ports that are in use."""


class Change(NamedTuple):
    """`settings` are those that count from now on. Keys are as in the file: `kafka.linger_ms`."""

    settings: EdgeSettings
    applied: list[str]
    refused: list[str]


def compare(old: EdgeSettings, new: EdgeSettings) -> Change:
    """Take the sections of `new` that can change."""
    before, after = dict(_flat(old.model_dump())), dict(_flat(new.model_dump()))
    changed = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
    applied = [key for key in changed if key.split(".")[0] in SECTIONS]
    merged = old.model_copy(update={section: getattr(new, section) for section in SECTIONS})
    return Change(merged, applied, [key for key in changed if key not in applied])


def _flat(table: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value
