"""
Work in threads that a cancelled coroutine waits for.

A thread cannot be stopped. What it did has to be recorded, so the coroutine
that waits for it is cancelled afterwards.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")


class Deferral:
    """Holds back the cancellation of a coroutine until its work has ended."""

    def __init__(self) -> None:
        self._cancellation: asyncio.CancelledError | None = None

    async def in_thread(self, function: Callable[[], _T]) -> _T:
        """
        Call a function in a thread, and return or raise what it does.

        Once it has begun, its end is waited for, even if the loop is closing.

        Raises:
            CancelledError: The loop was closing, and it did not begin.
        """
        from asgiref.sync import sync_to_async

        future: Future[_T] = Future()
        # In a task, so that a cancellation does not reach what a function
        # runs on the loop by async_to_sync().
        call = asyncio.ensure_future(sync_to_async(_fulfil)(future, function))
        await self._wait(call)
        if call.cancelled() and not future.cancel():
            # All tasks of the loop are cancelled, and the thread goes on.
            loop = asyncio.get_running_loop()
            await self._wait(loop.run_in_executor(None, wait, [future]))
        try:
            if not call.cancelled():
                call.result()
            if future.cancelled():
                raise asyncio.CancelledError
            return future.result()
        finally:
            # An error would refer to itself through this frame.
            del future

    def let_through(self) -> None:
        """
        Raise the cancellation that was held back, if there was one.

        Raises:
            CancelledError: There was.
        """
        cancellation, self._cancellation = self._cancellation, None
        if cancellation is not None:
            raise cancellation

    async def _wait(self, future: asyncio.Future[Any]) -> None:
        while not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError as cancellation:
                self._cancellation = cancellation


def _fulfil(future: Future[_T], function: Callable[[], _T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(function())
    except BaseException as error:
        future.set_exception(error)
        # It would refer to itself through this frame.
        del future
