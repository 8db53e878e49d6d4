"""Tasks on their way out, made for tests of what lies below `@task`."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from cloudtask.wire.outgoing import OutgoingTask, Route

_ROUTE = {field.name for field in fields(Route)}


def outgoing_task(**values: Any) -> OutgoingTask:
    """Make a task of its own fields and its route's."""
    values = {
        "id": "0" * 32,
        "path": "tests.tasks.add",
        "url": "https://shop.example/_tasks/",
        "body": b"{}",
        "headers": {"Content-Type": "application/json"},
        **values,
    }
    route = Route(**{name: values.pop(name) for name in _ROUTE & values.keys()})
    return OutgoingTask(route=route, **values)
