"""A module that makes its attributes up."""

from typing import Any

from tests.backends import tasks
from tests.tasks import ran


def __getattr__(name: str) -> Any:
    ran.append(f"asked for {name}")
    return tasks.add
