"""
The engines: who brings the ticks of schedules.

`cloud_tasks` needs nothing but the queues: the tick of a slot arms the next
one. `cloud_scheduler` keeps a job for each schedule. What a tick does is not
here: both bring the same one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudtask.conf import get_settings
from cloudtask.schedules.settings import CLOUD_SCHEDULER, get_schedules_settings

if TYPE_CHECKING:
    from cloudtask.schedules.engines.base import Engine


def get_engine() -> Engine:
    """
    The engine that SCHEDULER chooses.

    Raises:
        ConfigurationError: What it needs is not installed.
    """
    if get_schedules_settings(get_settings()).scheduler == CLOUD_SCHEDULER:
        from cloudtask.schedules.engines.cloud_scheduler import CloudSchedulerEngine

        return CloudSchedulerEngine()
    from cloudtask.schedules.engines.cloud_tasks import CloudTasksEngine

    return CloudTasksEngine()
