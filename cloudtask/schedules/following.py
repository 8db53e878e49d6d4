"""What follows when a row is saved or deleted, whoever does it."""

from __future__ import annotations

import logging
from typing import Any

from django.db.models.signals import post_delete, post_save, pre_save

from cloudtask.conf import clock
from cloudtask.exceptions import CloudTaskError
from cloudtask.schedules.engines import get_engine
from cloudtask.schedules.models import ScheduledTask
from cloudtask.schedules.slots import decide_due

logger = logging.getLogger("cloudtask")


def connect() -> None:
    """Connect the signals of Django."""
    for signal, follow in (
        (pre_save, _prepare),
        (post_save, _follow),
        (post_delete, _forget),
    ):
        name = f"cloudtask.schedules.{follow.__name__}"
        signal.connect(follow, ScheduledTask, dispatch_uid=name)


def _prepare(instance: ScheduledTask, raw: bool, **kwargs: Any) -> None:
    if raw:
        return  # A fixture has rows of another place, and of another time.
    now = clock.now()
    if instance.pk is not None:
        _decide_by_former_plan(instance)
    instance.derive(now, _find_generation(instance) + 1)


def _decide_by_former_plan(instance: ScheduledTask) -> None:
    """Run what was due before the change."""
    try:
        decide_due(instance.uid, clock.now())
    except CloudTaskError as error:
        logger.warning(
            "schedule=%r is changed while a slot is due, which is passed over: %s",
            instance.name,
            error,
        )


def _find_generation(instance: ScheduledTask) -> int:
    # What the instance was read with may be outdated.
    rows = ScheduledTask.objects.select_for_update().filter(pk=instance.pk)
    return max([instance.generation, *rows.values_list("generation", flat=True)])


def _follow(instance: ScheduledTask, raw: bool, **kwargs: Any) -> None:
    if not raw:
        get_engine().follow(instance)


def _forget(instance: ScheduledTask, **kwargs: Any) -> None:
    get_engine().forget(instance)
