"""Conditions against an evaluator that is built beside their text, and against any text at all."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import hypothesis.strategies as st
import pytest
from hypothesis import example, given, settings

from edge.rules.conditions import Condition, Scene, compile_condition
from edge.rules.syntax import ConditionError
from wire import catalogue
from wire.topics import Kind

NUMBERS = ["Vehicle.Speed", "Vehicle.Exterior.AirTemperature", "Vehicle.Powertrain.FuelSystem.RelativeLevel"]
FLAGS = ["Vehicle.IsMoving", "Vehicle.Diagnostics.IsMILOn"]
STATE = "Vehicle.LowVoltageSystemState"
DTCS = "Vehicle.Diagnostics.DTCList"
NOW_MS = 1_750_000_000_000


@dataclass
class Heard:
    value: Any
    ms: int
    previous: Any


World = dict[str, Heard]


class Case(NamedTuple):
    """A condition or a part of one, and what it must give."""

    text: str
    expect: Callable[[World], Any]


def newest(path: str) -> Callable[[World], Any]:
    return lambda world: world[path].value if path in world else None


def before(path: str) -> Callable[[World], Any]:
    return lambda world: world[path].previous if path in world else None


def strict(function: Callable[..., Any], *cases: Case) -> Callable[[World], Any]:
    """Unknown where a part is, where it divides by zero, and where the result is no number."""

    def expect(world: World) -> Any:
        values = [case.expect(world) for case in cases]
        if any(value is None for value in values):
            return None
        try:
            result = function(*values)
        except ZeroDivisionError:
            return None
        return None if isinstance(result, float) and result != result else result

    return expect


def number_cases(inner: st.SearchStrategy[Case]) -> st.SearchStrategy[Case]:
    arithmetic = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b, "/": lambda a, b: a / b}
    pairs = st.tuples(inner, inner)
    return st.one_of(
        st.tuples(st.sampled_from("+-*/"), pairs).map(
            lambda drawn: Case(
                f"({drawn[1][0].text} {drawn[0]} {drawn[1][1].text})", strict(arithmetic[drawn[0]], *drawn[1])
            )
        ),
        inner.map(lambda case: Case(f"-({case.text})", strict(lambda value: -value, case))),
        inner.map(lambda case: Case(f"abs({case.text})", strict(abs, case))),
        pairs.map(lambda two: Case(f"min({two[0].text}, {two[1].text})", strict(min, *two))),
        pairs.map(lambda two: Case(f"max({two[0].text},{two[1].text})", strict(max, *two))),
    )


def age(path: str) -> Callable[[World], Any]:
    return lambda world: (NOW_MS - world[path].ms) / 1000 if path in world else None


def changed(path: str) -> Callable[[World], Any]:
    def expect(world: World) -> Any:
        if path not in world or world[path].previous is None:
            return None
        return world[path].ms == NOW_MS and world[path].value != world[path].previous

    return expect


def kleene(word: str, cases: list[Case]) -> Case:
    decisive = word == "or"

    def expect(world: World) -> Any:
        values = [case.expect(world) for case in cases]
        if decisive in values:
            return decisive
        return None if None in values else not decisive

    return Case("(" + f" {word} ".join(case.text for case in cases) + ")", expect)


literals = st.integers(0, 50).map(lambda number: Case(str(number), lambda _world: float(number))) | st.sampled_from(
    [Case("2.5", lambda _world: 2.5), Case("1e2", lambda _world: 100.0), Case(".5", lambda _world: 0.5)]
)
paths = st.sampled_from(NUMBERS)
numbers = st.recursive(
    literals
    | paths.map(lambda path: Case(path, newest(path)))
    | paths.map(lambda path: Case(f"previous({path})", before(path)))
    | paths.map(lambda path: Case(f"age({path})", age(path))),
    number_cases,
    max_leaves=6,
)
COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda a, b: a == b, "!=": lambda a, b: a != b, "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b, ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
}  # fmt: skip
truths = (
    st.sampled_from(FLAGS).map(lambda path: Case(path, newest(path)))
    | st.sampled_from([*NUMBERS, *FLAGS, STATE, DTCS]).map(lambda path: Case(f"changed({path})", changed(path)))
    | st.booleans().map(lambda flag: Case(str(flag).lower(), lambda _world: flag))
    | st.sampled_from(["OFF", "ON"]).map(
        lambda state: Case(f"{STATE} == '{state}'", strict(lambda value: value == state, Case("", newest(STATE))))
    )
    | st.sampled_from(["P0301", "P0420"]).map(
        lambda code: Case(f'contains({DTCS}, "{code}")', strict(lambda codes: code in codes, Case("", newest(DTCS))))
    )
    | st.tuples(st.sampled_from(list(COMPARE)), numbers, numbers).map(
        lambda drawn: Case(f"{drawn[1].text} {drawn[0]} {drawn[2].text}", strict(COMPARE[drawn[0]], drawn[1], drawn[2]))
    )
)
cases = st.recursive(
    truths,
    lambda inner: (
        st.tuples(st.sampled_from(["and", "or"]), st.lists(inner, min_size=2, max_size=4)).map(
            lambda drawn: kleene(*drawn)
        )
        | inner.map(lambda case: Case(f"not ({case.text})", strict(lambda value: not value, case)))
    ),
    max_leaves=5,
)


def heard(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Heard]:
    return st.builds(Heard, values, st.sampled_from([NOW_MS, NOW_MS - 1500]), st.none() | values)


worlds = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(
            NUMBERS, heard(st.integers(0, 50).map(float) | st.floats(allow_nan=False, allow_infinity=False))
        ),
        **dict.fromkeys(FLAGS, heard(st.booleans())),
        STATE: heard(st.sampled_from(["OFF", "ON", "START"])),
        DTCS: heard(st.lists(st.sampled_from(["P0301", "P0420"]))),
    },
)


def scene(world: World) -> Scene:
    return Scene({catalogue.BY_PATH[path].number: each for path, each in world.items()}, NOW_MS)


def compiled(text: str) -> Condition | ConditionError:
    try:
        return compile_condition(text, Kind.VEHICLE)
    except ConditionError as error:
        return error


@settings(max_examples=250)
@given(cases, worlds)
def test_a_condition_gives_what_an_independent_evaluator_gives(case, world):
    condition = compiled(case.text)
    if isinstance(condition, ConditionError):
        assert "deeper" in str(condition) or "parts" in str(condition), (case.text, condition)
    else:
        assert condition.holds(scene(world)) is case.expect(world), case.text


pieces = st.lists(
    st.sampled_from(
        [*NUMBERS, *FLAGS, STATE, DTCS, "and", "or", "not", "true", "(", ")", "(", ")", "+", "-", "*", "/", "<", "==",
         "!=", ">=", ",", "abs", "min", "changed", "age", "contains", "'ON'", '"', "'", "1", "1e308", "1e999", "0", ".",
         "Station.EVSE.Power", "x", "1x", "\x00", "ä", "__import__", "\n"]
    ),
    max_size=30,
)  # fmt: skip


@settings(max_examples=300)
@given(pieces.map(" ".join) | pieces.map("".join) | st.text(max_size=60), worlds)
@example("(" * 2_000, {})
@example("not " * 400 + "true", {})
@example("-" * 1_500 + "1 < 2", {})
@example("+".join(["1"] * 900) + " > 1", {})
@example(" or ".join(["true"] * 250), {})
@example("true or " * 300 + "true", {})
@example("min(" * 300, {})
@example("1" * 1_900 + " > 0", {})
@example(" " * 3_000, {})
def test_any_text_is_a_condition_or_a_clear_fault(text, world):
    condition = compiled(text)
    if isinstance(condition, ConditionError):
        assert "at character" in str(condition)
    else:
        assert condition.holds(scene(world)) in (True, False, None)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("Vehicle.Sped > 3", "'Vehicle.Sped' is not in the catalogue, at character 1"),
        ("Station.EVSE.Power > 3", "is not a signal of a vehicle"),
        ("Vehicle.Speed", "a condition is true or false, this is a number"),
        ("Vehicle.Speed > 'fast'", "> takes a number, this is a text, at character 17"),
        ("Vehicle.Speed == true", "a number cannot be compared with a boolean"),
        ("Vehicle.LowVoltageSystemState == 'Start'", "is never 'Start', only ["),
        ("Vehicle.IsMoving and Vehicle.Speed", "and takes a boolean, this is a number"),
        ("speed(Vehicle.Speed) > 3", "there is no function 'speed'"),
        ("changed(3 + 4)", "changed takes the path of one signal"),
        ("abs(1, 2) > 0", "abs takes 1 values, not 2"),
        ("1 < 2 < 3", "'<' is not expected here, at character 7"),
        ("Vehicle.IsMoving or", "a value is expected, found 'the end', at character 20"),
        ("(Vehicle.IsMoving", "a ) is expected, found 'the end'"),
        ("Vehicle.IsMoving = true", "'= true' is no part of a condition, at character 18"),
        ("__import__('os')", "there is no function '__import__'"),
        ("x" * 2_001, "2001 characters, limit 2000"),
        ("(" * 100 + "true" + ")" * 100, "nested deeper than 32"),
        ("(" + ",".join("1" for _ in range(300)) + ")", "a ) is expected"),
        ("min(" + ",".join("1" for _ in range(300)) + ") > 0", "more than 256 parts"),
    ],
)
def test_a_fault_says_what_and_where(text, problem):
    with pytest.raises(ConditionError) as caught:
        compile_condition(text, Kind.VEHICLE)
    assert problem in str(caught.value)


def test_operators_bind_as_in_arithmetic_and_logic():
    for text, expected in [
        ("1 + 2 * 3 == 7", True),
        ("10 - 4 - 3 == 3", True),
        ("16 / 4 / 2 == 2", True),
        ("-2 * 3 < 0", True),
        ("true or true and false", True),
        ("not false and false", False),
        ("not 1 > 2", True),
    ]:
        assert compile_condition(text, Kind.VEHICLE).holds(Scene({}, 0)) is expected, text
