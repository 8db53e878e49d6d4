"""Calls the function of a task, from code of either colour."""

from __future__ import annotations

from functools import partial
from inspect import isasyncgen, iscoroutine, isgenerator
from typing import TYPE_CHECKING, Any

from asgiref.sync import async_to_sync, sync_to_async

if TYPE_CHECKING:
    from cloudtask.dispatch.attempts import Definition

# A task's arguments may have any name, those of parameters here included.


def call(definition: Definition, /, *args: Any, **kwargs: Any) -> Any:
    """Call the function from synchronous code."""
    if not definition.is_async:
        return _call_sync(definition, *args, **kwargs)
    return async_to_sync(partial(_call_async, definition, *args, **kwargs))()


async def acall(definition: Definition, /, *args: Any, **kwargs: Any) -> Any:
    """Call the function from a running loop, which it never blocks."""
    if definition.is_async:
        return await _call_async(definition, *args, **kwargs)
    return await sync_to_async(partial(_call_sync, definition, *args, **kwargs))()


def _call_sync(definition: Definition, /, *args: Any, **kwargs: Any) -> Any:
    return _check_value(definition, definition.func(*args, **kwargs))


async def _call_async(definition: Definition, /, *args: Any, **kwargs: Any) -> Any:
    return _check_value(definition, await definition.func(*args, **kwargs))


def _check_value(definition: Definition, value: Any) -> Any:
    """What the function returned, unless its work has yet to begin."""
    if isgenerator(value) or isasyncgen(value) or isinstance(value, (map, filter)):
        kind = type(value).__name__.removeprefix("async_")
        raise TypeError(
            f"{definition.path} returned a {kind}, of which nothing has run. "
            "Return a list, or loop over it in the task."
        )
    if iscoroutine(value):
        # It would count as done, and nothing of it has run.
        value.close()
        raise TypeError(
            f"{definition.path} returned a coroutine: a decorator hides that it is "
            "`async def`. Make the decorator's wrapper `async def`, too."
        )
    return value
