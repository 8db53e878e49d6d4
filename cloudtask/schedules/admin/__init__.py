"""
The admin of schedules: what runs when, and what became of it.

What people see, fill in and press belongs here: forms made of signatures, the
list, the page of a schedule, its buttons. What happens to a schedule does not:
that is the control's. A task is chosen among those that may be scheduled, and
nothing is imported for a request.
"""

from cloudtask.schedules.admin.schedules import ScheduleAdmin

__all__ = ["ScheduleAdmin"]
