"""`from cloudtask.decorators import task`, as in dj-cloud-task."""

from cloudtask.tasks import task

__all__ = ["task"]
