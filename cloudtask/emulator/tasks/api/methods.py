"""The methods of the API, whichever way a request came in."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from google.cloud import tasks_v2
from google.cloud.location import locations_pb2
from google.iam.v1 import iam_policy_pb2
from google.longrunning import operations_pb2

from cloudtask.emulator.tasks import names
from cloudtask.emulator.tasks.api import batches
from cloudtask.emulator.tasks.model import tasks
from cloudtask.emulator.values import locations

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloudtask.emulator.clock import Clock
    from cloudtask.emulator.storage.commits import Commits
    from cloudtask.emulator.tasks.engine.engine import Engine
    from cloudtask.emulator.tasks.engine.live_queues import QueueFigures
    from cloudtask.emulator.tasks.faults import Faults
    from cloudtask.emulator.tasks.model.dispatch import Dispatch

#: The request of each method, as raw protobuf, by the service it belongs to.
SERVICES: dict[str, dict[str, Any]] = {
    "google.cloud.tasks.v2.CloudTasks": {
        "BatchCreateTasks": tasks_v2.BatchCreateTasksRequest.pb(),
        "BatchDeleteTasks": tasks_v2.BatchDeleteTasksRequest.pb(),
        "CreateQueue": tasks_v2.CreateQueueRequest.pb(),
        "CreateTask": tasks_v2.CreateTaskRequest.pb(),
        "DeleteQueue": tasks_v2.DeleteQueueRequest.pb(),
        "DeleteTask": tasks_v2.DeleteTaskRequest.pb(),
        "GetCmekConfig": tasks_v2.GetCmekConfigRequest.pb(),
        "GetIamPolicy": iam_policy_pb2.GetIamPolicyRequest,
        "GetQueue": tasks_v2.GetQueueRequest.pb(),
        "GetTask": tasks_v2.GetTaskRequest.pb(),
        "ListQueues": tasks_v2.ListQueuesRequest.pb(),
        "ListTasks": tasks_v2.ListTasksRequest.pb(),
        "PauseQueue": tasks_v2.PauseQueueRequest.pb(),
        "PurgeQueue": tasks_v2.PurgeQueueRequest.pb(),
        "ResumeQueue": tasks_v2.ResumeQueueRequest.pb(),
        "RunTask": tasks_v2.RunTaskRequest.pb(),
        "SetIamPolicy": iam_policy_pb2.SetIamPolicyRequest,
        "TestIamPermissions": iam_policy_pb2.TestIamPermissionsRequest,
        "UpdateCmekConfig": tasks_v2.UpdateCmekConfigRequest.pb(),
        "UpdateQueue": tasks_v2.UpdateQueueRequest.pb(),
    },
    "google.cloud.location.Locations": {
        "GetLocation": locations_pb2.GetLocationRequest,
        "ListLocations": locations_pb2.ListLocationsRequest,
    },
    "google.longrunning.Operations": {
        "GetOperation": operations_pb2.GetOperationRequest,
    },
}

#: The same without the services: no two have a method of one name.
METHODS: dict[str, Any] = {
    method: request_type
    for methods in SERVICES.values()
    for method, request_type in methods.items()
}

_ListQueuesResponse = tasks_v2.ListQueuesResponse.pb()
_ListTasksResponse = tasks_v2.ListTasksResponse.pb()
_CmekConfig = tasks_v2.CmekConfig.pb()
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
        self._behaviours: dict[str, Callable[[Any, int], Any]] = {
            "BatchCreateTasks": self._batch_create_tasks,
            "BatchDeleteTasks": self._batch_delete_tasks,
            "CreateQueue": self._create_queue,
            "CreateTask": self._create_task,
            "DeleteQueue": self._delete_queue,
            "DeleteTask": self._delete_task,
            "GetCmekConfig": self._get_cmek_config,
            "GetIamPolicy": self._get_iam_policy,
            "GetLocation": self._get_location,
            "GetOperation": self._get_operation,
            "GetQueue": self._get_queue,
            "GetTask": self._get_task,
            "ListLocations": self._list_locations,
            "ListQueues": self._list_queues,
            "ListTasks": self._list_tasks,
            "PauseQueue": self._pause_queue,
            "PurgeQueue": self._purge_queue,
            "ResumeQueue": self._resume_queue,
            "SetIamPolicy": self._set_iam_policy,
            "TestIamPermissions": self._test_iam_permissions,
            "UpdateCmekConfig": self._update_cmek_config,
            "UpdateQueue": self._update_queue,
        }

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
        behaviour = self._behaviours[method]
        return await self._carry_out(
            method, _resource(request), lambda now: behaviour(request, now)
        )

    def figures(self, path: str) -> QueueFigures:
        """
        Return what there is to say of a queue's tasks.

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

    def _batch_create_tasks(self, request: Any, now: int) -> Any:
        return batches.create_tasks(self._engine, request, now)

    def _batch_delete_tasks(self, request: Any, now: int) -> Any:
        return batches.delete_tasks(self._engine, request, now)

    def _create_queue(self, request: Any, now: int) -> Any:
        return self._engine.queues.create(request.parent, request.queue, now)

    def _create_task(self, request: Any, now: int) -> Any:
        task = self._engine.tasks.create(request.parent, request.task, now)
        return tasks.view(task, request.response_view)

    def _delete_queue(self, request: Any, now: int) -> Any:
        self._engine.queues.delete(request.name, now)
        return batches.Empty()

    def _delete_task(self, request: Any, now: int) -> Any:
        self._engine.tasks.delete(request.name, now)
        return batches.Empty()

    def _get_cmek_config(self, request: Any, now: int) -> Any:
        location = locations.location_of(request.name, "/cmekConfig")
        key = self._engine.store.facts.get(f"kms_key {location}") or b""
        return _CmekConfig(name=request.name, kms_key=key.decode())

    def _get_iam_policy(self, request: Any, now: int) -> Any:
        return self._engine.queues.get_policy(request.resource)

    def _get_location(self, request: Any, now: int) -> Any:
        locations.check_parent(request.name)
        return _location(request.name)

    def _get_operation(self, request: Any, now: int) -> Any:
        return batches.get(self._engine.store, request.name)

    def _get_queue(self, request: Any, now: int) -> Any:
        return self._engine.queues.get(request.name)

    def _get_task(self, request: Any, now: int) -> Any:
        task = self._engine.tasks.get(request.name, now)
        return tasks.view(task, request.response_view)

    def _list_locations(self, request: Any, now: int) -> Any:
        locations.check_project_path(request.name)
        prefix = f"{request.name}/locations/"
        found = {
            queue.path.partition("/queues/")[0]
            for queue in self._engine.live_queues
            if queue.path.startswith(prefix)
        }
        return locations_pb2.ListLocationsResponse(
            locations=[_location(name) for name in sorted(found)]
        )

    def _list_queues(self, request: Any, now: int) -> Any:
        page, token = self._engine.queues.list(
            request.parent,
            now,
            expression=request.filter,
            size=request.page_size,
            token=request.page_token,
        )
        return _ListQueuesResponse(queues=page, next_page_token=token)

    def _list_tasks(self, request: Any, now: int) -> Any:
        page, token = self._engine.tasks.list(
            request.parent, now, size=request.page_size, token=request.page_token
        )
        shown = [tasks.view(task, request.response_view) for task in page]
        return _ListTasksResponse(tasks=shown, next_page_token=token)

    def _pause_queue(self, request: Any, now: int) -> Any:
        return self._engine.queues.pause(request.name, now)

    def _purge_queue(self, request: Any, now: int) -> Any:
        return self._engine.queues.purge(request.name, now)

    def _resume_queue(self, request: Any, now: int) -> Any:
        return self._engine.queues.resume(request.name, now)

    def _set_iam_policy(self, request: Any, now: int) -> Any:
        return self._engine.queues.set_policy(
            request.resource, request.policy, request.update_mask.paths
        )

    def _test_iam_permissions(self, request: Any, now: int) -> Any:
        granted = self._engine.queues.test_permissions(
            request.resource, request.permissions
        )
        return iam_policy_pb2.TestIamPermissionsResponse(permissions=granted)

    def _update_cmek_config(self, request: Any, now: int) -> Any:
        config = request.cmek_config
        location = locations.location_of(config.name, "/cmekConfig")
        self._engine.store.facts.keep(f"kms_key {location}", config.kms_key.encode())
        return config

    def _update_queue(self, request: Any, now: int) -> Any:
        return self._engine.queues.update(request.queue, request.update_mask.paths, now)


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


def _location(name: str) -> Any:
    location_id = locations.last_part(name)
    return locations_pb2.Location(
        name=name,
        location_id=location_id,
        labels={"cloud.googleapis.com/region": location_id},
    )
