"""The transport to Google Cloud Tasks, or to an emulator of it."""

from __future__ import annotations

import uuid
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

from grpc import StatusCode

from cloudtask.exceptions import EnqueueError, QueueNotFound
from cloudtask.privacy.frames import hide_values
from cloudtask.transports.base import QueueTransport
from cloudtask.transports.google import batches
from cloudtask.transports.google.calls import Calls
from cloudtask.transports.google.channel import Link
from cloudtask.transports.google.errors import (
    Refused,
    make_error,
    make_send_error,
    make_task_error,
)
from cloudtask.transports.google.messages import (
    DeleteTask,
    GetTask,
    RunTask,
    get_metadata,
    make_metadata,
    to_message,
)
from cloudtask.transports.google.operations import Operations, may_work_singly
from cloudtask.wire.headers import SECRET_HEADER
from cloudtask.wire.limits import MAX_BATCH_CREATED
from cloudtask.wire.naming import find_queue_path
from cloudtask.wire.outgoing import OidcToken, OutgoingTask, Target

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cloudtask.conf import Settings
    from cloudtask.transports.patience import Patience

_NOTHING_SAID = (StatusCode.UNKNOWN, "nothing is said of it")


class GoogleTransport(QueueTransport):
    """
    One connection for the process, made by Google's library on first use.

    After a fork the child makes its own. Calls go through the channel of
    Google's client as plain protobuf messages.
    """

    batch_size = MAX_BATCH_CREATED

    @property
    def has_own_clock(self) -> bool:  # type: ignore[override]
        """Whether the queues are an emulator's, whose clock may be moved."""
        return self.settings.emulator() is not None

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._timeout = settings.rpc_timeout.total_seconds()
        self._link = Link(settings)
        self._operations = Operations(self._link)

    def target(self, settings: Settings) -> Target:
        """
        Where tasks of some settings go, and what proves who sent them.

        Raises:
            ConfigurationError: Something is not known, or the dispatch view
                would refuse every task.
            MetadataUnavailable: Nobody can tell now.
        """
        email = settings.service_account()
        if not (email or settings.secret or settings.sign or settings.has_own_auth):
            raise settings.error(
                "SIGN",
                "is off, and neither SECRET nor SAE is set, so the dispatch view would "
                "refuse this task. Turn SIGN on, or set one of them.",
            )
        return Target(
            project=settings.require_project(),
            location=settings.require_location(),
            url=settings.find_url(),
            headers={SECRET_HEADER: settings.secret} if settings.secret else {},
            oidc=OidcToken(email=email, audience=settings.accepted_audiences()[0])
            if email
            else None,
        )

    def connect(self) -> None:
        """Connect to the service or the emulator. See Transport.connect()."""
        self._link.connect()

    def close(self) -> None:
        """See Transport.close()."""
        self._link.close()

    # One task

    def send(self, task: OutgoingTask) -> str:
        """Call CreateTask. Only for a named task may the call be repeated."""
        return self._send_within(task, inf)

    def _send_within(self, task: OutgoingTask, timeout: float) -> str:
        try:
            request, calls = to_message(task), self._prepare_calls(task, timeout)
            try:
                metadata = get_metadata(task.route)
                return str(calls.make("CreateTask", request, metadata).name)
            except Refused as refused:
                return _settle(task, refused)
        except Exception as error:
            hide_values(error, of_others=True)
            raise

    async def asend(self, task: OutgoingTask) -> str:
        """See send()."""
        try:
            request, calls = to_message(task), self._prepare_calls(task, inf)
            try:
                metadata = get_metadata(task.route)
                return str((await calls.amake("CreateTask", request, metadata)).name)
            except Refused as refused:
                return _settle(task, refused)
        except Exception as error:
            hide_values(error, of_others=True)
            raise

    def _prepare_calls(self, task: OutgoingTask, timeout: float) -> Calls:
        # Of an unnamed task a lost answer may mean that it was enqueued.
        may_repeat = task.task_id is not None
        return Calls(self._link, min(timeout, self._timeout), may_repeat=may_repeat)

    # Many tasks

    def send_many(
        self, tasks: Sequence[OutgoingTask], patience: Patience | None = None
    ) -> list[str | EnqueueError]:
        """
        Enqueue tasks, up to 100 of one queue by one call.

        See Transport.send_many().
        """
        patience = patience or self.patience()
        answers: dict[int, str | EnqueueError] = {}
        try:
            messages = [to_message(task) for task in tasks]
            for chunk in batches.chunk_creations(messages):
                some = [(tasks[index], messages[index]) for index in chunk]
                answered = self._send_chunk(some, patience)
                answers.update(zip(chunk, answered, strict=True))
        except Exception as error:
            hide_values(error, of_others=True)
            raise
        return [answers[index] for index in range(len(tasks))]

    def _send_chunk(
        self, some: Sequence[tuple[OutgoingTask, Any]], patience: Patience
    ) -> list[str | EnqueueError]:
        """Send tasks of one queue by one call, or by one for each."""
        alone = len(some) == 1
        together = None if alone else patience.ask(partial(self._create, some))
        if isinstance(together, EnqueueError):
            return [together] * len(some)
        if together is not None:
            return together
        return [patience.ask(partial(self._send_within, task)) for task, _ in some]

    def _create(
        self, some: Sequence[tuple[OutgoingTask, Any]], timeout: float
    ) -> list[str | EnqueueError] | None:
        """
        Send tasks of one queue by one call.

        Returns:
            What comes of each; None where single calls are to be made.

        Raises:
            EnqueueError: None was accepted, or nobody knows.
        """
        tasks, messages = zip(*some, strict=True)
        parent = messages[0].parent
        # Of one id, a call is carried out once, however often it is made.
        request = batches.make_creation(parent, messages, str(uuid.uuid4()))
        what = f"{len(some)} tasks for {parent}"
        operation = self._run_batch("BatchCreateTasks", request, timeout, what)
        if operation is None:
            return None
        names, failures = batches.read_creation(operation, len(some))
        if len(names.keys() | failures.keys()) < len(some):
            why = "its answer leaves tasks out"
            self._operations.give_up("BatchCreateTasks", parent, why)
        return [
            names.get(index)
            or make_send_error(task, *failures.get(index, _NOTHING_SAID))
            for index, task in enumerate(tasks)
        ]

    def _run_batch(
        self, method: str, request: Any, timeout: float, what: str
    ) -> Any | None:
        """See _create(). Returns the operation."""
        try:
            return self._operations.run(method, request, min(timeout, self._timeout))
        except Refused as refused:
            if may_work_singly(refused.code):
                return None
            parent, code = request.parent, refused.code
            raise make_error(what, code, refused.details, parent) from refused

    # What is in a queue

    def delete(self, name: str, timeout: float = inf) -> None:
        """See QueueTransport.delete()."""
        self._ask("DeleteTask", DeleteTask(name=name), timeout)

    def has(self, name: str, timeout: float = inf) -> bool:
        """See QueueTransport.has()."""
        return self._ask("GetTask", GetTask(name=name), timeout)

    def run(self, name: str, timeout: float = inf) -> bool:
        """See QueueTransport.run()."""
        return self._ask("RunTask", RunTask(name=name), timeout)

    def _ask(self, method: str, request: Any, timeout: float) -> bool:
        """Whether Cloud Tasks has the task that a call is for."""
        seconds = min(timeout, self._timeout)
        calls = Calls(self._link, seconds, may_repeat=False)
        try:
            calls.make(method, request, make_metadata(name=request.name))
        except Refused as refused:
            if refused.code is StatusCode.NOT_FOUND:
                return False
            code, details = refused.code, refused.details
            cause = refused.__cause__
            raise make_task_error(request.name, code, details) from cause
        return True

    def delete_many(
        self, names: Sequence[str], patience: Patience | None = None
    ) -> dict[str, EnqueueError]:
        """
        Delete tasks, up to 1,000 of one queue by one call.

        See QueueTransport.delete_many().
        """
        patience = patience or self.patience()
        left: dict[str, EnqueueError | None] = {}
        for chunk in batches.chunk_deletions(names):
            left.update(self._delete_chunk(chunk, patience))
        return {name: why for name, why in left.items() if why is not None}

    def _delete_chunk(
        self, names: Sequence[str], patience: Patience
    ) -> Mapping[str, EnqueueError | None]:
        """Delete tasks of one queue by one call, or by one for each."""
        alone = len(names) == 1
        together = None if alone else patience.ask(partial(self._delete, names))
        if isinstance(together, EnqueueError):
            return dict.fromkeys(names, together)
        if together is not None:
            return together
        return {name: patience.ask(partial(self.delete, name)) for name in names}

    def _delete(
        self, names: Sequence[str], timeout: float
    ) -> Mapping[str, EnqueueError] | None:
        """See _create(). Returns those that may be there still."""
        parent = find_queue_path(names[0])
        request = batches.make_deletion(parent, names)
        what = f"{len(names)} tasks of {parent}"
        try:
            operation = self._run_batch("BatchDeleteTasks", request, timeout, what)
        except QueueNotFound:
            return {}  # They are gone with their queue.
        if operation is None:
            return None
        failures = batches.read_deletion(operation, len(names))
        return {
            names[index]: make_task_error(names[index], code, details)
            for index, (code, details) in failures.items()
            if code is not StatusCode.NOT_FOUND
        }


def _settle(task: OutgoingTask, refused: Refused) -> str:
    """
    Return the name of a task whose first call had worked after all.

    Raises:
        EnqueueError: It was not accepted.
    """
    if refused.was_repeated and refused.code is StatusCode.ALREADY_EXISTS:
        return str(task.name)
    raise make_send_error(task, refused.code, refused.details) from refused.__cause__
