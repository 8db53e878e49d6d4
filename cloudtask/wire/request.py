"""What one dispatch says of itself: the request that task code receives."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from operator import index
from time import monotonic
from typing import TYPE_CHECKING, Any

from cloudtask.wire.arming import read_arming
from cloudtask.wire.headers import REARM_HEADER
from cloudtask.wire.limits import MAX_TASK_ID_LENGTH

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.http import HttpRequest
    from django.http.request import HttpHeaders

_COUNT = re.compile(r"[0-9]{1,9}", re.ASCII)
_STATUS = re.compile(r"[1-5][0-9]{2}", re.ASCII)
_ETA = re.compile(r"([0-9]{1,11})(?:\.([0-9]{1,9}))?", re.ASCII)
_NAME = re.compile(rf"[A-Za-z0-9_-]{{1,{MAX_TASK_ID_LENGTH}}}", re.ASCII)
#: W3C's `00-TRACE-SPAN-01`, and Google's `TRACE/SPAN;o=1`.
_TRACES = {
    "HTTP_TRACEPARENT": re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-.{1,100}", re.ASCII),
    "HTTP_X_CLOUD_TRACE_CONTEXT": re.compile(r"([0-9a-f]{32})(?:/.{0,100})?", re.ASCII),
}

#: What is not part of a line.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
#: The largest number that a database has a column for.
_MAX_AMOUNT = 2**63 - 1

_PREFIX = "HTTP_X_CLOUDTASKS_"
_REARM = "HTTP_" + REARM_HEADER.upper().replace("-", "_")


class Hold:
    """An attempt's hold on its task, as its code may use it. This is none."""

    @property
    def is_cancelled(self) -> bool:
        """Whether the task is to stop: cancelled, or another worker's now."""
        return False

    def look(self) -> bool:
        """See `is_cancelled`, as it is at this moment."""
        return self.is_cancelled

    def progress(self, done: int, total: int | None, message: str) -> None:
        """Note how far the task is."""


_NO_HOLD = Hold()


