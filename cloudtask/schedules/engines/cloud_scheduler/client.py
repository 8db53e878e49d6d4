"""The calls of Cloud Scheduler, and what they do with jobs."""

from __future__ import annotations

import threading
from time import monotonic
from typing import TYPE_CHECKING, Any

from grpc import StatusCode

from cloudtask.privacy.frames import hide_values
from cloudtask.schedules.engines.cloud_scheduler import messages
from cloudtask.schedules.engines.cloud_scheduler.diff import ALL, compare, find_switch
from cloudtask.schedules.engines.cloud_scheduler.errors import make_error
from cloudtask.schedules.engines.cloud_scheduler.messages import (
    CLOUD_SCHEDULER,
    from_message,
    to_message,
)
from cloudtask.transports.google.calls import Calls
from cloudtask.transports.google.channel import Link
from cloudtask.transports.google.errors import Refused
from cloudtask.transports.google.messages import make_metadata

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cloudtask.conf import Settings
    from cloudtask.exceptions import SchedulerError
    from cloudtask.schedules.engines.cloud_scheduler.jobs import Job

#: Jobs of one answer, which is the most that Cloud Scheduler gives.
_PAGE_SIZE = 500
_UNANSWERED = (StatusCode.DEADLINE_EXCEEDED, StatusCode.UNAVAILABLE)


class Client:
    """
    Cloud Scheduler, or an emulator of it, over one connection.

    Every call may be repeated: none of them does more the second time.

    Args:
        settings: How to connect: CREDENTIALS, EMULATOR_HOST, RPC_TIMEOUT.
    """

    def __init__(self, settings: Settings) -> None:
        self._timeout = settings.rpc_timeout.total_seconds()
        self._link = Link(settings, CLOUD_SCHEDULER)
        #: Until when nobody is asked: many rows of one transaction wait once.
        self._silent_until = 0.0

    def close(self) -> None:
        """Give back the connection."""
        self._link.close()

    def find(self, name: str) -> Job | None:
        """
        Find a job; None if there is none.

        Raises:
            SchedulerError: Nobody can tell.
        """
        try:
            return self._ask("GetJob", name)
        except Refused as refused:
            if refused.code is StatusCode.NOT_FOUND:
                return None
            raise make_error(f"{name} cannot be read", refused) from refused

    def iterate_jobs(self, parent: str) -> Iterator[Job]:
        """
        Iterate over all jobs of a region, ours or not.

        Raises:
            SchedulerError: They cannot be listed.
        """
        request = messages.ListJobs(parent=parent, page_size=_PAGE_SIZE)
        while True:
            try:
                answer = self._call("ListJobs", request, parent=parent)
            except Refused as refused:
                what = f"the jobs of {parent} cannot be listed"
                raise make_error(what, refused) from refused
            yield from map(from_message, answer.jobs)
            request.page_token = answer.next_page_token
            if not request.page_token:
                return

    def put(self, wanted: Job) -> None:
        """
        Have a job be there, as it should be, whatever is there now.

        Raises:
            SchedulerError: It may not be.
        """
        found = self.find(wanted.name)
        if found is None:
            self.create(wanted)
        else:
            # What cannot be seen is written.
            mask = ALL if found.is_partial else compare(wanted, found).mask
            self._bring(wanted, found, mask)

    def create(self, wanted: Job) -> None:
        """
        Create a job, or change the one that somebody else has created now.

        Raises:
            SchedulerError: See put().
        """
        parent = wanted.name.partition("/jobs/")[0]
        request = messages.CreateJob(parent=parent, job=to_message(wanted))
        try:
            found = from_message(self._call("CreateJob", request, parent=parent))
        except Refused as refused:
            if refused.code is StatusCode.ALREADY_EXISTS:
                self.change(wanted)
                return
            raise _make_job_error("created", wanted, refused) from refused
        # A tick before it is paused does no harm: the schedule's row is.
        self._bring(wanted, found, ())

    def change(self, wanted: Job) -> None:
        """
        Change what differs of a job that is there.

        Raises:
            SchedulerError: See put(). It may have been deleted.
        """
        try:
            found = self._ask("GetJob", wanted.name)
        except Refused as refused:
            raise _make_job_error("read", wanted, refused) from refused
        self._bring(wanted, found, compare(wanted, found).mask)

    def delete(self, name: str) -> None:
        """
        Delete a job. One that is not there is not an error.

        Raises:
            SchedulerError: It may be there still.
        """
        request = messages.DeleteJob(name=name)
        try:
            self._call("DeleteJob", request, name=name)
        except Refused as refused:
            if refused.code is not StatusCode.NOT_FOUND:
                raise make_error(f"{name} was not deleted", refused) from refused

    def _bring(self, wanted: Job, found: Job, mask: Sequence[str]) -> None:
        if mask:
            found = self._update(wanted, mask)
        switch = find_switch(wanted.state, found.state)
        if switch is not None:
            self._switch(wanted, switch)

    def _update(self, wanted: Job, mask: Sequence[str]) -> Job:
        request = messages.UpdateJob(job=to_message(wanted))
        request.update_mask.paths.extend(mask)
        try:
            metadata = {"job.name": wanted.name}
            return from_message(self._call("UpdateJob", request, **metadata))
        except Refused as refused:
            raise _make_job_error("updated", wanted, refused) from refused

    def _switch(self, wanted: Job, method: str) -> None:
        """Pause or resume a job, unless somebody else has done so now."""
        try:
            self._ask(method, wanted.name)
        except Refused as refused:
            if refused.code is StatusCode.FAILED_PRECONDITION:
                found = self.find(wanted.name)
                if found is not None and found.state is wanted.state:
                    return
            what = "paused" if method == "PauseJob" else "resumed"
            raise _make_job_error(what, wanted, refused) from refused

    def _ask(self, method: str, name: str) -> Job:
        """Make a call that takes the name of a job and returns the job."""
        request = getattr(messages, method)(name=name)
        return from_message(self._call(method, request, name=name))

    def _call(self, method: str, request: Any, **resource: str) -> Any:
        if monotonic() < self._silent_until:
            details = "it did not answer a moment ago"
            raise Refused(StatusCode.UNAVAILABLE, details)
        try:
            calls = Calls(self._link, self._timeout, may_repeat=True)
            return calls.make(method, request, make_metadata(**resource))
        except Exception as error:
            hide_values(error, of_others=True)
            if isinstance(error, Refused) and error.code in _UNANSWERED:
                self._silent_until = monotonic() + self._timeout
            raise


def _make_job_error(done: str, job: Job, refused: Refused) -> SchedulerError:
    secrets = job.headers.values()
    return make_error(f"{job.name} was not {done}", refused, secrets)


_lock = threading.Lock()
_open: tuple[Settings, Client] | None = None


def get_client(settings: Settings) -> Client:
    """Get the one client of this process, made anew where settings change."""
    global _open
    with _lock:
        # By identity: conf gives one object as long as nothing changes.
        if _open is None or _open[0] is not settings:
            if _open is not None:
                _open[1].close()
            _open = (settings, Client(settings))
        return _open[1]
