"""Calls of Cloud Tasks, repeated until one is answered or time is over."""

from __future__ import annotations

import asyncio
import contextlib
from random import uniform
from time import monotonic
from typing import TYPE_CHECKING, Any

import grpc

from cloudtask.transports.google.errors import Refused, is_retryable

if TYPE_CHECKING:
    from cloudtask.transports.google.channel import Connection, Link
    from cloudtask.transports.google.messages import Metadata

#: Seconds before the first repeat of a call, and the most before any.
_FIRST_DELAY, _MAX_DELAY = 0.1, 2.0


class Calls:
    """
    The calls for one purpose, within one timeout.

    Args:
        link: What they are made over.
        timeout: Seconds for all, from now on.
        may_repeat: Whether a call may be made again whose answer was lost.

    Raises:
        ConfigurationError: See Link.connect().
    """

    def __init__(self, link: Link, timeout: float, *, may_repeat: bool) -> None:
        # First: it may take long, and is not a part of any call.
        link.connect()
        self._link = link
        self._deadline = monotonic() + timeout
        self._may_repeat = may_repeat
        self._delay = _FIRST_DELAY
        self._was_repeated = False

    def make(self, method: str, request: Any, metadata: Metadata) -> Any:
        """
        Call a method, and wait for its answer.

        Raises:
            Refused: It was not carried out, or nobody tells if it was.
        """
        while True:
            connection = self._link.connect()
            call = connection.methods[method]
            try:
                return call(request, timeout=self._find_timeout(), metadata=metadata)
            except grpc.RpcError as error:
                delay = self._choose_delay(connection, error)
            self._link.closing.wait(delay)

    async def amake(self, method: str, request: Any, metadata: Metadata) -> Any:
        """See make()."""
        while True:
            connection = self._link.connect()
            call = connection.methods[method].future(
                request, timeout=self._find_timeout(), metadata=metadata
            )
            try:
                return await _wait_for(call)
            except grpc.RpcError as error:
                delay = self._choose_delay(connection, error)
            await asyncio.sleep(delay)

    def wait(self) -> None:
        """
        Wait a while before another call.

        Raises:
            Refused: It would be too late for one.
        """
        delay = self._next_delay()
        if delay is None:
            raise Refused(grpc.StatusCode.DEADLINE_EXCEEDED, "it takes too long")
        self._link.closing.wait(delay)

    def _find_timeout(self) -> float:
        return max(0.001, self._deadline - monotonic())

    def _choose_delay(self, connection: Connection, error: grpc.RpcError) -> float:
        """
        Seconds until a call is repeated.

        Raises:
            Refused: It is not to be.
        """
        code, details = self._link.explain(connection, error)
        if self._may_repeat and is_retryable(code):
            self._was_repeated = True
            delay = self._next_delay()
            if delay is not None:
                return delay
        raise Refused(code, details, was_repeated=self._was_repeated) from error

    def _next_delay(self) -> float | None:
        """Seconds until another call; None if it is too late for one."""
        delay = uniform(0.5, 1) * self._delay  # noqa: S311 - jitter
        self._delay = min(2 * self._delay, _MAX_DELAY)
        return delay if monotonic() + delay < self._deadline else None


async def _wait_for(call: grpc.Future[Any]) -> Any:
    """Wait for a call without a thread. The call goes on in grpc's own."""
    loop = asyncio.get_running_loop()
    answered = asyncio.Event()

    def wake(_: object) -> None:
        # The loop may be gone when the answer comes.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(answered.set)

    call.add_done_callback(wake)
    try:
        await answered.wait()
    finally:
        call.cancel()
    return call.result()
