"""Google Cloud Tasks, or an emulator of it, over gRPC."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
import warnings
from random import uniform
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

import grpc
from google.api_core.gapic_v1.routing_header import to_grpc_metadata
from google.cloud.tasks_v2 import CloudTasksClient, HttpMethod
from google.cloud.tasks_v2.services.cloud_tasks.transports import (
    CloudTasksGrpcTransport,
)
from google.cloud.tasks_v2.types import (
    CreateTaskRequest,
    DeleteTaskRequest,
    GetTaskRequest,
)
from google.cloud.tasks_v2.types import Task as GoogleTask
from google.protobuf import empty_pb2

from cloudtask.exceptions import (
    EnqueueError,
    PermissionDenied,
    QueueNotFound,
    ServiceUnavailable,
)
from cloudtask.transports.base import (
    OidcToken,
    OutgoingTask,
    Route,
    Target,
    Transport,
    already_exists,
)
from cloudtask.validation import SECRET_HEADER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cloudtask.conf import Settings
    from cloudtask.retry import RetryPolicy

#: Seconds before the first repeat of a call, and the most before any.
_FIRST_DELAY, _MAX_DELAY = 0.1, 2.0

_Request = CreateTaskRequest.pb()
_POST = int(HttpMethod.POST)
_SERVICE = "/google.cloud.tasks.v2.CloudTasks"
_METHOD = f"{_SERVICE}/CreateTask"
_Empty: Any = empty_pb2.Empty  # type: ignore[attr-defined]
_DeleteRequest = DeleteTaskRequest.pb()
_GetRequest = GetTaskRequest.pb()

#: Google's refusals that mean one thing. Others are a plain EnqueueError.
_ERRORS: Mapping[grpc.StatusCode, type[EnqueueError]] = {
    grpc.StatusCode.NOT_FOUND: QueueNotFound,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.UNAUTHENTICATED: PermissionDenied,
    grpc.StatusCode.ABORTED: ServiceUnavailable,
    grpc.StatusCode.CANCELLED: ServiceUnavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: ServiceUnavailable,
    grpc.StatusCode.INTERNAL: ServiceUnavailable,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ServiceUnavailable,
    grpc.StatusCode.UNAVAILABLE: ServiceUnavailable,
    grpc.StatusCode.UNKNOWN: ServiceUnavailable,
}


class GoogleTransport(Transport):
    """
    One client for the process, made by Google's library on first use.

    After a fork the child makes its own. Calls go through the client's
    channel as plain protobuf messages: the client's method around the same
    call takes a fifth longer.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._timeout = settings.rpc_timeout.total_seconds()
        self._lock = threading.Lock()
        self._connection: _Connection | None = None
        self._closing = threading.Event()

    def target(self, settings: Settings) -> Target:
        email = settings.service_account()
        if not email and not settings.secret and not settings.has_own_auth:
            raise settings.error(
                "SECRET",
                "neither SECRET nor SAE is set, so the dispatch view would refuse "
                "this task. Set one of them.",
            )
        return Target(
            project=settings.require_project(),
            location=settings.require_location(),
            url=settings.find_url(),
            headers={SECRET_HEADER: settings.secret} if settings.secret else {},
            oidc=OidcToken(email=email, audience=settings.accepted_audiences()[0])
            if email
            else None,
        )

    def send(self, task: OutgoingTask) -> str:
        connection, request = self._connect(), to_message(task)
        metadata = _prepared(task.route).metadata
        calls, timeout, started = None, self._timeout, monotonic()
        while True:
            try:
                answer = connection.create_task(
                    request, timeout=timeout, metadata=metadata
                )
            except grpc.RpcError as error:
                calls = calls or _Calls(task, started, self._timeout)
                if calls.was_accepted(error):
                    return str(request.task.name)
                self._closing.wait(calls.delay_after(error))
                connection, timeout = self._connect(), calls.timeout()
            else:
                return str(answer.name)

    async def asend(self, task: OutgoingTask) -> str:
        connection, request = self._connect(), to_message(task)
        metadata = _prepared(task.route).metadata
        calls, timeout, started = None, self._timeout, monotonic()
        while True:
            call = connection.create_task.future(
                request, timeout=timeout, metadata=metadata
            )
            try:
                answer = await _answer(call)
            except grpc.RpcError as error:
                calls = calls or _Calls(task, started, self._timeout)
                if calls.was_accepted(error):
                    return str(request.task.name)
                await asyncio.sleep(calls.delay_after(error))
                connection, timeout = self._connect(), calls.timeout()
            else:
                return str(answer.name)

    def delete(self, name: str) -> None:
        self._ask(self._connect().delete_task, _DeleteRequest(name=name), name)

    def has(self, name: str) -> bool:
        return self._ask(self._connect().get_task, _GetRequest(name=name), name)

    def _ask(self, call: Any, request: Any, name: str) -> bool:
        """Whether Cloud Tasks has the task that a call is for."""
        metadata = (to_grpc_metadata({"name": name}),)
        try:
            call(request, timeout=self._timeout, metadata=metadata)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return False
            queue_path = name.partition("/tasks/")[0]
            raise _ERRORS.get(error.code(), EnqueueError)(
                f"{name}: {error.code().name}: {error.details()}",
                queue_path=queue_path,
            ) from error
        return True

    def close(self) -> None:
        self._closing.set()
        atexit.unregister(self.close)
        with self._lock:
            connection, self._connection = self._connection, None
        # What was made before a fork belongs to the parent.
        if connection is not None and connection.pid == os.getpid():
            connection.channel.close()

    def _connect(self) -> _Connection:
        connection = self._connection
        if connection is not None and connection.pid == os.getpid():
            return connection
        with self._lock:
            if self._connection is None or self._connection.pid != os.getpid():
                self._closing.clear()
                self._connection = _Connection(_make_client(self.settings))
                atexit.register(self.close)
            return self._connection


