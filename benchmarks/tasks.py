"""The task that does nothing."""

from cloudtask import CloudTaskRequest, task


@task(queue="default")
def noop(request: CloudTaskRequest, a: int = 0) -> None:
    pass
