"""The methods of the API, whichever way a request came in."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from cloudtask.emulator.tasks import names
from cloudtask.emulator.tasks.api import queue_calls, task_calls
from cloudtask.emulator.tasks.iam import calls as policy_calls
from cloudtask.emulator.tasks.locations import calls as locations_calls
from cloudtask.emulator.tasks.model import tasks

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloudtask.emulator.clock import Clock
    from cloudtask.emulator.storage.commits import Commits
    from cloudtask.emulator.tasks.engine.engine import Engine
    from cloudtask.emulator.tasks.engine.live_queues import QueueFigures
    from cloudtask.emulator.tasks.faults import Faults
    from cloudtask.emulator.tasks.model.dispatch import Dispatch

_CALLS = {
    **queue_calls.CALLS,
    **task_calls.CALLS,
    **locations_calls.CALLS,
    **policy_calls.CALLS,
}
# The fields by which the service routes a call, and in whose project it looks
# for the caller's permissions.
_RESOURCE_FIELDS = ("parent", "name", "resource")


class Api:
    """
    The methods of Cloud Tasks over an engine, on its event loop.

    Args:
        engine: Where queues and tasks are.
        commits: Keeps what the engine did.
        clock: Tells the time.
        faults: What is to go wrong on purpose.
        changed: Called after every call that may have changed something.
        send: Sends what RunTask dispatches.
    """

    def __init__(
        self,
        engine: Engine,
        commits: Commits,
        clock: Clock,
        faults: Faults,
        *,
        changed: Callable[[], object],
        send: Callable[[Dispatch], object],
    ) -> None:
        self._engine = engine
        self._commits = commits
        self._clock = clock
        self._faults = faults
        self._changed = changed
        self._send = send

    async def call(self, method: str, request: Any) -> Any:
        """
        Carry out a call and return its response once it is kept.

        Args:
            method: A name in METHODS.
            request: The raw protobuf, which may be changed.

        Raises:
            ApiError: The call is refused, or a fault is to happen.
        """
        if method == "RunTask":
            # What is counted as sent is sent, even if the caller gives up.
            return await asyncio.shield(self._run_task(request))
        carry_out = _CALLS[method]
        return await self._carry_out(
            method,
            _resource(request),
            lambda now: carry_out(self._engine, request, now),
        )

    def figures(self, path: str) -> QueueFigures:
        """
        Return the figures of a queue's tasks.

        Raises:
            ApiError: There is no such queue.
        """
        return self._engine.queues.figures(path, self._clock.now())

    async def buffer_task(
        self, parent: str, task_id: str, body: bytes, headers: dict[str, str]
    ) -> Any:
        """
        Carry out a BufferTask, for which tasks_v2 has no messages.

        Args:
            parent: The queue's path.
            task_id: "" to have one made.
            body: What the task sends.
            headers: What the task sends with it.

        Returns:
            The task in its basic view.
        """
        return await self._carry_out(
            "BufferTask",
            parent,
            lambda now: tasks.view(
                self._engine.tasks.buffer(parent, task_id, body, headers, now), 0
            ),
        )

    async def _run_task(self, request: Any) -> Any:
        def send(run: tuple[Any, Dispatch]) -> Any:
            task, dispatch = run
            self._send(dispatch)
            return tasks.view(task, request.response_view)

        return await self._carry_out(
            "RunTask",
            request.name,
            lambda now: self._engine.launcher.run(request.name, now),
            send,
        )

    async def _carry_out(
        self,
        method: str,
        resource: str,
        behaviour: Callable[[int], Any],
        once_kept: Callable[[Any], Any] = lambda response: response,
    ) -> Any:
        names.check_permission(resource)
        fault = self._faults.for_call(method, resource)
        if fault is not None and not fault.executes:
            raise fault.error()
        try:
            response = once_kept(
                await self._commits.run(lambda: behaviour(self._clock.now()))
            )
        finally:
            self._changed()
        if fault is not None:
            raise fault.error()
        return response


def _resource(request: Any) -> str:
    fields = request.DESCRIPTOR.fields_by_name
    for field in _RESOURCE_FIELDS:
        if field in fields:
            name: str = getattr(request, field)
            return name
    # Updates name it in the message that they carry.
    (carried, *_) = [f for f in fields.values() if f.message_type is not None]
    updated: str = getattr(request, carried.name).name
    return updated
