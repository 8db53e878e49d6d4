"""
The sweeper: sends what was not sent, and frees what nobody will end.

What finds such tasks, and says when that is done, belongs here. What then
happens to a row is one of the verbs, and the calls to Cloud Tasks are made by
`sending`.
"""

from cloudtask.results.sweeping.passes import LIMIT, Swept, sweep

__all__ = ["LIMIT", "Swept", "sweep"]
