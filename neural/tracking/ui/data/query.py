"""The filter of the table: ``lr < 0.01 and status == "completed"``. It has its own grammar and no ``eval``.

- comparisons ``== != < <= > >= contains in``, chained as in ``0.001 < lr <= 0.1``
- ``and``, ``or``, ``not``, brackets
- names: ``name id status group tags notes duration calls``, a parameter (``optimizer.name``), a metric
  (``val/loss``: its last value; also ``val/loss.min``, ``.max``, ``.last``); other names in backticks
- a single word searches name, id, group and tags for that text
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from neural.tracking.errors import QueryError
from neural.tracking.ui.data.catalogue import Row

MAX_LENGTH = 1000
MAX_DEPTH = 40

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w/]))
    | (?P<text>"[^"]*"|'[^']*')
    | (?P<odd>`[^`]+`)
    | (?P<op>==|!=|<=|>=|=|<|>|\(|\))
    | (?P<word>[^\s()<>=!"'`]+)
    )""",
    re.VERBOSE,
)
_COMPARISONS = frozenset(("==", "!=", "<", "<=", ">", ">=", "contains", "in"))
_CONSTANTS = {"true": True, "false": False, "none": None}

Test = Callable[[Row], Any]


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


def compile_query(text: str) -> Callable[[Row], bool]:
    """Return a function that returns whether a row passes the filter.

    Raises:
        QueryError: the filter is too long or too deep, or has a syntax error.
    """
    if not text.strip():
        return lambda row: True
    if len(text) > MAX_LENGTH:
        raise QueryError(f"the filter has {len(text)} characters; the limit is {MAX_LENGTH}")
    parser = _Parser(_tokens(text))
    test = parser.parse_or(0)
    if (left := parser.peek()) is not None:
        raise QueryError(f"unexpected {left.text!r} at character {left.at + 1}; join conditions with and, or")
    return lambda row: bool(test(row))


def _tokens(text: str) -> list[_Token]:
    tokens, at = [], 0
    text = text.rstrip()
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None or found.lastgroup is None:
            raise QueryError(f"cannot read {text[at:].strip()[:20]!r} at character {at + 1}")
        kind = found.lastgroup
        tokens.append(_Token(kind, found[kind], found.start(kind)))
        at = found.end()
    return tokens


class _Parser:
    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._at = 0

    def peek(self) -> _Token | None:
        """Return the next token; None at the end."""
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _is(self, *words: str) -> str | None:
        token = self.peek()
        if token is None or token.kind not in ("op", "word") or token.text.lower() not in words:
            return None
        return token.text.lower()

    def parse_or(self, depth: int) -> Test:
        """Parse conditions joined by ``or``; raises QueryError."""
        return self._joined("or", self.parse_and, any, depth)

    def parse_and(self, depth: int) -> Test:
        """Parse conditions joined by ``and``; raises QueryError."""
        return self._joined("and", self.parse_not, all, depth)

    def _joined(
        self, word: str, part: Callable[[int], Test], how: Callable[[Iterable[Any]], bool], depth: int
    ) -> Test:
        parts = [part(depth)]
        while self._is(word):
            self._at += 1
            parts.append(part(depth))
        return parts[0] if len(parts) == 1 else lambda row: how(test(row) for test in parts)

    def parse_not(self, depth: int) -> Test:
        """Parse a condition, with or without ``not``; raises QueryError."""
        if depth > MAX_DEPTH:
            raise QueryError(f"the filter is nested too deeply; the limit is {MAX_DEPTH} levels")
        if not self._is("not"):
            return self._comparison(depth)
        self._at += 1
        test = self.parse_not(depth + 1)
        return lambda row: not test(row)

    def _comparison(self, depth: int) -> Test:
        if self._is("("):
            self._at += 1
            test = self.parse_or(depth + 1)
            if not self._is(")"):
                raise QueryError("a bracket is not closed")
            self._at += 1
            return test
        values, signs = [self._operand()], []
        while (sign := self._is("=", *_COMPARISONS)) is not None:
            self._at += 1
            signs.append("==" if sign == "=" else sign)
            values.append(self._operand())
        if not signs:
            return _word_test(values[0])
        steps = list(zip(values, signs, values[1:], strict=False))
        return lambda row: all(_holds(left.of(row), sign, right.of(row)) for left, sign, right in steps)

    def _operand(self) -> _Operand:
        token = self.peek()
        if token is None:
            raise QueryError("the filter ends where a name or a value must follow")
        if token.kind == "op" or self._is("and", "or", "not", *_COMPARISONS):
            raise QueryError(
                f"expected a name or a value instead of {token.text!r} at character {token.at + 1}"
            )
        self._at += 1
        if token.kind == "number":
            return _Operand(token.text, float(token.text), is_name=False)
        if token.kind == "text":
            return _Operand(token.text[1:-1], token.text[1:-1], is_name=False)
        if token.kind == "word" and token.text.lower() in _CONSTANTS:
            return _Operand(token.text, _CONSTANTS[token.text.lower()], is_name=False)
        return _Operand(token.text.strip("`"), None, is_name=True)


