"""Keeps values out of the tracebacks of exceptions, which reporters show."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType, TracebackType

#: Packages whose frames between a caller and Cloud Tasks hold what is sent.
_OURS = ("asgiref", "cloudtask", "django.tasks", "django.utils.json", "django_tasks")


class hide_values:  # noqa: N801 - used as a function is
    """
    A context that takes local variables out of what is raised within it.

    Files, lines and functions of the traceback stay, but for the frame that
    has the context. Of causes and contexts that came up within it only the
    exceptions stay.

    Args:
        of_others: Whether frames of other packages are cleared, too: those of
            gRPC or of a database's driver, but not those of a task.
    """

    __slots__ = ("_before", "_of_others")

    def __init__(self, *, of_others: bool) -> None:
        self._of_others = of_others

    def __enter__(self) -> None:
        # What the caller handles meanwhile is the caller's.
        self._before = sys.exception()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None or traceback is None:
            return
        # The first frame is still running, and cannot be cleared.
        error.__traceback__ = traceback.tb_next
        self._clear(traceback.tb_next)
        self._clear_chain(error, {id(self._before), id(error)})

    def _clear(self, traceback: TracebackType | None) -> None:
        while traceback is not None:
            if self._of_others or _is_ours(traceback.tb_frame):
                # One that is suspended cannot be cleared.
                with suppress(RuntimeError):
                    traceback.tb_frame.clear()
            traceback = traceback.tb_next

    def _clear_chain(self, error: BaseException, seen: set[int]) -> None:
        for other in (error.__cause__, error.__context__):
            if other is None or id(other) in seen:
                continue
            seen.add(id(other))
            self._clear(other.__traceback__)
            if self._of_others:
                other.__traceback__ = None
            self._clear_chain(other, seen)


def _is_ours(frame: FrameType) -> bool:
    module = f"{frame.f_globals.get('__name__')}."
    return module.startswith(tuple(f"{package}." for package in _OURS))
