"""The parameters of a task, and the arguments that are stored for them."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from inspect import Parameter, Signature
from types import NoneType, SimpleNamespace, UnionType
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin, get_type_hints

from cloudtask.exceptions import InvalidSchedule
from cloudtask.privacy.redaction import list_parameters

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cloudtask.planning.declarations import Schedulable

_BY_KEYWORD = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
_BY_POSITION = (Parameter.POSITIONAL_ONLY, Parameter.VAR_POSITIONAL)


def read_signature(task: Schedulable) -> Signature:
    """Read what a caller of a task may pass."""
    return Signature(list_parameters(task.func, task.leading))


def bind(
    signature: Signature, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Sort arguments by their parameters; None if they do not fit."""
    try:
        return dict(signature.bind(*args, **kwargs).arguments)
    except TypeError:
        return None


def unbind(
    signature: Signature, arguments: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """
    Arrange arguments as a call passes them: by keyword, wherever it can be.

    Raises:
        InvalidSchedule: A further keyword is the name of a parameter.
    """
    parameters = [p for p in signature.parameters.values() if p.name in arguments]
    for parameter in parameters:
        if parameter.kind is Parameter.VAR_KEYWORD:
            _check_further(signature, parameter.name, arguments[parameter.name])
    if any(p.kind in _BY_POSITION for p in parameters):
        bound = inspect.BoundArguments(signature, OrderedDict(arguments))
        # Without the values before it, none finds its position.
        bound.apply_defaults()
        return list(bound.args), bound.kwargs
    named = {p.name: arguments[p.name] for p in parameters}
    for parameter in parameters:
        if parameter.kind is Parameter.VAR_KEYWORD:
            named |= named.pop(parameter.name)
    return [], named


def _check_further(signature: Signature, name: str, further: Mapping[str, Any]) -> None:
    for key in further:
        parameter = signature.parameters.get(key)
        if parameter is not None and parameter.kind in _BY_KEYWORD:
            raise InvalidSchedule(
                f"{name}: {key!r} has a field of its own. Fill in that one."
            )


def is_sensitive(task: Schedulable, signature: Signature, parameter: Parameter) -> bool:
    """Whether nobody is to see what is passed for a parameter."""
    if parameter.name in task.sensitive:
        return True
    # Names that are not parameters are further keywords.
    further = {*task.sensitive} - signature.parameters.keys()
    return parameter.kind is Parameter.VAR_KEYWORD and bool(further)


def read_type(func: Callable[..., Any], annotation: Any) -> tuple[Any, bool]:
    """
    Read the type that a parameter is annotated with.

    Returns:
        The type, and whether None is a value of it, too. An annotation that
        cannot be resolved is `object`.
    """
    holder = SimpleNamespace(__annotations__={"value": annotation})
    try:
        # One by one: a name that only type checkers know spoils no other.
        namespace = inspect.unwrap(func).__globals__
        hint = get_type_hints(holder, namespace)["value"]
    except Exception:
        return object, False
    if get_origin(hint) in (Union, UnionType):
        members = [each for each in get_args(hint) if each is not NoneType]
        if len(members) == 1:
            return members[0], True
    return hint, False
