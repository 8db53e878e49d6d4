"""The methods of the API, whichever way a request came in."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from google.cloud import scheduler_v1
from google.protobuf import empty_pb2

from cloudtask.emulator.api import places

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloudtask.emulator.clock import Clock
    from cloudtask.emulator.scheduler.engine.engine import Engine
    from cloudtask.emulator.scheduler.model.dispatch import Dispatch
    from cloudtask.emulator.storage.commits import Commits

_ListJobsResponse = scheduler_v1.ListJobsResponse.pb()
_Empty: Any = empty_pb2.Empty  # type: ignore[attr-defined]


class Api:
    """
    The methods of Cloud Scheduler over an engine, on its event loop.

    Args:
        engine: Where jobs are.
        commits: Keeps what the engine did.
        clock: Tells the time.
        changed: Called after every call that may have changed something.
        send: Sends what RunJob dispatches.
    """

    def __init__(
        self,
        engine: Engine,
        commits: Commits,
        clock: Clock,
        *,
        changed: Callable[[], object],
        send: Callable[[Dispatch], object],
    ) -> None:
        self._engine = engine
        self._commits = commits
        self._clock = clock
        self._changed = changed
        self._send = send

    async def call(self, method: str, request: Any) -> Any:
        """
        Carry out a call and return its response once it is kept.

        Args:
            method: A name in METHODS.
            request: The raw protobuf, which may be changed.

        Raises:
            ApiError: The call is refused.
        """
        if method == "RunJob":
            # What is counted as sent is sent, even if the caller gives up.
            return await asyncio.shield(self.run_job(request.name))
        carry_out = _CALLS[method]
        return await self._carry_out(
            lambda: carry_out(self._engine, request, self._clock.now())
        )

    async def run_job(self, name: str) -> Any:
        """
        Start an execution of a job now.

        Returns:
            The job's message.

        Raises:
            ApiError: There is no such job.
        """
        job, dispatch = await self._carry_out(lambda: self._run(name))
        self._send(dispatch)
        return job

    def _run(self, name: str) -> tuple[Any, Dispatch]:
        job = self._engine.jobs.find(name)
        dispatch = self._engine.launcher.run(job, self._clock.now())
        return self._engine.jobs.view(job), dispatch

    async def _carry_out(self, behaviour: Callable[[], Any]) -> Any:
        try:
            return await self._commits.run(behaviour)
        finally:
            self._changed()


def _create_job(engine: Engine, request: Any, now: int) -> Any:
    return engine.jobs.create(request.parent, request.job, now)


def _delete_job(engine: Engine, request: Any, now: int) -> Any:
    engine.jobs.delete(request.name)
    return _Empty()


def _get_job(engine: Engine, request: Any, now: int) -> Any:
    return engine.jobs.get(request.name)


def _get_location(engine: Engine, request: Any, now: int) -> Any:
    return places.get_location(request)


def _list_jobs(engine: Engine, request: Any, now: int) -> Any:
    page, token = engine.jobs.list(
        request.parent, now, size=request.page_size, token=request.page_token
    )
    return _ListJobsResponse(jobs=page, next_page_token=token)


def _list_locations(engine: Engine, request: Any, now: int) -> Any:
    return places.list_locations(request, engine.store.jobs.list_names())


def _pause_job(engine: Engine, request: Any, now: int) -> Any:
    return engine.jobs.pause(request.name, now)


def _resume_job(engine: Engine, request: Any, now: int) -> Any:
    return engine.jobs.resume(request.name, now)


def _update_job(engine: Engine, request: Any, now: int) -> Any:
    return engine.jobs.update(request.job, request.update_mask.paths, now)


# What carries out each method but RunJob.
_CALLS: dict[str, Callable[[Engine, Any, int], Any]] = {
    "CreateJob": _create_job,
    "DeleteJob": _delete_job,
    "GetJob": _get_job,
    "GetLocation": _get_location,
    "ListJobs": _list_jobs,
    "ListLocations": _list_locations,
    "PauseJob": _pause_job,
    "ResumeJob": _resume_job,
    "UpdateJob": _update_job,
}
