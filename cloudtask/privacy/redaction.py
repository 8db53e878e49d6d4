"""Hides the values of arguments that a task declares sensitive."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, time
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Callable

#: Stands for a value that nobody is to see.
MASK = "***"
#: Characters of the shortest value that is looked for in texts. Shorter ones
#: stand there by chance.
MIN_LENGTH = 8


class Sensitive:
    """
    Which arguments of a function nobody is to see.

    Args:
        func: The function.
        names: Names of its parameters, or of keywords that it takes.
        leading: What it gets by position before them: 1 for a request.
    """

    def __init__(
        self, func: Callable[..., Any], names: Sequence[str], leading: int
    ) -> None:
        self._names = frozenset(names)
        parameters = list_parameters(func, leading)
        self._positions = [p.name for p in parameters if p.kind in _POSITIONAL]
        self._keywords = {p.name for p in parameters if p.kind in _BY_KEYWORD}
        self._rest = _name_of(Parameter.VAR_POSITIONAL, parameters)
        self._options = _name_of(Parameter.VAR_KEYWORD, parameters)

    def mask(
        self, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[list[Any], dict[str, Any]]:
        """Arguments as people may see them."""
        return (
            [MASK if self._hides_at(i) else value for i, value in enumerate(args)],
            {k: MASK if self._hides(k) else value for k, value in kwargs.items()},
        )

    def scrub(self, text: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        """A text without the values of these arguments that are sensitive."""
        hidden = [value for i, value in enumerate(args) if self._hides_at(i)]
        hidden += [value for key, value in kwargs.items() if self._hides(key)]
        # A value may be part of another.
        for value in sorted(set(_texts(hidden)), key=len, reverse=True):
            text = text.replace(value, MASK)
        return text

    def _hides_at(self, position: int) -> bool:
        if position < len(self._positions):
            return self._positions[position] in self._names
        return self._hides_further(self._rest)

    def _hides(self, keyword: str) -> bool:
        if keyword in self._names:
            return True
        return keyword not in self._keywords and self._hides_further(self._options)

    def _hides_further(self, name: str | None) -> bool:
        # What has no place in the function today may have had that of a
        # sensitive argument when it was enqueued.
        return name is None or name in self._names


def find_sensitive_problem(
    func: Callable[..., Any], names: object, leading: int
) -> str | None:
    """What is wrong with the names of sensitive arguments, or None."""
    if not isinstance(names, (tuple, list)):
        return f"must be a tuple of the names of arguments, not {names!r}."
    parameters = list_parameters(func, leading) if names else []
    known = [p.name for p in parameters]
    takes_any = _name_of(Parameter.VAR_KEYWORD, parameters) is not None
    for name in names:
        if not isinstance(name, str) or not (name in known or takes_any):
            takes = f"It takes {', '.join(known)}." if known else "It takes none."
            return f"names {name!r}, which is not an argument of it. {takes}"
    return None


_POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_BY_KEYWORD = (Parameter.KEYWORD_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


def list_parameters(func: Callable[..., Any], leading: int) -> list[Parameter]:
    """List the parameters of a function, without those that lead."""
    parameters = list(signature(func).parameters.values())
    positional = [p for p in parameters[:leading] if p.kind in _POSITIONAL]
    return parameters[len(positional) :]


def _name_of(kind: Any, parameters: list[Parameter]) -> str | None:
    return next((p.name for p in parameters if p.kind is kind), None)


def _texts(value: Any) -> Iterator[str]:
    """How what is in a value may stand in a text."""
    if isinstance(value, Mapping):
        value = [*value.keys(), *value.values()]
    if isinstance(value, (list, tuple, set)):
        for each in value:
            yield from _texts(each)
        return
    for text in _plain_texts(value):
        # Messages quote, and escape what they do. A traceback indents lines.
        for each in (text, text.strip(), *text.splitlines(), *_escaped_texts(text)):
            if len(each) >= MIN_LENGTH:
                yield each


def _plain_texts(value: Any) -> Iterator[str]:
    if isinstance(value, bytes):
        yield repr(value)[2:-1]
        yield value.hex()
        yield value.decode(errors="replace")
    else:
        yield str(value)
        if isinstance(value, UUID):
            yield value.hex
        elif isinstance(value, (date, time)):
            yield value.isoformat()
            yield repr(value)  # As in a list.


def _escaped_texts(text: str) -> Iterator[str]:
    yield repr(text)[1:-1]
    yield ascii(text)[1:-1]
    yield json.dumps(text)[1:-1]
    # In paths, in parts of them, and in queries.
    yield quote(text)
    yield quote(text, safe="")
    yield quote_plus(text)


#: Of a task that declares none, and of one that nobody knows.
NOTHING_SENSITIVE = Sensitive(lambda *args, **kwargs: None, (), leading=0)
ALL_SENSITIVE = Sensitive(lambda: None, (), leading=0)
