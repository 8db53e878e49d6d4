"""
`manage.py cloudtask schedules`: what people do with schedules at a terminal.

Each action has a module with its options and what it prints. What it does is
in `reconciling`, `control` and the engines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudtask.schedules.commands.group import SchedulesAction

if TYPE_CHECKING:
    from cloudtask.actions import Action

ACTIONS: tuple[Action, ...] = (SchedulesAction(),)
