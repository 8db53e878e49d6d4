"""
One pass of the sweeper.

Any number of them may be under way at once, and none has to be: passes are
short, and a command, a schedule or traffic makes them.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from random import shuffle
from typing import TYPE_CHECKING, Any

from django.db import Error

from cloudtask.results.columns.moments import Now, shift
from cloudtask.results.database.connections import ask, get_connection
from cloudtask.results.records import select_rows
from cloudtask.results.sending import make_patience, send_many
from cloudtask.results.sweeping import outbox, recovery
from cloudtask.results.verbs.note_sent import LOOK_AFTER
from cloudtask.wire.payload import new_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.db.models import QuerySet

    from cloudtask.results.models import TaskRecord

logger = logging.getLogger("cloudtask")

#: Tasks of one pass, of each kind.
LIMIT = 100


@dataclass(slots=True)
class Swept:
    """What one pass did."""

    sent: int = 0  # Tasks that were handed over.
    unsent: int = 0  # Tasks that could not be; they are tried again later.
    freed: int = 0  # Tasks whose worker died, or that their queue has lost.
    others: int = 0  # What other apps had left behind.


#: Each once, in the order of their registration.
_passes: dict[Callable[[int], Iterator[Callable[[], int]]], None] = {}


def register(find: Callable[[int], Iterator[Callable[[], int]]]) -> None:
    """
    Have what another app has left behind done by each pass.

    Args:
        find: Gets the most things to find, and yields what does each. That
            returns how many things it did.
    """
    _passes[find] = None


def sweep(limit: int = LIMIT) -> Swept:
    """
    Make one pass, over the tasks that have waited longest.

    Args:
        limit: The most tasks of each kind: those to send, those whose worker
            died, and those that their queue may have lost.
    """
    swept, patience = Swept(), make_patience()
    again = shift(Now(), outbox.PAUSE)
    unsent = claim_rows_to_sweep(outbox.select_due(), limit, send_at=again)
    for answers in send_many(unsent, patience):
        sent = _try(outbox.note_answers, answers)
        swept.sent += sent
        swept.unsent += len(answers) - sent
    orphans = recovery.select_orphans()
    for row in claim_rows_to_sweep(orphans, limit, lease_expires_at=Now()):
        swept.freed += _try(recovery.free, row, patience)
    waiting = recovery.select_waiting()
    again = shift(Now(), LOOK_AFTER)
    for row in claim_rows_to_sweep(waiting, limit, look_at=again):
        swept.freed += _try(recovery.fail_if_gone, row, patience)
    for find in _passes:
        for act in find(limit):
            swept.others += _try(act)
    return swept


def claim_rows_to_sweep(
    rows: QuerySet[TaskRecord], limit: int, **mark: Any
) -> list[TaskRecord]:
    """
    Take rows that no other sweeper takes.

    Args:
        rows: Where to take them from, in order.
        limit: The most of them.
        mark: Columns that put them last in that order. If this sweeper dies,
            they come up again in time.
    """
    ids = ask(lambda: list(rows.values_list("pk", flat=True)[:limit]))
    token = new_id()
    chosen = rows.order_by().filter(pk__in=ids)
    ask(lambda: chosen.update(lease=token, **mark))
    claimed = ask(lambda: list(select_rows(ids).filter(lease=token)))
    # In an outage the first ones use up the time of all.
    shuffle(claimed)
    return claimed


def _try(act: Callable[..., int], *args: Any) -> int:
    """Do it, and go on with the next row if that fails."""
    try:
        return act(*args)
    except Exception as error:
        if isinstance(error, Error) and get_connection().connection is None:
            raise  # The database is away, for all of them.
        logger.exception("a pass of the sweeper goes on without %s", args or act)
        return 0
