"""Which functions can be tasks, and what arguments they take."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from cloudtask.exceptions import InvalidTask
from cloudtask.privacy.redaction import find_sensitive_problem

if TYPE_CHECKING:
    from collections.abc import Callable


class Arguments:
    """
    The arguments of a task: its function's, the request left out.

    Raises:
        InvalidTask: The function cannot be a task.
    """

    def __init__(self, path: str, func: Callable[..., Any]) -> None:
        self._path = path
        self._signature = _task_signature(func)
        self._simple = _simple_calls(self._signature)

    def check(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """
        Refuse what the function would refuse.

        Raises:
            TypeError: An argument is missing or unknown.
        """
        if len(args) < len(self._simple):
            # Binding takes four times as long, and most calls are simple.
            required, accepted = self._simple[len(args)]
            if required <= kwargs.keys() <= accepted:
                return
        self._bind(args, kwargs)

    def by_name(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments by parameter and keyword, defaults filled in."""
        bound = self._bind(args, kwargs)
        bound.apply_defaults()
        _, *parameters = self._signature.parameters.values()
        named = {p.name: bound.arguments[p.name] for p in parameters}
        if parameters and parameters[-1].kind is inspect.Parameter.VAR_KEYWORD:
            named |= named.pop(parameters[-1].name)
        return named

    def _bind(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> inspect.BoundArguments:
        try:
            return self._signature.bind(None, *args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self._path}(): {error}") from None


def check_sensitive(func: Callable[..., Any], names: object) -> None:
    """
    Check the names of the arguments whose values nobody sees.

    Raises:
        InvalidTask: The function has no such argument, or cannot be a task.
    """
    if not names:
        return
    _task_signature(func)
    problem = find_sensitive_problem(func, names, leading=1)
    if problem is not None:
        path = f"{func.__module__}.{func.__qualname__}"
        raise InvalidTask(f"{path}: sensitive= {problem}")


def _simple_calls(
    signature: inspect.Signature,
) -> list[tuple[frozenset[str], frozenset[str]]]:
    """
    What keywords must and may follow, by the number of positional arguments.

    Empty for a function with other than plain parameters.
    """
    request, *parameters = signature.parameters.values()
    plain = inspect.Parameter.POSITIONAL_OR_KEYWORD
    if any(p.kind is not plain for p in parameters) or request.kind is (
        inspect.Parameter.VAR_POSITIONAL
    ):
        return []
    return [
        (
            frozenset(p.name for p in parameters[given:] if p.default is p.empty),
            frozenset(p.name for p in parameters[given:]),
        )
        for given in range(len(parameters) + 1)
    ]


def _task_signature(func: Callable[..., Any]) -> inspect.Signature:
    if not inspect.isfunction(func):
        raise InvalidTask(f"@task decorates functions, not {func!r}.")
    if inspect.isgeneratorfunction(func) or inspect.isasyncgenfunction(func):
        raise InvalidTask(f"@task: {func.__qualname__} is a generator.")
    signature = inspect.signature(func)
    first = next(iter(signature.parameters.values()), None)
    if first is None or first.kind not in (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.VAR_POSITIONAL,
    ):
        raise InvalidTask(
            f"@task: {func.__qualname__} must take the CloudTaskRequest first, "
            "as in def add(request, a, b)."
        )
    return signature
