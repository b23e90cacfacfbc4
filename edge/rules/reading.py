"""A rule set as text to a plan: TOML or JSON, within limits, with every fault."""

import tomllib
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from edge.rules import plan
from edge.rules.plan import Plan
from wire.collection import SET_BYTES_MAX, Fault


def parse(raw: bytes) -> Plan | list[Fault]:
    """JSON when it begins like an object, else TOML."""
    value = plain(raw)
    return value if isinstance(value, list) else plan.make(value)


def plain(raw: bytes) -> dict[str, Any] | list[Fault]:
    """The set as plain values, or why it cannot be read."""
    if len(raw) > SET_BYTES_MAX:
        return [Fault("", f"{len(raw)} bytes, limit {SET_BYTES_MAX}", "join rules that differ in their assets only")]
    is_json = raw.lstrip()[:1] == b"{"
    try:
        value = msgspec.json.decode(raw) if is_json else tomllib.loads(raw.decode("utf-8"))
    except (msgspec.DecodeError, tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        return [Fault("", f"not {'JSON' if is_json else 'TOML'}: {str(error)[:200]}", "mend the syntax")]
    assert isinstance(value, dict)
    return _with_texts_for_times(value) if not is_json else value


def _with_texts_for_times(value: Any) -> Any:
    """TOML has times, JSON and the contract have texts."""
    if isinstance(value, dict):
        return {key: _with_texts_for_times(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_with_texts_for_times(each) for each in value]
    return value.isoformat() if isinstance(value, datetime) else value


def read_file(path: Path) -> Plan | list[Fault]:
    """The plan of a file. What the operating system says is a fault as well."""
    try:
        with path.open("rb") as file:
            raw = file.read(SET_BYTES_MAX + 1)
    except OSError as error:
        return [Fault("", f"cannot be read: {error.strerror or error}", "see path and permissions")]
    return parse(raw)


def version_of(raw: bytes) -> int | str | None:
    """What a set that may be full of faults calls itself."""
    value = plain(raw)
    version = value.get("version") if isinstance(value, dict) else None
    if type(version) is int and 0 <= version < 2**53:
        return version
    return version if isinstance(version, str) and 0 < len(version) <= 64 else None
