"""
Ticks by Cloud Scheduler: it has a job for each schedule.

Here is all that knows Cloud Scheduler: jobs as values, how two of them differ,
the messages and the calls of its API, and the marks by which a job is known to
be ours. What a tick does is not here. Google's packages are imported in
`messages` and below `transports.google`, and only when a job is asked for.
"""

from cloudtask.schedules.engines.cloud_scheduler.engine import CloudSchedulerEngine

__all__ = ["CloudSchedulerEngine"]
