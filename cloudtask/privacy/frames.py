"""Keeps values out of the tracebacks of exceptions, which reporters show."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from types import FrameType, TracebackType

#: Packages whose frames between a caller and Cloud Tasks hold what is sent.
_OURS = ("asgiref", "cloudtask", "django.tasks", "django.utils.json", "django_tasks")


def hide_values(error: BaseException, *, of_others: bool) -> None:
    """
    Take local variables out of an exception, which the caller raises again.

    Files, lines and functions of its traceback stay, but for the caller's
    frame. Of what it came from only the exceptions stay.

    Args:
        error: What is handled now.
        of_others: Whether frames of other packages are cleared, too: those of
            gRPC or of a database's driver, but not those of a task.
    """
    traceback = cast("TracebackType", error.__traceback__)
    # Its first frame is the caller's, which is running and cannot be cleared.
    error.__traceback__ = traceback.tb_next
    above: set[int] = set()
    frame = sys._getframe(1).f_back
    while frame is not None:
        above.add(id(frame))
        frame = frame.f_back
    _clear(error.__traceback__, of_others)
    _clear_chain(error, of_others, above, {id(error)})


def _clear(traceback: TracebackType | None, of_others: bool) -> None:
    while traceback is not None:
        if of_others or _is_ours(traceback.tb_frame):
            # One that is suspended cannot be cleared.
            with suppress(RuntimeError):
                traceback.tb_frame.clear()
        traceback = traceback.tb_next


def _clear_chain(
    error: BaseException, of_others: bool, above: set[int], seen: set[int]
) -> None:
    for other in (error.__cause__, error.__context__):
        if other is None or id(other) in seen:
            continue
        seen.add(id(other))
        traceback = other.__traceback__
        if traceback is not None and id(traceback.tb_frame) in above:
            continue  # It was handled when the task was enqueued.
        _clear(traceback, of_others)
        if of_others:
            other.__traceback__ = None
        _clear_chain(other, of_others, above, seen)


def _is_ours(frame: FrameType) -> bool:
    module = f"{frame.f_globals.get('__name__')}."
    return module.startswith(tuple(f"{package}." for package in _OURS))
