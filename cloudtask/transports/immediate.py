"""Runs tasks where they are enqueued, over the real wire format."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudtask.conf import clock
from cloudtask.dispatch import execution
from cloudtask.dispatch.kinds import make_attempt
from cloudtask.privacy.frames import hide_values
from cloudtask.privacy.redaction import NOTHING_SENSITIVE
from cloudtask.transports.base import Transport
from cloudtask.transports.in_process import UsedNames, make_meta
from cloudtask.wire.payload import decode

if TYPE_CHECKING:
    from cloudtask.conf import Settings
    from cloudtask.dispatch.attempts import Attempt
    from cloudtask.dispatch.outcomes import Outcome
    from cloudtask.wire.outgoing import OutgoingTask


class ImmediateTransport(Transport):
    """
    Encodes, decodes and runs each task at once, whenever it is scheduled.

    Its attempt is the first and the last. What a task raises, Reject
    excepted, surfaces where it was enqueued.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._names = UsedNames()

    def send(self, task: OutgoingTask) -> str:
        attempt, name = self._make_attempt(task)
        _surface(attempt, execution.run(attempt))
        return name

    async def asend(self, task: OutgoingTask) -> str:
        attempt, name = self._make_attempt(task)
        _surface(attempt, await execution.arun(attempt))
        return name

    def _make_attempt(self, task: OutgoingTask) -> tuple[Attempt, str]:
        name = self._names.claim(task)
        meta = make_meta(task, name, due=clock.now())
        attempt = make_attempt(decode(task.body), meta)
        # Nobody would try again, whatever its policy says.
        attempt.request.last_attempt = 1
        return attempt, name


def _surface(attempt: Attempt, outcome: Outcome) -> None:
    if outcome.error is None:
        return
    try:
        raise outcome.error
    except Exception as error:
        if attempt.sensitive is not NOTHING_SENSITIVE:
            hide_values(error, of_others=True)
        raise
