"""Claims of tasks that have a row only once they failed for good."""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

from django.db import IntegrityError, transaction

from cloudtask.results.columns.moments import Now
from cloudtask.results.database.connections import get_alias
from cloudtask.results.database.errors import report_failures
from cloudtask.results.database.sessions import Session
from cloudtask.results.leases import compute_expiry
from cloudtask.results.models import TaskRecord
from cloudtask.results.records import make_dispatched_row, select_row_of
from cloudtask.results.verbs.end import dump_return_value, make_end_values
from cloudtask.results.verbs.keep_error import keep_error
from cloudtask.stores import Claim

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from cloudtask.stores import Ending
    from cloudtask.wire.payload import Payload
    from cloudtask.wire.request import CloudTaskRequest

logger = logging.getLogger("cloudtask")

Status = TaskRecord.Status


class ErrorClaim(Claim):
    """Keeps a final failure, with what it takes to send the task again."""

    def __init__(self, payload: Payload, request: CloudTaskRequest) -> None:
        self._payload = payload
        self._request = request
        self._session = Session.begin(request)

    def end(self, ending: Ending) -> bool:
        """
        Keep a final failure, or that a redriven task has succeeded.

        Raises:
            StoreUnavailable: The database cannot be reached.
        """
        if ending.succeeded:
            write = self._note_recovery
        elif ending.final:
            write = self._keep
        else:
            return True
        until = compute_expiry()
        with report_failures():
            self._session.insist_on_end(
                partial(write, ending), lambda: monotonic() < until
            )
        return True

    def _note_recovery(self, ending: Ending, *, is_short: bool = False) -> bool:
        # It has a row only if it failed before, and was redriven.
        redriven = select_row_of(self._payload).filter(status=Status.READY)
        values = dump_return_value(ending, is_short=is_short)
        redriven.update(**values, **make_end_values(succeeded=True, final=True))
        return True

    def _keep(self, ending: Ending, *, is_short: bool = False) -> bool:
        row = make_dispatched_row(self._payload, self._request)
        row.status = Status.FAILED
        row.finished_at = Now()
        with transaction.atomic(get_alias()):
            if write_row(row, select_row_of(self._payload)):
                keep_error(self._payload, self._request, ending, is_short=is_short)
            else:
                logger.error(
                    "task=%s id=%s has failed, but that is not kept: the id is "
                    "another task's",
                    row.path,
                    row.pk,
                )
        return True


def write_row(row: TaskRecord, same: QuerySet[TaskRecord]) -> bool:
    """
    Write a row, and overwrite none but the same task's.

    Returns:
        False if the id is another task's.
    """
    values = {
        each.attname: getattr(row, each.attname)
        for each in TaskRecord._meta.concrete_fields
        if not each.primary_key and not each.generated
    }
    if same.update(**values):
        return True
    with suppress(IntegrityError), transaction.atomic(get_alias()):
        row.save(force_insert=True)
        return True
    # Another attempt of it was quicker, or the id is another task's.
    return bool(same.update(**values))
