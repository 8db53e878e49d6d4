"""Has the engine follow what happens to rows, whoever saves or deletes them."""

from __future__ import annotations

from typing import Any

from django.db.models.signals import post_delete, post_save

from cloudtask.schedules.engines import get_engine
from cloudtask.schedules.models import ScheduledTask


def _follow(instance: ScheduledTask, raw: bool = False, **kwargs: Any) -> None:
    # A fixture has rows of another place, and of another time.
    if not raw:
        get_engine().follow(instance)


def _forget(instance: ScheduledTask, **kwargs: Any) -> None:
    get_engine().forget(instance)


def connect() -> None:
    """Connect the signals of Django."""
    name = "cloudtask.schedules"
    post_save.connect(_follow, ScheduledTask, dispatch_uid=f"{name}.follow")
    post_delete.connect(_forget, ScheduledTask, dispatch_uid=f"{name}.forget")