class CloudTaskRequest:
    """
    The first argument of every task.

    Executed in place there is no HTTP request: `request` is None, `headers`
    is empty, and the attempt is the first and the last.

    Attributes:
        id: The task's own id; the same over all attempts.
        request: The HTTP request that dispatched it.
        attempt: 1 is the first. Those before the task was re-armed count.
        arming: Which alarm of the task this is.
        last_attempt: After which no other follows; None where the queue
            decides.
        deadline: Time for this attempt; None where nothing waits for it.
        run_once: Whether the task never runs again once it began.
    """

    # Headers are read when task code asks for them: most never does.
    __slots__ = (
        "_hold",
        "_meta",
        "_started",
        "arming",
        "attempt",
        "deadline",
        "id",
        "last_attempt",
        "request",
        "run_once",
    )

    def __init__(
        self,
        *,
        id: str,  # noqa: A002 - the attribute's name
        meta: Mapping[str, Any] | None = None,
        request: HttpRequest | None = None,
        last_attempt: int | None = None,
        deadline: timedelta | None = None,
        run_once: bool = False,
    ) -> None:
        self._meta = meta or {}
        self._hold = _NO_HOLD
        self._started = monotonic()
        self.id = id
        self.request = request
        self.arming = read_arming(str(self._meta.get(_REARM, "")))
        retries = _count(self._header("TASKRETRYCOUNT"))
        self.attempt = self.arming.attempts + retries + 1
        self.last_attempt = last_attempt
        self.deadline = deadline
        self.run_once = run_once

    def __repr__(self) -> str:
        return (
            f"<CloudTaskRequest id={self.id} attempt={self.attempt} "
            f"queue={self.queue} task_name={self.task_name}>"
        )

    @property
    def headers(self) -> HttpHeaders:
        """HTTP headers, by name in any case."""
        from django.http.request import HttpHeaders

        return HttpHeaders(self._meta)

    @property
    def task_name(self) -> str | None:
        """The task's id at Cloud Tasks."""
        return _match(_NAME, self._header("TASKNAME"))

    @property
    def queue(self) -> str | None:
        """The queue's name, without its path."""
        return _match(_NAME, self._header("QUEUENAME"))

    @property
    def eta(self) -> datetime | None:
        """When this attempt was due. Aware, in UTC."""
        match = _ETA.fullmatch(self._header("TASKETA"))
        if match is None:
            return None
        microseconds = int((match[2] or "0").ljust(6, "0")[:6])
        since_epoch = timedelta(seconds=int(match[1]), microseconds=microseconds)
        return datetime(1970, 1, 1, tzinfo=UTC) + since_epoch

    @property
    def previous_response(self) -> int | None:
        """HTTP status of the attempt before; 504 after a missed deadline."""
        status = _match(_STATUS, self._header("TASKPREVIOUSRESPONSE"))
        return int(status) if status else None

    @property
    def trace_id(self) -> str | None:
        """The trace that this dispatch belongs to: 128 bits in hex."""
        for header, pattern in _TRACES.items():
            match = pattern.fullmatch(str(self._meta.get(header, "")))
            if match is not None:
                return match[1]
        return None

    @property
    def is_last_attempt(self) -> bool:
        """
        Whether no attempt follows when this one fails.

        Only the task's own policy is known here: with the queue's, this
        stays False.
        """
        return self.last_attempt is not None and self.attempt >= self.last_attempt

    @property
    def cancelled(self) -> bool:
        """
        Whether this task is to stop: it was cancelled, or its lease lost.

        Known a few seconds late. Always False without `cloudtask.results`.
        """
        return self._hold.is_cancelled

    def check_cancelled(self) -> bool:
        """See `cancelled`, asking the database now."""
        return self._hold.look()

    async def acheck_cancelled(self) -> bool:
        """See check_cancelled()."""
        from asgiref.sync import sync_to_async

        return await sync_to_async(self._hold.look)()

    def progress(self, done: int, total: int | None = None, message: str = "") -> None:
        """
        Note how far this task is, for the admin and for whoever waits.

        Written at most once a second, and at the end. Kept by
        `cloudtask.results` alone.

        Args:
            done: How much is done: a whole number, from 0 to 2**63 - 1.
            total: Of how much, likewise; None where that is not known.
            message: One line. Its control characters are escaped.

        Raises:
            TypeError: A number is not whole, or the message is not a text.
            ValueError: A number is negative, or too large.
        """
        counted = None if total is None else _amount("total", total)
        if not isinstance(message, str):
            raise TypeError(
                f"progress(message=) takes a text, not {type(message).__name__}"
            )
        self._hold.progress(_amount("done", done), counted, _one_line(message))

    def set_hold(self, hold: Hold) -> None:
        """Say what holds the task; called before its code is."""
        self._hold = hold

    def remaining(self) -> timedelta | None:
        """Time until Cloud Tasks gives this attempt up, never negative."""
        if self.deadline is None:
            return None
        spent = timedelta(seconds=monotonic() - self._started)
        return max(timedelta(0), self.deadline - spent)

    def _header(self, name: str) -> str:
        return str(self._meta.get(_PREFIX + name, ""))


def _amount(name: str, value: Any) -> int:
    try:
        if isinstance(value, bool):
            raise TypeError
        number = index(value)
    except TypeError:
        raise TypeError(
            f"progress({name}=) takes a whole number, not {type(value).__name__}"
        ) from None
    if not 0 <= number <= _MAX_AMOUNT:
        raise ValueError(f"progress({name}=) takes a number from 0 to 2**63 - 1")
    return number


def _one_line(message: str) -> str:
    """A message whose control characters are escaped."""
    return _CONTROLS.sub(lambda match: ascii(match[0])[1:-1], message)


def _count(text: str) -> int:
    # Whatever else a header may hold, int() would take too much of it.
    return int(text) if _COUNT.fullmatch(text) else 0


def _match(pattern: re.Pattern[str], text: str) -> str | None:
    return text if pattern.fullmatch(text) else None
