"""
Helpers for the tests of projects that use cloudtask.

    with memory_queue() as queue:
        place_order(...)
    assert [task.payload.task for task in queue.tasks] == ["shop.tasks.ship"]
    queue.drain()
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from django.conf import settings as django_settings
from django.test import override_settings

from cloudtask.conf import get_settings
from cloudtask.transports import stand_in
from cloudtask.transports.memory import MemoryTransport

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def memory_queue() -> Iterator[MemoryTransport]:
    """
    Keep every task that is enqueued meanwhile, whatever its backend.

    A test inside a transaction, as TestCase's are, never commits: wrap the
    code in `captureOnCommitCallbacks(execute=True)`.
    """
    raw = {
        "QUEUE": "default",
        **(getattr(django_settings, "CLOUDTASK", None) or {}),
        "TRANSPORT": "cloudtask.transports.memory.MemoryTransport",
    }
    with override_settings(CLOUDTASK=raw):
        queue = MemoryTransport(get_settings())
        with stand_in(queue):
            yield queue
