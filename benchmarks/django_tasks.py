"""The Django task that does nothing."""

from cloudtask.framework import task


@task
def noop(a: int = 0) -> None:
    pass
