"""Conditions as text, and as a tree.

    condition   or
    or          and ("or" and)*
    and         not ("and" not)*
    not         "not" not | comparison
    comparison  sum (("==" | "!=" | "<" | "<=" | ">" | ">=") sum)?
    sum         product (("+" | "-") product)*
    product     negative (("*" | "/") negative)*
    negative    "-" negative | atom
    atom        number | text in quotes | "true" | "false" | path | function "(" or ("," or)* ")" | "(" or ")"

A path has at least one dot, which tells it from a function. Limits: characters, nodes, depth.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from wire.collection import CONDITION_CHARS_MAX

DEPTH_MAX: Final = 32
NODES_MAX: Final = 256

_TOKEN: Final = re.compile(
    r"""\s*(?:
        (?P<number>(?:\d{1,18}(?:\.\d{1,18})?|\.\d{1,18})(?:[eE][+-]?\d{1,3})?)(?![\w.])
      | (?P<name>[A-Za-z_]\w*(?:\.\w+)*)
      | (?P<text>'[^'\\]*'|"[^"\\]*")
      | (?P<operator>==|!=|<=|>=|[-<>+*/(),])
    )""",
    re.VERBOSE | re.ASCII,
)
_COMPARISONS: Final = frozenset({"==", "!=", "<", "<=", ">", ">="})
_WORDS: Final = frozenset({"and", "or", "not", "true", "false"})


class ConditionError(Exception):
    """What is wrong with a condition, and at which character (from 0)."""

    def __init__(self, problem: str, at: int) -> None:
        super().__init__(f"{problem}, at character {at + 1}")


@dataclass(frozen=True, slots=True)
class Literal:
    """A number (always float), a text or a truth value."""

    value: float | str | bool
    at: int


@dataclass(frozen=True, slots=True)
class Path:
    """The newest value of a signal."""

    path: str
    at: int


@dataclass(frozen=True, slots=True)
class Operation:
    """An operator (`not`, `negative`, `and`, `or`, comparisons, arithmetic) or a function over its arguments."""

    name: str
    arguments: tuple["Node", ...]
    at: int


Node = Literal | Path | Operation


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


def parse(text: str) -> Node:
    """The tree of a condition. Raises ConditionError."""
    if len(text) > CONDITION_CHARS_MAX:
        raise ConditionError(f"{len(text)} characters, limit {CONDITION_CHARS_MAX}", CONDITION_CHARS_MAX)
    parser = _Parser(_tokens(text))
    node = parser.disjunction()
    parser.end()
    return node


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    position, end = 0, len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            at = position + len(text[position:]) - len(text[position:].lstrip())
            raise ConditionError(f"{text[at : at + 10]!r} is no part of a condition", at)
        kind, word = match.lastgroup, match[match.lastgroup]
        is_word = kind == "name" and word in _WORDS
        tokens.append(_Token("word" if is_word else kind, word, match.start(match.lastgroup)))
        position = match.end()
    return [*tokens, _Token("end", "the end", end)]


class _Parser:
    """Recursive descent; `_depth` bounds the recursion and the height of the tree."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._next = 0
        self._depth = 0
        self._nodes = 0

    def disjunction(self) -> Node:
        return self._joined("or", self._conjunction)

    def end(self) -> None:
        if self._here.kind != "end":
            raise ConditionError(f"{self._here.text!r} is not expected here", self._here.at)

    @property
    def _here(self) -> _Token:
        return self._tokens[self._next]

    def _take(self, *texts: str, kind: str = "operator") -> _Token | None:
        token = self._here
        if token.kind != kind or token.text not in texts:
            return None
        self._next += 1
        return token

    def _made(self, node: Node) -> Node:
        self._nodes += 1
        if self._nodes > NODES_MAX:
            raise ConditionError(f"more than {NODES_MAX} parts", node.at)
        return node

    def _deeper(self, rule: Callable[[], Node]) -> Node:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise ConditionError(f"nested deeper than {DEPTH_MAX}", self._here.at)
        node = rule()
        self._depth -= 1
        return node

    def _joined(self, word: str, rule: Callable[[], Node]) -> Node:
        first = rule()
        parts = [first]
        while self._take(word, kind="word"):
            parts.append(rule())
        return first if len(parts) == 1 else self._made(Operation(word, tuple(parts), first.at))

    def _conjunction(self) -> Node:
        return self._joined("and", self._negation)

    def _negation(self) -> Node:
        token = self._take("not", kind="word")
        if token is None:
            return self._comparison()
        return self._made(Operation("not", (self._deeper(self._negation),), token.at))

    def _comparison(self) -> Node:
        left = self._sum()
        token = self._take(*_COMPARISONS)
        if token is None:
            return left
        return self._made(Operation(token.text, (left, self._sum()), token.at))

    def _sum(self) -> Node:
        return self._chain(("+", "-"), self._product)

    def _product(self) -> Node:
        return self._chain(("*", "/"), self._negative)

    def _chain(self, operators: tuple[str, str], rule: Callable[[], Node]) -> Node:
        node = rule()
        height = 0
        while (token := self._take(*operators)) is not None:
            height += 1
            if self._depth + height > DEPTH_MAX:
                raise ConditionError(f"more than {DEPTH_MAX} operators in a row", token.at)
            node = self._made(Operation(token.text, (node, rule()), token.at))
        return node

    def _negative(self) -> Node:
        token = self._take("-")
        if token is None:
            return self._atom()
        return self._made(Operation("negative", (self._deeper(self._negative),), token.at))

    def _atom(self) -> Node:
        token = self._here
        self._next += token.kind != "end"
        if token.kind == "number":
            return self._made(Literal(float(token.text), token.at))
        if token.kind == "text":
            return self._made(Literal(token.text[1:-1], token.at))
        if token.kind == "word" and token.text in ("true", "false"):
            return self._made(Literal(token.text == "true", token.at))
        if token.kind == "name" and "." in token.text:
            return self._made(Path(token.text, token.at))
        if token.kind == "name":
            return self._call(token)
        if token.text == "(" and token.kind == "operator":
            inner = self._deeper(self.disjunction)
            self._close()
            return inner
        raise ConditionError(f"a value is expected, found {token.text!r}", token.at)

    def _call(self, name: _Token) -> Node:
        if self._take("(") is None:
            raise ConditionError(f"{name.text!r} is neither a path nor followed by (", name.at)
        arguments = [self._deeper(self.disjunction)]
        while self._take(","):
            arguments.append(self._deeper(self.disjunction))
        self._close()
        return self._made(Operation(name.text, tuple(arguments), name.at))

    def _close(self) -> None:
        if self._take(")") is None:
            raise ConditionError(f"a ) is expected, found {self._here.text!r}", self._here.at)
