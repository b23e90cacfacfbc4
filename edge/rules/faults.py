"""A rule set as plain values to its types, with every fault at once: msgspec alone would stop at the first."""

import difflib
import math
from collections.abc import Iterable, Mapping
from typing import Any, Final, get_args

import msgspec
from msgspec import Struct

from wire import collection
from wire.collection import AnyRule, Fault, RuleSet

_RULE_OF: Final[dict[str, type[Struct]]] = {each.__struct_config__.tag: each for each in get_args(AnyRule)}
FAULTS_MAX: Final = 50


def read(value: Any) -> RuleSet | list[Fault]:
    """The set, or what is wrong with it; at most `FAULTS_MAX` faults."""
    faults = list(_of_set(value))[:FAULTS_MAX]
    return faults or msgspec.convert(value, RuleSet)


def _of_set(value: Any) -> Iterable[Fault]:
    if not isinstance(value, dict):
        yield Fault("", f"a {type(value).__name__}, not a table", "begin with version = 1, then [[rules]] tables")
        return
    rules = value.get("rules")
    shown = {**value, "rules": []} if isinstance(rules, list) else value
    yield from _of_struct(shown, RuleSet, "")
    if not isinstance(rules, list):
        return
    if len(rules) > collection.RULES_MAX:
        yield Fault("rules", f"{len(rules)} rules, limit {collection.RULES_MAX}", "join rules or split the set")
        return
    for index, rule in enumerate(rules):
        yield from _of_rule(rule, f"rules[{index}]")


def _of_rule(value: Any, path: str) -> Iterable[Fault]:
    if not isinstance(value, dict):
        yield Fault(path, f"a {type(value).__name__}, not a table", "write it as a [[rules]] table")
        return
    mode = value.get("mode")
    shape = _RULE_OF.get(mode) if isinstance(mode, str) else None
    if shape is None:
        problem = "missing" if mode is None else f"there is no mode {mode!r:.40}"
        yield Fault(f"{path}.mode", problem, f"one of {', '.join(_RULE_OF)}")
        return
    yield from _of_struct({key: each for key, each in value.items() if key != "mode"}, shape, path)


def _of_struct(value: Mapping[str, Any], shape: type[Struct], path: str) -> Iterable[Fault]:
    fields = {field.encode_name: field for field in msgspec.structs.fields(shape)}
    for key, given in value.items():
        where = f"{path}.{key}".lstrip(".")[:200]
        if key not in fields:
            yield Fault(where, "unknown key", _similar(str(key), fields))
        else:
            yield from _of_value(given, fields[key].type, where)
    for name, field in fields.items():
        if field.required and name not in value:
            yield Fault(f"{path}.{name}".lstrip("."), "missing", "add it")


def _of_value(given: Any, kind: Any, path: str) -> Iterable[Fault]:
    if isinstance(given, float) and not math.isfinite(given):
        yield Fault(path, f"{given} is no number", "give a finite number")
        return
    try:
        msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        problem, _, inside = str(error).partition(" - at `$")
        yield Fault(path + inside.rstrip("`"), problem, "see docs/collection-rules.md for what it may be")


def _similar(key: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(key[:64], list(known), 1)
    return f"did you mean {close[0]}?" if close else f"remove it; there are {', '.join(known)}"
