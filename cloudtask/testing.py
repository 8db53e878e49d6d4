"""
Helpers for the tests of projects that use cloudtask.

    with memory_queue() as queue:
        place_order(...)
    assert [task.payload.task for task in queue.tasks] == ["shop.tasks.ship"]
    queue.drain()
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from django.conf import settings as django_settings
from django.test import override_settings

from cloudtask.conf import get_settings
from cloudtask.transports import get_transport

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloudtask.transports.memory import MemoryTransport


@contextmanager
def memory_queue() -> Iterator[MemoryTransport]:
    """
    Keep every task that is enqueued meanwhile.

    A test inside a transaction, as TestCase's are, never commits: wrap the
    code in `captureOnCommitCallbacks(execute=True)`.
    """
    raw = {
        "QUEUE": "default",
        **(getattr(django_settings, "CLOUDTASK", None) or {}),
        "TRANSPORT": "cloudtask.transports.memory.MemoryTransport",
    }
    with override_settings(CLOUDTASK=raw):
        yield cast("MemoryTransport", get_transport(get_settings()))
