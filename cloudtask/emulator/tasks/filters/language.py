"""
The filters of ListQueues.

The language is that of Cloud Logging, as far as it makes sense for queues:

    state=PAUSED OR (name:mails -rateLimits.maxDispatchesPerSecond > 5)

A comparison is a field, one of `= != < <= > >= :` and a value, in quotes if it
is more than a word. `:` asks whether a string contains the value or, if that
is `*`, whether the field is set. What is not set matches no comparison.
Strings are compared whatever their case. NOT or `-` binds closer than OR, and
OR closer than AND, which may be left out.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from google.cloud import tasks_v2

from cloudtask.emulator.values import fields, instants
from cloudtask.emulator.values.errors import ApiError, invalid_argument, quote
from cloudtask.emulator.values.instants import SECOND

#: Longest filter, in characters.
MAX_LENGTH = 20_000
#: How many parentheses may be open at once.
MAX_DEPTH = 50

Predicate = Callable[[Any], bool]


class _Token(NamedTuple):
    kind: str  # "word", "string", "operator", "parenthesis" or "end".
    text: str


class _Values(NamedTuple):
    """How the values of one type of field are compared."""

    expected: str  # What is to be written in a filter.
    parse: Callable[[str], Any]  # From the filter; raises ValueError.
    read: Callable[[Any], Any]  # From the queue.
    has: Callable[[Any, Any], bool] = operator.eq  # The operator `:`.


_TOKEN = re.compile(
    r"""\s*(?:
        (?P<operator><=|>=|!=|[=<>:])
        | (?P<parenthesis>[()])
        | (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
        | (?P<word>[^\s()<>=!:"']+)
    )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_OPEN = _Token("parenthesis", "(")
_CLOSE = _Token("parenthesis", ")")
_AND = _Token("word", "AND")
_OR = _Token("word", "OR")
_NOT = _Token("word", "NOT")
_END = _Token("end", "")

_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

_QUEUE: Any = tasks_v2.Queue.pb().DESCRIPTOR
_TYPE_STRING = _QUEUE.fields_by_name["name"].type


def parse_filter(text: str) -> Predicate:
    """
    Return what a filter says of a queue's message; an empty one takes all.

    Raises:
        ApiError: The filter is not valid. The message says what is wrong.
    """
    if len(text) > MAX_LENGTH:
        raise _refusal(f"it is longer than {MAX_LENGTH} characters")
    tokens = [*_tokens(text), _END]
    return _Parser(tokens).parse() if len(tokens) > 1 else lambda _: True


def _tokens(text: str) -> Iterator[_Token]:
    text = text.strip()
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise _refusal(f"{quote(text[position:].lstrip())} cannot be read")
        kind = str(match.lastgroup)
        yield _Token(kind, match[kind])
        position = match.end()


class _Parser:
    """Recursive descent; each method takes the tokens of what it returns."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._position = 0
        self._depth = 0

    def parse(self) -> Predicate:
        """Return what all of the tokens say."""
        predicate = self._conjunction()
        self._take("AND, OR or the end", "end")
        return predicate

    def _conjunction(self) -> Predicate:
        parts = [self._disjunction()]
        while self._accept(_AND) or self._current not in (_CLOSE, _END):
            parts.append(self._disjunction())
        return lambda queue: all(part(queue) for part in parts)

    def _disjunction(self) -> Predicate:
        parts = [self._term()]
        while self._accept(_OR):
            parts.append(self._term())
        return lambda queue: any(part(queue) for part in parts)

    def _term(self) -> Predicate:
        is_negated = self._accept(_NOT) or self._accept_minus()
        operand = self._group() if self._accept(_OPEN) else self._comparison()
        return (lambda queue: not operand(queue)) if is_negated else operand

    def _group(self) -> Predicate:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _refusal(f"more than {MAX_DEPTH} parentheses are open at once")
        predicate = self._conjunction()
        self._take("AND, OR or ')'", "parenthesis")  # None but ) is left here.
        self._depth -= 1
        return predicate

    def _comparison(self) -> Predicate:
        path = self._take("a field", "word")
        sign = self._take("an operator", "operator")
        value = self._take("a value", "word", "string")
        return _comparison(path.text, sign.text, value)

    @property
    def _current(self) -> _Token:
        return self._tokens[self._position]

    def _accept(self, token: _Token) -> bool:
        is_here = self._current == token
        self._position += is_here
        return is_here

    def _accept_minus(self) -> bool:
        # Only a term begins with one: elsewhere it is part of a word.
        kind, text = self._current
        if kind != "word" or not text.startswith("-"):
            return False
        if text == "-":
            self._position += 1
        else:
            self._tokens[self._position] = _Token(kind, text[1:])
        return True

    def _take(self, expected: str, *kinds: str) -> _Token:
        token = self._current
        if token.kind not in kinds:
            found = quote(token.text) if token != _END else "the end"
            raise _refusal(f"{expected} is missing before {found}")
        self._position += 1
        return token


def _comparison(path: str, sign: str, value: _Token) -> Predicate:
    found = fields.resolve(_QUEUE, path)
    if found is None:
        raise _refusal(f"{quote(path)} is not a field of a queue")
    if (sign, value) == (":", ("word", "*")):
        return _presence(found)
    values = _find_values(found[-1])
    if values is None:
        raise _refusal(f"{quote(path)} has fields of its own, compare one of them")
    text = _unquote(value)
    try:
        wanted = values.parse(text)
    except (ValueError, OverflowError):
        raise _refusal(
            f"{quote(path)} takes {values.expected}, not {quote(text)}"
        ) from None
    compare = _COMPARISONS.get(sign, values.has)
    return lambda queue: any(
        compare(values.read(item), wanted) for item in _items(queue, found)
    )


def _presence(path: Sequence[Any]) -> Predicate:
    # A field without presence counts as set unless it has its default.
    always = path[-1].has_presence
    return lambda queue: any(always or item for item in _items(queue, path))


def _items(message: Any, path: Sequence[Any]) -> Iterator[Any]:
    """Return the values at a path: several if there is a list on the way."""
    field, *rest = path
    if field.has_presence and not message.HasField(field.name):
        return
    value = getattr(message, field.name)
    for item in value if fields.is_list_of_messages(field) else [value]:
        if rest:
            yield from _items(item, rest)
        else:
            yield item


def _find_values(field: Any) -> _Values | None:
    if field.message_type is not None:
        return _VALUES_OF_MESSAGES.get(field.message_type.full_name)
    if field.enum_type is not None:
        return _enum_values(field.enum_type)
    return _STRINGS if field.type == _TYPE_STRING else _NUMBERS


def _enum_values(enum: Any) -> _Values:
    numbers: dict[str, int] = {value.name: value.number for value in enum.values}

    def parse(text: str) -> int:
        if text.upper() not in numbers:
            raise ValueError
        return numbers[text.upper()]

    return _Values(f"one of {', '.join(numbers)}", parse, int)


def _parse_duration(text: str) -> int:
    return round(float(text.removesuffix("s")) * SECOND)


def _parse_timestamp(text: str) -> int:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return instants.from_datetime(moment)


_STRINGS = _Values("text", str.casefold, str.casefold, operator.contains)
_NUMBERS = _Values("a number", float, float)
_VALUES_OF_MESSAGES = {
    "google.protobuf.Duration": _Values(
        "seconds, as 1.5s", _parse_duration, instants.read
    ),
    "google.protobuf.Timestamp": _Values(
        'a quoted time, as "2026-01-31T12:00:00Z"', _parse_timestamp, instants.read
    ),
}


def _unquote(token: _Token) -> str:
    if token.kind == "word":
        return token.text
    return _ESCAPE.sub(r"\1", token.text[1:-1])


def _refusal(problem: str) -> ApiError:  # Unconfirmed wording.
    return invalid_argument(f"Invalid filter: {problem}.")
