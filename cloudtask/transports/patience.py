"""How long one caller waits for several calls."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from cloudtask.exceptions import EnqueueError
from cloudtask.privacy.frames import hide_values

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

_R = TypeVar("_R")


class Patience:
    """
    Makes calls until those without an answer have taken too long together.

    So an outage costs one timeout, however many calls there are to make. What
    is answered, or refused at once, holds up nothing.

    Args:
        wait: For all calls that are not answered.
    """

    def __init__(self, wait: timedelta) -> None:
        self._seconds = wait.total_seconds()
        # With less, a call has no fair chance of an answer. Repeats of one
        # call end before its timeout, and after this.
        self._least = self._seconds / 2
        self._outage: EnqueueError | None = None

    def ask(self, call: Callable[[float], _R]) -> _R | EnqueueError:
        """
        What a call returns, or its error, or the one that ended it all.

        Args:
            call: It is given the seconds that are left for it.
        """
        if self._outage is not None:
            return self._outage
        started = monotonic()
        try:
            return call(self._seconds)
        except EnqueueError as error:
            # It is kept, and may be raised elsewhere.
            hide_values(error, of_others=True)
            if error.retryable:
                self._seconds -= monotonic() - started
                self._outage = error if self._seconds <= self._least else None
            return error
