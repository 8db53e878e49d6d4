"""A gRPC server in the place of Cloud Scheduler, which can be told to fail."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.cloud.scheduler_v1 import types
from google.protobuf import empty_pb2

Code = grpc.StatusCode
State = types.Job.State
_Job = types.Job.pb()
_Answer: Any = types.ListJobsResponse.pb()
_REQUESTS = {
    "ListJobs": types.ListJobsRequest,
    "GetJob": types.GetJobRequest,
    "CreateJob": types.CreateJobRequest,
    "UpdateJob": types.UpdateJobRequest,
    "DeleteJob": types.DeleteJobRequest,
    "PauseJob": types.PauseJobRequest,
    "ResumeJob": types.ResumeJobRequest,
}


@dataclass
class Fault:
    """A call that fails, be it after it was carried out."""

    code: grpc.StatusCode
    details: str = "down"
    is_done: bool = False


@dataclass
class Service:
    """The jobs, the calls that arrived, and what goes wrong."""

    address: str = ""
    jobs: dict[str, Any] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    masks: list[list[str]] = field(default_factory=list)
    faults: dict[str, deque[Fault]] = field(default_factory=dict)
    has_full_view: bool = True
    page_size: int = 500

    def fails(self, method: str, code: grpc.StatusCode, **fault: Any) -> None:
        """Let one call of a method fail; of `*` all from now on."""
        fault_of_it = Fault(code, **fault)
        self.faults.setdefault(method, deque()).append(fault_of_it)

    def answer(self, method: str, request: Any, context: Any) -> Any:
        self.calls.append(method)
        fault = self._find_fault(method)
        if fault is None:
            return self._carry_out(method, request, context)
        if fault.is_done:
            self._carry_out(method, request, context)
        context.abort(fault.code, fault.details)

    def _find_fault(self, method: str) -> Fault | None:
        if "*" in self.faults:
            return self.faults["*"][0]
        waiting = self.faults.get(method)
        return waiting.popleft() if waiting else None

    def _carry_out(self, method: str, request: Any, context: Any) -> Any:
        return getattr(self, f"_{method}")(request, context)

    def _ListJobs(self, request: Any, context: Any) -> Any:  # noqa: N802
        start = int(request.page_token or 0)
        found = [
            job for job in self.jobs.values() if job.name.startswith(request.parent)
        ]
        size = min(request.page_size, self.page_size)
        answer = _Answer(jobs=map(self._show, found[start : start + size]))
        if start + size < len(found):
            answer.next_page_token = str(start + size)
        return answer

    def _GetJob(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._show(self._find(request.name, context))

    def _CreateJob(self, request: Any, context: Any) -> Any:  # noqa: N802
        if request.job.name in self.jobs:
            context.abort(Code.ALREADY_EXISTS, "Job exists.")
        return self._show(self._store(request.job, State.ENABLED))

    def _UpdateJob(self, request: Any, context: Any) -> Any:  # noqa: N802
        job = _Job()
        job.CopyFrom(self._find(request.job.name, context))
        paths = list(request.update_mask.paths)
        self.masks.append(paths)
        for path in paths:
            job.ClearField(path)
        part = _Job()
        part.CopyFrom(request.job)
        for each in {f.name for f in part.DESCRIPTOR.fields} - set(paths):
            part.ClearField(each)
        job.MergeFrom(part)
        if (job.schedule == "") or (job.time_zone == ""):
            context.abort(
                Code.INVALID_ARGUMENT,
                "The provided schedule or timezone are invalid.",
            )
        state = State.PAUSED if job.state == State.PAUSED else State.ENABLED
        return self._show(self._store(job, state))

    def _DeleteJob(self, request: Any, context: Any) -> Any:  # noqa: N802
        del self.jobs[self._find(request.name, context).name]
        return empty_pb2.Empty()  # type: ignore[attr-defined]

    def _PauseJob(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._switch(request, context, State.ENABLED, State.PAUSED)

    def _ResumeJob(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._switch(request, context, State.PAUSED, State.ENABLED)

    def _switch(self, request: Any, context: Any, old: Any, new: Any) -> Any:
        job = self._find(request.name, context)
        if job.state != old:
            context.abort(Code.FAILED_PRECONDITION, f"Job is not {old.name}.")
        job.state = new
        return self._show(job)

    def _find(self, name: str, context: Any) -> Any:
        if name not in self.jobs:
            context.abort(Code.NOT_FOUND, "Job not found.")
        return self.jobs[name]

    def _store(self, job: Any, state: Any) -> Any:
        kept = self.jobs[job.name] = _Job()
        kept.CopyFrom(job)
        kept.state = state
        # It tells this one among ours.
        kept.http_target.headers["User-Agent"] = "Google-Cloud-Scheduler"
        return kept

    def _show(self, job: Any) -> Any:
        shown = _Job()
        shown.CopyFrom(job)
        if not self.has_full_view:
            shown.http_target.ClearField("headers")
            shown.http_target.ClearField("body")
        return shown


@contextmanager
def serve() -> Iterator[Service]:
    """Serve Cloud Scheduler on a port of its own."""
    service = Service()
    handlers = {
        method: grpc.unary_unary_rpc_method_handler(
            lambda request, context, method=method: service.answer(
                method, request, context
            ),
            request_deserializer=kind.pb().FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )
        for method, kind in _REQUESTS.items()
    }
    with ThreadPoolExecutor(4) as pool:
        server = grpc.server(pool)
        name = "google.cloud.scheduler.v1.CloudScheduler"
        generic = grpc.method_handlers_generic_handler(name, handlers)
        server.add_generic_rpc_handlers((generic,))
        service.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        try:
            yield service
        finally:
            server.stop(None).wait()
