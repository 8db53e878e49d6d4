"""
The methods of Cloud Tasks that are called, and the messages they take.

Plain protobuf messages: the wrappers of Google's client cost a fifth of a
call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.api_core.gapic_v1.routing_header import to_grpc_metadata
from google.cloud import tasks_v2
from google.cloud.tasks_v2 import types
from google.longrunning import operations_pb2
from google.protobuf import empty_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cloudtask.wire.outgoing import OutgoingTask, Route
    from cloudtask.wire.retry import RetryPolicy

CreateTask = types.CreateTaskRequest.pb()
DeleteTask = types.DeleteTaskRequest.pb()
GetTask = types.GetTaskRequest.pb()
RunTask = types.RunTaskRequest.pb()
BatchCreateTasks = types.BatchCreateTasksRequest.pb()
BatchDeleteTasks = types.BatchDeleteTasksRequest.pb()
GetOperation: Any = operations_pb2.GetOperationRequest

_Task = types.Task.pb()
_Empty: Any = empty_pb2.Empty  # type: ignore[attr-defined]
_Operation: Any = operations_pb2.Operation
_POST = int(tasks_v2.HttpMethod.POST)

_SERVICE = "/google.cloud.tasks.v2.CloudTasks"
#: The service of each method that is called, its request and its answer.
METHODS: Mapping[str, tuple[str, Any, Any]] = {
    "CreateTask": (_SERVICE, CreateTask, _Task),
    "DeleteTask": (_SERVICE, DeleteTask, _Empty),
    "GetTask": (_SERVICE, GetTask, _Task),
    "RunTask": (_SERVICE, RunTask, _Task),
    "BatchCreateTasks": (_SERVICE, BatchCreateTasks, _Operation),
    "BatchDeleteTasks": (_SERVICE, BatchDeleteTasks, _Operation),
    "GetOperation": ("/google.longrunning.Operations", GetOperation, _Operation),
}

#: What is sent beside a message.
Metadata = tuple[tuple[str, str], ...]


def make_metadata(**resource: str) -> Metadata:
    """Make the header by which Google finds the place of a resource."""
    return (to_grpc_metadata(resource),)


def get_metadata(route: Route) -> Metadata:
    """Get the metadata of calls that create tasks of a route."""
    return _get_prepared(route).metadata


def to_message(task: OutgoingTask) -> Any:
    """Make the CreateTaskRequest of a task."""
    request = CreateTask()
    request.CopyFrom(_get_prepared(task.route).message)
    message = request.task
    http = message.http_request
    http.body = task.body
    for name, value in task.headers.items():
        http.headers[name] = value
    if task.task_id is not None:
        message.name = task.name
    if task.schedule_time is not None:
        message.schedule_time.FromDatetime(task.schedule_time)
    return request


class _Prepared:
    """What the calls for all tasks of a route have in common."""

    __slots__ = ("message", "metadata")

    def __init__(self, route: Route) -> None:
        self.metadata = make_metadata(parent=route.queue_path)
        self.message = CreateTask(parent=route.queue_path)
        message = self.message.task
        http = message.http_request
        http.url = route.url
        http.http_method = _POST
        http.headers.update(route.headers)
        if route.oidc is not None:
            http.oidc_token.service_account_email = route.oidc.email
            http.oidc_token.audience = route.oidc.audience
        if route.deadline is not None:
            message.dispatch_deadline.FromTimedelta(route.deadline)
        if route.retry is not None:
            _fill_retry(message.retry_config, route.retry)


def _get_prepared(route: Route) -> _Prepared:
    if route.prepared is None:
        route.prepared = _Prepared(route)
    prepared: _Prepared = route.prepared
    return prepared


def _fill_retry(message: Any, retry: RetryPolicy) -> None:
    for field in ("max_attempts", "max_doublings"):
        if (number := getattr(retry, field)) is not None:
            setattr(message, field, number)
    for field in ("min_backoff", "max_backoff", "max_retry_duration"):
        if (duration := getattr(retry, field)) is not None:
            getattr(message, field).FromTimedelta(duration)
