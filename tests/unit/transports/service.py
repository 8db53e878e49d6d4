"""A gRPC server in the place of Cloud Tasks that answers from a script."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import grpc
from google.cloud.tasks_v2.types import (
    BatchCreateTasksRequest,
    BatchDeleteTasksRequest,
    CreateTaskRequest,
    DeleteTaskRequest,
)
from google.cloud.tasks_v2.types import Task as GoogleTask
from google.longrunning import operations_pb2
from google.protobuf import empty_pb2

_Task = GoogleTask.pb()


@dataclass(frozen=True)
class Call:
    """A CreateTask that arrived."""

    request: Any  # google.cloud.tasks.v2.CreateTaskRequest
    metadata: dict[str, str]
    seconds: float  # What was left of the caller's patience.
    peer: str  # The connection that it came over.


Answer = Callable[["Service", Call, Any], Any]


@dataclass
class Service:
    """What arrived, what was stored, and the answers to the next calls."""

    address: str = ""
    script: deque[Answer] = field(default_factory=deque)
    calls: list[Call] = field(default_factory=list)
    stored: list[Any] = field(default_factory=list)  # Tasks, in order.
    ids: Iterator[int] = field(default_factory=count)
    closing: threading.Event = field(default_factory=threading.Event)

    def answers(self, *answers: Answer) -> None:
        self.script.extend(answers)

    def create_task(self, request: Any, context: Any) -> Any:
        call = Call(
            request,
            dict(context.invocation_metadata()),
            context.time_remaining(),
            context.peer(),
        )
        self.calls.append(call)
        answer = self.script.popleft() if self.script else store
        return answer(self, call, context)


def store(service: Service, call: Call, context: Any) -> Any:
    """Do what Cloud Tasks does."""
    task = _Task()
    task.CopyFrom(call.request.task)
    if not task.name:
        task.name = f"{call.request.parent}/tasks/{next(service.ids):020}"
    if task.name in {other.name for other in service.stored}:
        context.abort(grpc.StatusCode.ALREADY_EXISTS, "Requested entity already exists")
    service.stored.append(task)
    return task


def refuse(code: grpc.StatusCode, details: str = "") -> Answer:
    """Answer with an error and do nothing."""

    def answer(service: Service, call: Call, context: Any) -> Any:
        context.abort(code, details)

    return answer


def lose(code: grpc.StatusCode, details: str = "") -> Answer:
    """Store the task and answer with an error all the same."""

    def answer(service: Service, call: Call, context: Any) -> Any:
        store(service, call, context)
        context.abort(code, details)

    return answer


@dataclass
class Hang:
    """Do not answer until the caller has gone."""

    then_store: bool = False
    arrived: threading.Event = field(default_factory=threading.Event)
    given_up: threading.Event = field(default_factory=threading.Event)

    def __call__(self, service: Service, call: Call, context: Any) -> Any:
        if self.then_store:
            store(service, call, context)
        if not context.add_callback(self.given_up.set):
            self.given_up.set()
        self.arrived.set()
        while not self.given_up.wait(0.05):
            if service.closing.is_set():
                break
        return _Task()


@dataclass
class Meet:
    """Answer only once as many calls are under way at the same time."""

    barrier: threading.Barrier

    def __call__(self, service: Service, call: Call, context: Any) -> Any:
        self.barrier.wait(10)
        return store(service, call, context)


#: Methods of batches, and what they are asked.
_BATCHES: dict[str, dict[str, Any]] = {
    "google.cloud.tasks.v2.CloudTasks": {
        "BatchCreateTasks": BatchCreateTasksRequest.pb(),
        "BatchDeleteTasks": BatchDeleteTasksRequest.pb(),
        "DeleteTask": DeleteTaskRequest.pb(),
    },
    "google.longrunning.Operations": {
        "GetOperation": operations_pb2.GetOperationRequest
    },
}


@dataclass
class Batches:
    """
    What answers the other calls, one after the other, by method.

    An answer is a code, or what is returned: an Operation, or nothing.
    """

    script: list[tuple[str, Any]] = field(default_factory=list)
    requests: list[tuple[str, Any]] = field(default_factory=list)

    @property
    def methods(self) -> list[str]:
        """What was called, in order."""
        return [method for method, _ in self.requests]

    def handle(self, method: str) -> Callable[[Any, Any], Any]:
        def handle(request: Any, context: Any) -> Any:
            self.requests.append((method, request))
            expected, answer = self.script.pop(0) if self.script else (method, None)
            assert expected == method
            if isinstance(answer, grpc.StatusCode):
                context.abort(answer, "as it was told to")
            return answer or empty_pb2.Empty()  # type: ignore[attr-defined]

        return handle

    def handlers(self) -> tuple[Any, ...]:
        return tuple(
            grpc.method_handlers_generic_handler(
                name,
                {
                    method: grpc.unary_unary_rpc_method_handler(
                        self.handle(method),
                        request_deserializer=request.FromString,
                        response_serializer=lambda answer: answer.SerializeToString(),
                    )
                    for method, request in methods.items()
                },
            )
            for name, methods in _BATCHES.items()
        )


@contextmanager
def serve(batches: Batches | None = None) -> Iterator[Service]:
    """Serve CreateTask, and batches if any, on a free port of this machine."""
    service = Service()
    method = grpc.unary_unary_rpc_method_handler(
        service.create_task,
        request_deserializer=CreateTaskRequest.pb().FromString,
        response_serializer=_Task.SerializeToString,
    )
    with ThreadPoolExecutor(max_workers=16) as pool:
        server = grpc.server(pool)
        server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(
                    "google.cloud.tasks.v2.CloudTasks", {"CreateTask": method}
                ),
                *(batches.handlers() if batches is not None else ()),
            )
        )
        service.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        try:
            yield service
        finally:
            service.closing.set()
            server.stop(None).wait()