class _Operand(NamedTuple):
    text: str
    value: Any
    is_name: bool

    def of(self, row: Row) -> Any:
        """Return the value of the operand for a row; None if the row has none."""
        return lookup(row, self.text) if self.is_name else self.value


_OWN: dict[str, Callable[[Row], Any]] = {
    "name": lambda row: row.name,
    "id": lambda row: row.id,
    "status": lambda row: row.status,
    "group": lambda row: row.group,
    "tags": lambda row: row.tags,
    "tag": lambda row: row.tags,
    "notes": lambda row: row.notes,
    "duration": lambda row: row.duration_s,
    "calls": lambda row: row.calls,
    "started": lambda row: row.start,
}
OWN_NAMES = frozenset(_OWN)


def lookup(row: Row, name: str) -> Any:
    """Return the value of a name for a row: a field, a parameter or a metric; None if it is none of these."""
    if name in _OWN:
        return _OWN[name](row)
    if name in row.params:
        return row.params[name]
    for metric in (name, name.removeprefix("metrics.")):
        if metric in row.metrics:
            return number(row.metrics[metric].get("last"))
        head, _, tail = metric.rpartition(".")
        if tail in ("last", "min", "max") and head in row.metrics:
            return number(row.metrics[head].get(tail))
    return row.params.get(name.removeprefix("params."))


def number(value: Any) -> Any:
    """Return a value of a metric as a number: in summaries NaN and infinities are text."""
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return value


def _word_test(operand: _Operand) -> Test:
    """Return the test of a single word: whether a parameter or metric with this name is true, or a search."""
    wanted = operand.text.lower()

    def test(row: Row) -> bool:
        if operand.is_name and (value := lookup(row, operand.text)) is not None and operand.text not in _OWN:
            return bool(value)
        return any(wanted in str(text).lower() for text in (row.name, row.id, row.group or "", *row.tags))

    return test


def _holds(left: Any, sign: str, right: Any) -> bool:
    if sign == "contains":
        return _within(right, left)
    if sign == "in":
        return _within(left, right)
    if isinstance(left, tuple) or isinstance(right, tuple):  # tags: any of them
        many, one = (left, right) if isinstance(left, tuple) else (right, left)
        return (one in many) == (sign == "==") if sign in ("==", "!=") else False
    left, right = _alike(left, right)
    if sign == "==":
        return bool(left == right)
    if sign == "!=":
        return bool(left != right)
    try:
        return bool(
            {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[sign]
        ) and not (isinstance(left, float) and math.isnan(left))
    except TypeError:
        return False  # a value is missing, or a text is compared with a number


def _within(needle: Any, stack: Any) -> bool:
    if stack is None or needle is None:
        return False
    if isinstance(stack, tuple | list):
        return any(_alike(item, needle)[0] == _alike(item, needle)[1] for item in stack)
    return str(needle).lower() in str(stack).lower()


def _alike(left: Any, right: Any) -> tuple[Any, Any]:
    """Return both as numbers if one is a number and the other is a text with a number."""
    for one, other, turned in ((left, right, False), (right, left, True)):
        if isinstance(one, int | float) and not isinstance(one, bool) and isinstance(other, str):
            try:
                other = float(other)
            except ValueError:
                pass
            return (other, one) if turned else (one, other)
    return left, right
