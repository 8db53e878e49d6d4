"""The stores of this app: the core's interface, and what stands behind it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from django.db import Error

from cloudtask.results.claims import claim_task
from cloudtask.results.database.connections import ask, get_alias
from cloudtask.results.database.errors import explain_missing_tables, is_table_missing
from cloudtask.results.error_claims import ErrorClaim
from cloudtask.results.reading import find_result
from cloudtask.results.verbs.add import add_row, drop_row
from cloudtask.results.verbs.note_sent import note_sent, select_unsent
from cloudtask.stores import ResultStore
from cloudtask.wire.stored_size import SPARE_BYTES

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from cloudtask.stores import Claim, StoredResult
    from cloudtask.wire.outgoing import OutgoingTask
    from cloudtask.wire.payload import Payload
    from cloudtask.wire.request import CloudTaskRequest

logger = logging.getLogger("cloudtask")


class DatabaseStore(ResultStore):
    """A row for each task, from its enqueueing to its end."""

    keeps = True
    spare_bytes = SPARE_BYTES

    def alias(self) -> str:
        """The database that the rows of tasks are written to."""
        return get_alias()

    def add(self, payload: Payload, task: OutgoingTask) -> None:
        """Insert the row of a task that is to be sent."""
        with explain_missing_tables():
            add_row(payload, task)

    def select_unsent(self, ids: Collection[str]) -> Collection[str]:
        """
        Those of these tasks that are committed and to be sent.

        Empty if the database does not tell: the sweeper sends them later.
        """
        try:
            unsent = select_unsent(ids)
            return ask(lambda: set(unsent.values_list("pk", flat=True)))
        except Error as error:
            logger.warning("%d tasks are sent later: %r", len(ids), error)
            return ()

    def note_sent(self, names: Mapping[str, str]) -> None:
        """Note the names of tasks. What cannot be noted is logged."""
        try:
            note_sent(names)
        except Error as error:
            # They were sent. The sweeper may send them again, for nothing.
            ids = ", ".join(names)
            logger.warning(
                "id=%s was sent, but that could not be noted: %r", ids, error
            )

    def drop(self, payload: Payload) -> None:
        """Delete the row of a task, unless it was sent."""
        try:
            drop_row(payload.id)
        except Error as error:
            # Without a table nothing is kept.
            if not is_table_missing(error):
                raise

    def find(self, id: str) -> StoredResult | None:  # noqa: A002
        """See ResultStore.find()."""
        return find_result(id)

    def claim(self, payload: Payload, request: CloudTaskRequest) -> Claim:
        """Claim a task by a lease. See ResultStore.claim()."""
        return claim_task(payload, request)


class ErrorStore(ResultStore):
    """Rows of tasks that failed for good, and of no others."""

    spare_bytes = SPARE_BYTES

    def find(self, id: str) -> StoredResult | None:  # noqa: A002
        """See ResultStore.find(). Only tasks that failed are known."""
        return find_result(id)

    def claim(self, payload: Payload, request: CloudTaskRequest) -> Claim:
        """Let every attempt run, and keep it if it fails for good."""
        return ErrorClaim(payload, request)


#: The one that all tasks are kept in.
DATABASE_STORE = DatabaseStore()
