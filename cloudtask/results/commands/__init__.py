"""
What this app brings to `manage.py cloudtask`: a module for each action.

What an action shows and which tasks it chooses belongs here. How tasks are
swept, cancelled, redriven and pruned does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudtask.results.commands.cancel import CancelAction
from cloudtask.results.commands.prune import PruneAction
from cloudtask.results.commands.redrive import RedriveAction
from cloudtask.results.commands.sweep import SweepAction

if TYPE_CHECKING:
    from cloudtask.actions import Action

ACTIONS: tuple[Action, ...] = (
    SweepAction(),
    CancelAction(),
    RedriveAction(),
    PruneAction(),
)
