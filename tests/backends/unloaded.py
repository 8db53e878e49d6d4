"""A module with a task that nothing imports."""

from cloudtask.framework import task
from tests.tasks import ran

ran.append("imported")


@task
def run() -> None:
    ran.append("unloaded")
