"""Google Cloud Tasks, or an emulator of it, over gRPC."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from functools import partial
from math import inf
from random import uniform
from time import monotonic
from typing import TYPE_CHECKING, Any

import grpc
from google.api_core.gapic_v1.routing_header import to_grpc_metadata
from google.cloud.tasks_v2 import HttpMethod
from google.cloud.tasks_v2.types import (
    CreateTaskRequest,
    DeleteTaskRequest,
    GetTaskRequest,
    RunTaskRequest,
)
from google.cloud.tasks_v2.types import Task as GoogleTask
from google.longrunning import operations_pb2
from google.protobuf import empty_pb2

from cloudtask.exceptions import (
    EnqueueError,
    PermissionDenied,
    QueueNotFound,
    ServiceUnavailable,
)
from cloudtask.privacy.frames import hide_values
from cloudtask.transports import google_batches as batches
from cloudtask.transports.base import Patience, Transport, already_exists
from cloudtask.transports.google_channel import Link
from cloudtask.wire.headers import SECRET_HEADER
from cloudtask.wire.outgoing import OidcToken, OutgoingTask, Route, Target

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cloudtask.conf import Settings
    from cloudtask.wire.retry import RetryPolicy

logger = logging.getLogger("cloudtask")

#: Seconds before the first repeat of a call, and the most before any.
_FIRST_DELAY, _MAX_DELAY = 0.1, 2.0

_Request = CreateTaskRequest.pb()
_POST = int(HttpMethod.POST)
_Empty: Any = empty_pb2.Empty  # type: ignore[attr-defined]
_Task = GoogleTask.pb()
_Operation: Any = operations_pb2.Operation
_GetOperationRequest: Any = operations_pb2.GetOperationRequest
_DeleteRequest = DeleteTaskRequest.pb()
_GetRequest = GetTaskRequest.pb()
_RunRequest = RunTaskRequest.pb()

_SERVICE = "/google.cloud.tasks.v2.CloudTasks"
#: The path of each method that is called, its request and its answer.
_METHODS: Mapping[str, tuple[str, Any, Any]] = {
    "CreateTask": (_SERVICE, _Request, _Task),
    "DeleteTask": (_SERVICE, _DeleteRequest, _Empty),
    "GetTask": (_SERVICE, _GetRequest, _Task),
    "RunTask": (_SERVICE, _RunRequest, _Task),
    "BatchCreateTasks": (_SERVICE, batches.CreateRequest, _Operation),
    "BatchDeleteTasks": (_SERVICE, batches.DeleteRequest, _Operation),
    "GetOperation": (
        "/google.longrunning.Operations",
        _GetOperationRequest,
        _Operation,
    ),
}

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

#: What is told of a batch as it would be of each of its tasks. After all else
#: a queue gets single calls for a while: batches are not to be had, or come to
#: harm.
_SAME_FOR_SINGLES = (
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.UNAVAILABLE,
)
_SINGLES_SECONDS = 3600.0
_NOTHING_SAID = (grpc.StatusCode.UNKNOWN, "nothing is said of it")


class GoogleTransport(Transport):
    """
    One connection for the process, made by Google's library on first use.

    After a fork the child makes its own. Calls go through the channel of
    Google's client as plain protobuf messages: the client's method around the
    same call takes a fifth longer.
    """

    batch_size = batches.MAX_CREATED

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._timeout = settings.rpc_timeout.total_seconds()
        self._link = Link(settings, _METHODS)
        #: Until when a method and a queue get single calls.
        self._unbatched: dict[tuple[str, str], float] = {}

    def target(self, settings: Settings) -> Target:
        email = settings.service_account()
        if not (email or settings.secret or settings.sign or settings.has_own_auth):
            raise settings.error(
                "SIGN",
                "is off, and neither SECRET nor SAE is set, so the dispatch view would "
                "refuse this task. Turn SIGN on, or set one of them.",
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

    def connect(self) -> None:
        self._link.connect()

    def send(self, task: OutgoingTask) -> str:
        return self._send_within(task, self._timeout)

    def _send_within(self, task: OutgoingTask, timeout: float) -> str:
        try:
            connection, request = self._link.connect(), to_message(task)
            metadata = _prepared(task.route).metadata
            calls, started = None, monotonic()
            seconds = timeout = min(timeout, self._timeout)
            while True:
                try:
                    answer = connection.create_task(
                        request, timeout=timeout, metadata=metadata
                    )
                except grpc.RpcError as error:
                    calls = calls or _calls_for(task, started, seconds)
                    if calls.was_accepted(error):
                        return str(request.task.name)
                    reason = self._link.reason(connection, error)
                    if (delay := calls.delay_after(reason[0])) is None:
                        raise to_error(task, *reason) from error
                    self._link.closing.wait(delay)
                    connection, timeout = self._link.connect(), calls.timeout()
                else:
                    return str(answer.name)
        except Exception as error:
            hide_values(error, of_others=True)
            raise

    async def asend(self, task: OutgoingTask) -> str:
        try:
            connection, request = self._link.connect(), to_message(task)
            metadata = _prepared(task.route).metadata
            calls, timeout, started = None, self._timeout, monotonic()
            while True:
                call = connection.create_task.future(
                    request, timeout=timeout, metadata=metadata
                )
                try:
                    answer = await _answer(call)
                except grpc.RpcError as error:
                    calls = calls or _calls_for(task, started, self._timeout)
                    if calls.was_accepted(error):
                        return str(request.task.name)
                    reason = self._link.reason(connection, error)
                    if (delay := calls.delay_after(reason[0])) is None:
                        raise to_error(task, *reason) from error
                    await asyncio.sleep(delay)
                    connection, timeout = self._link.connect(), calls.timeout()
                else:
                    return str(answer.name)
        except Exception as error:
            hide_values(error, of_others=True)
            raise

    def send_many(
        self, tasks: Sequence[OutgoingTask], patience: Patience | None = None
    ) -> list[str | EnqueueError]:
        patience = patience or self.patience()
        answers: dict[int, str | EnqueueError] = {}
        try:
            messages = [to_message(task) for task in tasks]
            for chunk in batches.creations(messages):
                some = [(tasks[index], messages[index]) for index in chunk]
                answered = self._send_chunk(some, patience)
                answers.update(zip(chunk, answered, strict=True))
        except Exception as error:
            hide_values(error, of_others=True)
            raise
        return [answers[index] for index in range(len(tasks))]

    def _send_chunk(
        self, some: Sequence[tuple[OutgoingTask, Any]], patience: Patience
    ) -> list[str | EnqueueError]:
        """Send tasks of one queue by one call, or by one for each."""
        alone = len(some) == 1
        together = None if alone else patience.ask(partial(self._create, some))
        if isinstance(together, EnqueueError):
            return [together] * len(some)
        if together is not None:
            return together
        return [patience.ask(partial(self._send_within, task)) for task, _ in some]

    def _create(
        self, some: Sequence[tuple[OutgoingTask, Any]], timeout: float
    ) -> list[str | EnqueueError] | None:
        """
        Send tasks of one queue by one call.

        Returns:
            What comes of each; None where single calls are to be made.

        Raises:
            EnqueueError: None was accepted, or nobody knows.
        """
        tasks, messages = zip(*some, strict=True)
        parent = messages[0].parent
        # Of one id, a call is carried out once, however often it is made.
        request = batches.create_request(parent, messages, str(uuid.uuid4()))
        try:
            operation = self._operate("BatchCreateTasks", request, timeout)
        except _Refused as refused:
            if refused.singles_may_do:
                return None
            raise refused.error(f"{len(some)} tasks for {parent}", parent) from refused
        names, failures = batches.created(operation, len(some))
        if len(names.keys() | failures.keys()) < len(some):
            self._give_up_batches("BatchCreateTasks", parent, "its answer is no use")
        return [
            names.get(index) or to_error(task, *failures.get(index, _NOTHING_SAID))
            for index, task in enumerate(tasks)
        ]

    def delete(self, name: str, timeout: float = inf) -> None:
        self._ask("DeleteTask", _DeleteRequest(name=name), timeout)

    def delete_many(
        self, names: Sequence[str], patience: Patience | None = None
    ) -> dict[str, EnqueueError]:
        patience = patience or self.patience()
        left: dict[str, EnqueueError | None] = {}
        for chunk in batches.deletions(names):
            left.update(self._delete_chunk(chunk, patience))
        return {name: why for name, why in left.items() if why is not None}

    def _delete_chunk(
        self, names: Sequence[str], patience: Patience
    ) -> Mapping[str, EnqueueError | None]:
        """Delete tasks of one queue by one call, or by one for each."""
        alone = len(names) == 1
        together = None if alone else patience.ask(partial(self._delete, names))
        if isinstance(together, EnqueueError):
            return dict.fromkeys(names, together)
        if together is not None:
            return together
        return {name: patience.ask(partial(self.delete, name)) for name in names}

    def _delete(
        self, names: Sequence[str], timeout: float
    ) -> Mapping[str, EnqueueError] | None:
        """See _create(). Returns those that may be there still."""
        parent = batches.queue_path_of(names[0])
        request = batches.DeleteRequest(parent=parent, names=names)
        try:
            operation = self._operate("BatchDeleteTasks", request, timeout)
        except _Refused as refused:
            if refused.code is grpc.StatusCode.NOT_FOUND:
                return {}  # The queue is gone, and they with it.
            if refused.singles_may_do:
                return None
            raise refused.error(f"{len(names)} tasks of {parent}", parent) from refused
        failures = batches.undeleted(operation, len(names))
        return {
            names[index]: _unanswered(names[index], code, details)
            for index, (code, details) in failures.items()
            if code is not grpc.StatusCode.NOT_FOUND
        }

    def has(self, name: str, timeout: float = inf) -> bool:
        return self._ask("GetTask", _GetRequest(name=name), timeout)

    def run(self, name: str, timeout: float = inf) -> bool:
        return self._ask("RunTask", _RunRequest(name=name), timeout)

    def _ask(self, method: str, request: Any, timeout: float) -> bool:
        """Whether Cloud Tasks has the task that a call is for."""
        connection = self._link.connect()
        metadata = (to_grpc_metadata({"name": request.name}),)
        seconds = min(timeout, self._timeout)
        try:
            connection.methods[method](request, timeout=seconds, metadata=metadata)
        except grpc.RpcError as error:
            code, details = self._link.reason(connection, error)
            if code is grpc.StatusCode.NOT_FOUND:
                return False
            raise _unanswered(request.name, code, details) from error
        return True

    def _operate(self, method: str, request: Any, timeout: float) -> Any:
        """
        Make a batch call, and wait for its operation.

        Raises:
            _Refused: It was not carried out, or nobody tells if it was.
        """
        if monotonic() < self._unbatched.get((method, request.parent), 0):
            raise _Refused(grpc.StatusCode.UNIMPLEMENTED, None)
        seconds = min(timeout, self._timeout)
        calls = _Calls(monotonic(), seconds, may_repeat=True)
        try:
            operation = self._call(calls, method, request, parent=request.parent)
            while not operation.done:
                operation = self._look_at(operation.name, calls)
        except _Refused as refused:
            if refused.code not in _SAME_FOR_SINGLES:
                why = f"{refused.code.name}: {refused.details}"
                self._give_up_batches(method, request.parent, why)
            raise
        return operation

    def _give_up_batches(self, method: str, queue_path: str, why: str) -> None:
        logger.info("%s: single calls in place of %s: %s", queue_path, method, why)
        self._unbatched[method, queue_path] = monotonic() + _SINGLES_SECONDS

    def _look_at(self, operation: str, calls: _Calls) -> Any:
        """An operation, as it is after a while."""
        request = _GetOperationRequest(name=operation)
        try:
            if (pause := calls.pause()) is None:
                raise _Refused(grpc.StatusCode.DEADLINE_EXCEEDED, "it takes too long")
            self._link.closing.wait(pause)
            return self._call(calls, "GetOperation", request, name=operation)
        except _Refused as refused:
            details = f"what became of {operation} is unknown: {refused.details}"
            raise _Refused(grpc.StatusCode.UNKNOWN, details) from refused

    def _call(self, calls: _Calls, method: str, request: Any, **resource: str) -> Any:
        metadata = (to_grpc_metadata(resource),)
        while True:
            connection = self._link.connect()
            call = connection.methods[method]
            try:
                return call(request, timeout=calls.timeout(), metadata=metadata)
            except grpc.RpcError as error:
                code, details = self._link.reason(connection, error)
                if (delay := calls.delay_after(code)) is None:
                    raise _Refused(code, details) from error
                self._link.closing.wait(delay)

    def close(self) -> None:
        self._link.close()


class _Calls:
    """
    The calls for one purpose, within one timeout.

    Args:
        started: When the first was made, as `monotonic()` has it.
        timeout: Seconds for all.
        may_repeat: Whether a call may be made again whose answer was lost.
    """

    def __init__(self, started: float, timeout: float, *, may_repeat: bool) -> None:
        self._deadline = started + timeout
        self._may_repeat = may_repeat
        self._delay = _FIRST_DELAY
        self._repeated = False

    def timeout(self) -> float:
        return max(0.001, self._deadline - monotonic())

    def was_accepted(self, error: grpc.RpcError) -> bool:
        """Whether an earlier call, whose answer was lost, had succeeded."""
        return self._repeated and error.code() is grpc.StatusCode.ALREADY_EXISTS

    def delay_after(self, code: grpc.StatusCode) -> float | None:
        """Seconds until the call is repeated; None if it is not to be."""
        if not self._may_repeat or not _error_type(code).retryable:
            return None
        self._repeated = True
        return self.pause()

    def pause(self) -> float | None:
        """Seconds until another call; None if it is too late for one."""
        delay = uniform(0.5, 1) * self._delay  # noqa: S311 - jitter
        self._delay = min(2 * self._delay, _MAX_DELAY)
        return delay if monotonic() + delay < self._deadline else None


def _calls_for(task: OutgoingTask, started: float, timeout: float) -> _Calls:
    # Of an unnamed task a lost answer may mean that it was enqueued.
    return _Calls(started, timeout, may_repeat=task.task_id is not None)


class _Refused(Exception):
    """A batch call that was not carried out, or nobody tells if it was."""

    def __init__(self, code: grpc.StatusCode, details: str | None) -> None:
        self.code = code
        self.details = details
        super().__init__(code, details)

    @property
    def singles_may_do(self) -> bool:
        """Whether calls for one task each may do what this one did not."""
        # One task may have spoilt it for all; and of what may have been done
        # nothing is done again.
        if self.code in _SAME_FOR_SINGLES:
            return False
        return not _error_type(self.code).retryable

    def error(self, what: str, queue_path: str) -> EnqueueError:
        return _error_type(self.code)(
            f"{what}: {self.code.name}: {self.details}", queue_path=queue_path
        )


def to_message(task: OutgoingTask) -> Any:
    """The CreateTaskRequest of a task, as a plain protobuf message."""
    request = _Request()
    request.CopyFrom(_prepared(task.route).message)
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
    return _error_type(code)(
        f"{task.path}: {queue_path} did not take the task: {code.name}: {details}",
        queue_path=queue_path,
    )


def _unanswered(name: str, code: grpc.StatusCode, details: str | None) -> EnqueueError:
    """Ours for the error of a call about a task that was sent before."""
    return _error_type(code)(
        f"{name}: {code.name}: {details}", queue_path=batches.queue_path_of(name)
    )


def _error_type(code: grpc.StatusCode) -> type[EnqueueError]:
    return _ERRORS.get(code, EnqueueError)


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
