"""`from cloudtask.tasks import CloudTaskRequest`, as dj-cloud-task has it."""

from cloudtask.enqueue.tasks import Task, TaskDefinition
from cloudtask.wire.request import CloudTaskRequest

__all__ = ["CloudTaskRequest", "Task", "TaskDefinition"]
