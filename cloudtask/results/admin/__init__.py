"""
The admin of tasks: what became of them, and what may be done about it.

What people see and press belongs here. What an action does to tasks does not:
that is the control's. Nothing is edited here, and no query reads a table from
end to end: counts stop at a limit, and what filters offer is looked up in the
indexes.
"""

from cloudtask.results.admin.tasks import TaskAdmin

__all__ = ["TaskAdmin"]
