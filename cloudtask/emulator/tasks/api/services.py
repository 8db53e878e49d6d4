"""The services of the API, with the request of each method."""

from __future__ import annotations

from typing import Any

from google.cloud import tasks_v2
from google.iam.v1 import iam_policy_pb2
from google.longrunning import operations_pb2

from cloudtask.emulator.api import places

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
    places.SERVICE: places.METHODS,
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
