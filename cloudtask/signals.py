"""Signals for both kinds of tasks. Receivers that raise are logged."""

from __future__ import annotations

from django.dispatch import Signal

#: A task failed for good: no attempt follows. Sent with `sender`, the task's
#: dotted path; `task_id`; `request`, the CloudTaskRequest; and `error`, what
#: it raised, None if its worker died.
task_failed = Signal()

#: A schedule has missed slots. Sent with `sender`, the task's dotted path;
#: `name`, the schedule's; `first` and `last`, the slots, aware; and `count`.
slot_missed = Signal()