class _Connection:
    """A client's channel, in the process that made it."""

    def __init__(self, client: CloudTasksClient) -> None:
        self.pid = os.getpid()
        self.channel: grpc.Channel = cast(Any, client.transport).grpc_channel
        self.create_task = self.channel.unary_unary(
            _METHOD,
            request_serializer=_Request.SerializeToString,
            response_deserializer=GoogleTask.pb().FromString,
        )
        self.delete_task = self.channel.unary_unary(
            f"{_SERVICE}/DeleteTask",
            request_serializer=_DeleteRequest.SerializeToString,
            response_deserializer=_Empty.FromString,
        )
        self.get_task = self.channel.unary_unary(
            f"{_SERVICE}/GetTask",
            request_serializer=_GetRequest.SerializeToString,
            response_deserializer=GoogleTask.pb().FromString,
        )


class _Calls:
    """
    The calls for one task, within one timeout.

    Only a named task is sent again: of an unnamed one a lost answer may mean
    that it was enqueued.
    """

    def __init__(self, task: OutgoingTask, started: float, timeout: float) -> None:
        self._task = task
        self._deadline = started + timeout
        self._delay = _FIRST_DELAY
        self._repeated = False

    def timeout(self) -> float:
        return max(0.001, self._deadline - monotonic())

    def was_accepted(self, error: grpc.RpcError) -> bool:
        """Whether an earlier call, whose answer was lost, had succeeded."""
        return self._repeated and error.code() is grpc.StatusCode.ALREADY_EXISTS

    def delay_after(self, error: grpc.RpcError) -> float:
        """
        Seconds to wait before the call is repeated.

        Raises:
            EnqueueError: It is not to be repeated.
        """
        refusal = to_error(self._task, error.code(), error.details())
        delay = uniform(0.5, 1) * self._delay  # noqa: S311 - jitter
        late = monotonic() + delay >= self._deadline
        if self._task.task_id is None or not refusal.retryable or late:
            raise refusal from error
        self._repeated = True
        self._delay = min(2 * self._delay, _MAX_DELAY)
        return delay


def to_message(task: OutgoingTask) -> Any:
    """The CreateTaskRequest of a task, as a plain protobuf message."""
    request = _Request()
    request.CopyFrom(_prepared(task.route).message)
    message = request.task
    message.http_request.body = task.body
    if task.task_id is not None:
        message.name = task.name
    if task.schedule_time is not None:
        message.schedule_time.FromDatetime(task.schedule_time)
    return request


class _Prepared:
    """What the calls for all tasks of a route have in common."""

    __slots__ = ("message", "metadata")

    def __init__(self, route: Route) -> None:
        self.metadata = (to_grpc_metadata({"parent": route.queue_path}),)
        self.message = _Request(parent=route.queue_path)
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


def _prepared(route: Route) -> _Prepared:
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


def to_error(
    task: OutgoingTask, code: grpc.StatusCode, details: str | None
) -> EnqueueError:
    """Ours for Google's error: the one place where they are mapped."""
    if code is grpc.StatusCode.ALREADY_EXISTS and task.name is not None:
        return already_exists(task, task.name)
    queue_path = task.route.queue_path
    return _ERRORS.get(code, EnqueueError)(
        f"{task.path}: {queue_path} did not take the task: {code.name}: {details}",
        queue_path=queue_path,
    )


def _make_client(settings: Settings) -> CloudTasksClient:
    emulator = settings.emulator()
    if emulator is not None:
        channel = grpc.insecure_channel(emulator)
        return CloudTasksClient(transport=CloudTasksGrpcTransport(channel=channel))
    try:
        return CloudTasksClient(credentials=_credentials(settings.credentials))
    except Exception as error:  # A parser of credentials raises all sorts.
        raise settings.error(
            "CREDENTIALS",
            f"no client can be made: {error} Set it to a service account file, or "
            "run `gcloud auth application-default login`.",
        ) from error


def _credentials(value: Any) -> Any:
    """Credentials from a file's path or content, others as they are."""
    import google.auth
    from google.auth.credentials import Credentials

    if value is None or isinstance(value, Credentials):
        return value
    scopes = CloudTasksGrpcTransport.AUTH_SCOPES
    with warnings.catch_warnings():
        # It warns of files that come from others. This one is the settings'.
        warnings.simplefilter("ignore", DeprecationWarning)
        if isinstance(value, (str, os.PathLike)):
            return google.auth.load_credentials_from_file(os.fspath(value), scopes)[0]
        if isinstance(value, dict):
            return google.auth.load_credentials_from_dict(value, scopes)[0]
    raise TypeError(f"a {type(value).__name__} is neither path nor credentials.")


async def _answer(call: grpc.Future[Any]) -> Any:
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
