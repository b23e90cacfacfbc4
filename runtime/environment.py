"""Environment variables to nested settings. Pure: the variables are given as a mapping.

`<PREFIX>__SECTION__KEY` is `section.key`. Names are read without regard to case. A value that is a JSON list or
object stands for one; everything else stays text, and the settings' types judge it.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

SEPARATOR: Final = "__"

WELL_KNOWN: Final = {
    "MQTT_URL": ("mqtt", "url"),
    "KAFKA_BOOTSTRAP_SERVERS": ("kafka", "bootstrap_servers"),
    "MONGODB_URI": ("mongo", "uri"),
}


def prefixed(prefix: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """Every variable of this prefix, known to the settings or not: a misspelt name must not be a silent default."""
    start = f"{prefix}{SEPARATOR}".upper()
    found = {
        tuple(name[len(start) :].lower().split(SEPARATOR)): text
        for name, text in environment.items()
        if name.upper().startswith(start)
    }
    values: dict[str, Any] = {}
    for keys in sorted(found, key=len):  # a whole section, given as JSON, before its single keys
        _place(values, keys, _value(found[keys]))
    return values


def well_known(sections: Iterable[str], environment: Mapping[str, str]) -> dict[str, Any]:
    """The variables that many programs share, for those of `sections` that they belong to. Empty is unset."""
    values: dict[str, Any] = {}
    for name, (section, key) in WELL_KNOWN.items():
        if section in sections and environment.get(name):
            _place(values, (section, key), environment[name])
    return values


def origin(prefix: str, path: tuple[str, ...], environment: Mapping[str, str]) -> str | None:
    """The name of the variable that sets `path`, or something in it, if one does."""
    due = SEPARATOR.join((prefix, *path)).upper()
    ours = next((name for name in environment if f"{name.upper()}{SEPARATOR}".startswith(due + SEPARATOR)), None)
    known = next((name for name, keys in WELL_KNOWN.items() if keys == path and environment.get(name)), None)
    return ours or known


def _value(text: str) -> Any:
    if not text.lstrip().startswith(("[", "{")):
        return text
    try:
        return json.loads(text)
    except ValueError:  # an IPv6 address, or a mistake: the settings' type says which
        return text


def _place(values: dict[str, Any], keys: tuple[str, ...], value: Any) -> None:
    *sections, last = keys
    table: Any = values
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):  # the section itself is given as text, which is a fault of its own
            return
    table[last] = value
