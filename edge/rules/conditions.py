"""Conditions checked against the catalogue and compiled: an unknown value makes unknown, never true or false.

Logic has three values (Kleene's): `None` is unknown: a signal that was not heard yet, a division by zero, a number
that is none. `false and unknown` is false, `true or unknown` is true, all else with an unknown is unknown.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, Protocol

from edge.rules.syntax import ConditionError, Literal, Node, Operation, Path, parse
from wire import catalogue
from wire.catalogue import Signal
from wire.topics import Kind


class Heard(Protocol):
    """What is known of a signal: the newest value, when it was taken (ms), and the value before it (or None)."""

    value: Any
    ms: int
    previous: Any


class Scene(NamedTuple):
    """What a condition sees: the signals of one asset heard so far, by catalogue number, at one moment (ms)."""

    heard: Mapping[int, Heard] | Mapping[str | int, Heard]
    now_ms: int


Compiled = Callable[[Scene], Any]


class Condition(NamedTuple):
    """`holds(scene)` is True, False or None; `inputs`: the catalogue numbers it reads."""

    holds: Compiled
    inputs: frozenset[int]


class _Part(NamedTuple):
    """A compiled part and its type: number, text, texts or boolean."""

    type: str
    compute: Compiled


def compile_condition(text: str, kind: Kind) -> Condition:
    """Raises ConditionError: syntax, limits, unknown signals, types that do not go together."""
    builder = _Builder(kind)
    root = parse(text)
    part = builder.build(root)
    if part.type != "boolean":
        raise ConditionError(f"a condition is true or false, this is a {part.type}", root.at)
    return Condition(part.compute, frozenset(builder.inputs))


def type_of(signal: Signal) -> str:
    """The type that conditions know a signal by."""
    if signal.is_numeric:
        return "number"
    return {"boolean": "boolean", "string": "text"}.get(signal.type, "texts")


class _Builder:
    def __init__(self, kind: Kind) -> None:
        self.inputs: set[int] = set()
        self._kind = kind

    def build(self, node: Node) -> _Part:
        if isinstance(node, Literal):
            return _literal(node.value)
        if isinstance(node, Path):
            return self._path(node)
        if node.name in _SIGNAL_FUNCTIONS:
            return self._of_signal(node)
        parts = [self.build(argument) for argument in node.arguments]
        if node.name in ("==", "!="):
            self._check_equality(node, parts)
            return _Part("boolean", _EQUALITY[node.name](parts[0].compute, parts[1].compute))
        operation = _OPERATIONS.get(node.name)
        if operation is None:
            known = ", ".join(sorted({*_SIGNAL_FUNCTIONS, "abs", "min", "max", "contains"}))
            raise ConditionError(f"there is no function {node.name!r}, only {known}", node.at)
        _check(node, parts, operation.takes, operation.is_many)
        return _Part(operation.gives, operation.make([part.compute for part in parts]))

    def _path(self, node: Path) -> _Part:
        signal = self._signal(node)
        return _Part(type_of(signal), _newest(signal.number, signal.is_numeric))

    def _signal(self, node: Path) -> Signal:
        signal = catalogue.BY_PATH.get(node.path)
        if signal is None:
            raise ConditionError(f"{node.path!r} is not in the catalogue", node.at)
        if signal.kind is not self._kind:
            raise ConditionError(f"{node.path!r} is not a signal of a {self._kind}", node.at)
        self.inputs.add(signal.number)
        return signal

    def _of_signal(self, node: Operation) -> _Part:
        if len(node.arguments) != 1 or not isinstance(node.arguments[0], Path):
            raise ConditionError(f"{node.name} takes the path of one signal", node.at)
        signal = self._signal(node.arguments[0])
        if node.name == "previous":
            return _Part(type_of(signal), _previous(signal.number, signal.is_numeric))
        if node.name == "changed":
            return _Part("boolean", _changed(signal.number))
        return _Part("number", _age(signal.number))

    def _check_equality(self, node: Operation, parts: list[_Part]) -> None:
        left, right = parts
        if left.type != right.type or left.type == "texts":
            raise ConditionError(f"a {left.type} cannot be compared with a {right.type}", node.at)
        for path, other in (node.arguments, node.arguments[::-1]):
            if isinstance(path, Path) and isinstance(other, Literal):
                allowed = catalogue.BY_PATH[path.path].allowed
                if allowed and other.value not in allowed:
                    raise ConditionError(f"{path.path} is never {other.value!r}, only {sorted(allowed)}", other.at)


def _check(node: Operation, parts: list[_Part], takes: tuple[str, ...], is_many: bool) -> None:
    wanted = takes if not is_many else takes * len(parts)
    if len(parts) != len(wanted):
        raise ConditionError(f"{node.name} takes {len(wanted)} values, not {len(parts)}", node.at)
    for part, due, argument in zip(parts, wanted, node.arguments, strict=True):
        if part.type != due:
            raise ConditionError(f"{node.name} takes a {due}, this is a {part.type}", argument.at)


def _literal(value: float | str | bool) -> _Part:
    kind = {bool: "boolean", str: "text"}.get(type(value), "number")
    return _Part(kind, lambda _scene: value)


def _newest(number: int, is_numeric: bool) -> Compiled:
    def compute(scene: Scene) -> Any:
        cell = scene.heard.get(number)
        if cell is None or cell.value is None:
            return None
        return float(cell.value) if is_numeric else cell.value

    return compute


def _previous(number: int, is_numeric: bool) -> Compiled:
    def compute(scene: Scene) -> Any:
        cell = scene.heard.get(number)
        if cell is None or cell.previous is None:
            return None
        return float(cell.previous) if is_numeric else cell.previous

    return compute


def _changed(number: int) -> Compiled:
    def compute(scene: Scene) -> bool | None:
        cell = scene.heard.get(number)
        if cell is None or cell.previous is None:
            return None
        return cell.ms == scene.now_ms and bool(cell.value != cell.previous)

    return compute


def _age(number: int) -> Compiled:
    def compute(scene: Scene) -> float | None:
        cell = scene.heard.get(number)
        return None if cell is None or cell.value is None else (scene.now_ms - cell.ms) / 1000

    return compute


def _all(parts: list[Compiled]) -> Compiled:
    def compute(scene: Scene) -> bool | None:
        result: bool | None = True
        for part in parts:
            value = part(scene)
            if value is False:
                return False
            if value is None:
                result = None
        return result

    return compute


def _any(parts: list[Compiled]) -> Compiled:
    def compute(scene: Scene) -> bool | None:
        result: bool | None = False
        for part in parts:
            value = part(scene)
            if value is True:
                return True
            if value is None:
                result = None
        return result

    return compute


def _known(function: Callable[..., Any]) -> Callable[[list[Compiled]], Compiled]:
    """A function of known values: unknown when one of them is, or when the result is no number."""

    def make(parts: list[Compiled]) -> Compiled:
        def compute(scene: Scene) -> Any:
            values = [part(scene) for part in parts]
            if None in values:
                return None
            result = function(*values)
            return None if result != result else result  # NaN differs from itself

        return compute

    return make


def _pair(function: Callable[[Any, Any], bool]) -> Callable[[Compiled, Compiled], Compiled]:
    make = _known(function)
    return lambda left, right: make([left, right])


def _divided(left: float, right: float) -> float | None:
    return left / right if right else None


class _Function(NamedTuple):
    takes: tuple[str, ...]
    gives: str
    make: Callable[[list[Compiled]], Compiled]
    is_many: bool = False


_NUMBERS: Final = ("number", "number")
_SIGNAL_FUNCTIONS: Final = frozenset({"age", "changed", "previous"})
_EQUALITY: Final = {"==": _pair(lambda left, right: left == right), "!=": _pair(lambda left, right: left != right)}
_OPERATIONS: Final[Mapping[str, _Function]] = {
    "and": _Function(("boolean",), "boolean", _all, is_many=True),
    "or": _Function(("boolean",), "boolean", _any, is_many=True),
    "not": _Function(("boolean",), "boolean", _known(lambda value: not value)),
    "<": _Function(_NUMBERS, "boolean", _known(lambda left, right: left < right)),
    "<=": _Function(_NUMBERS, "boolean", _known(lambda left, right: left <= right)),
    ">": _Function(_NUMBERS, "boolean", _known(lambda left, right: left > right)),
    ">=": _Function(_NUMBERS, "boolean", _known(lambda left, right: left >= right)),
    "+": _Function(_NUMBERS, "number", _known(lambda left, right: left + right)),
    "-": _Function(_NUMBERS, "number", _known(lambda left, right: left - right)),
    "*": _Function(_NUMBERS, "number", _known(lambda left, right: left * right)),
    "/": _Function(_NUMBERS, "number", _known(_divided)),
    "negative": _Function(("number",), "number", _known(lambda value: -value)),
    "abs": _Function(("number",), "number", _known(abs)),
    "min": _Function(("number",), "number", _known(lambda *values: min(values)), is_many=True),
    "max": _Function(("number",), "number", _known(lambda *values: max(values)), is_many=True),
    "contains": _Function(("texts", "text"), "boolean", _known(lambda texts, text: text in texts)),
}
