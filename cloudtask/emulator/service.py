"""The gRPC face of the engine: google.cloud.tasks.v2.CloudTasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
from google.cloud import tasks_v2

from cloudtask.emulator import errors, tasks
from cloudtask.emulator.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloudtask.emulator.engine import Engine

SERVICE = "google.cloud.tasks.v2.CloudTasks"

_STATUS_CODES = {code.value[0]: code for code in grpc.StatusCode}

_ListQueuesResponse = tasks_v2.ListQueuesResponse.pb()


class CloudTasksService:
    """
    The methods of the API over an engine, with requests as raw protobufs.

    Args:
        engine: Where queues and tasks are.
        clock: Returns the time in microseconds since the epoch.
        changed: Called after every change of the engine.
    """

    def __init__(
        self, engine: Engine, clock: Callable[[], int], changed: Callable[[], object]
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._changed = changed

    def handler(self) -> grpc.GenericRpcHandler[Any, Any]:
        """Return what grpc serves. It answers UNIMPLEMENTED for the rest."""
        methods = {
            "CreateQueue": _method(tasks_v2.CreateQueueRequest, self.create_queue),
            "GetQueue": _method(tasks_v2.GetQueueRequest, self.get_queue),
            "ListQueues": _method(tasks_v2.ListQueuesRequest, self.list_queues),
            "CreateTask": _method(tasks_v2.CreateTaskRequest, self.create_task),
            "GetTask": _method(tasks_v2.GetTaskRequest, self.get_task),
            "DeleteTask": _method(tasks_v2.DeleteTaskRequest, self.delete_task),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    def create_queue(self, request: Any) -> Any:
        return self._engine.create_queue(request.parent, request.queue)

    def get_queue(self, request: Any) -> Any:
        return self._engine.get_queue(request.name)

    def list_queues(self, request: Any) -> Any:
        if request.filter:
            raise errors.unimplemented("ListQueuesRequest.filter")
        page, token = self._engine.list_queues(
            request.parent, request.page_size, request.page_token
        )
        return _ListQueuesResponse(queues=page, next_page_token=token)

    def create_task(self, request: Any) -> Any:
        task = self._engine.create_task(request.parent, request.task, self._clock())
        self._changed()
        return tasks.view(task, request.response_view)

    def get_task(self, request: Any) -> Any:
        task = self._engine.get_task(request.name, self._clock())
        return tasks.view(task, request.response_view)

    def delete_task(self, request: Any) -> None:
        self._engine.delete_task(request.name, self._clock())
        self._changed()


def _method(
    request_type: Any, behaviour: Callable[[Any], Any]
) -> grpc.RpcMethodHandler[Any, Any]:
    async def handle(
        request: Any, context: grpc.aio.ServicerContext[Any, Any]
    ) -> bytes:
        try:
            response = behaviour(request)
        except ApiError as error:
            await _abort(context, error)
        # Serialized here, before the loop turns: it may be the stored message.
        # The only method without a response answers with Empty, no bytes.
        return b"" if response is None else response.SerializeToString()

    return grpc.unary_unary_rpc_method_handler(
        handle, request_deserializer=request_type.pb().FromString
    )


async def _abort(context: grpc.aio.ServicerContext[Any, Any], error: ApiError) -> None:
    metadata: tuple[tuple[str, bytes], ...] = ()
    if error.details:
        metadata = (("grpc-status-details-bin", error.to_bytes()),)
    await context.abort(_STATUS_CODES[error.code], error.message, metadata)
