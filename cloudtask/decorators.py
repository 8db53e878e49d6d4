"""`from cloudtask.decorators import task`, as dj-cloud-task has it."""

from cloudtask.enqueue.decorators import task

__all__ = ["task"]
