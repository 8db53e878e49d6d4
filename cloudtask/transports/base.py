"""What every transport takes, gives and refuses."""

from __future__ import annotations

import asyncio
import secrets
import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from asgiref.sync import sync_to_async

from cloudtask import naming
from cloudtask.conf import get_settings
from cloudtask.exceptions import (
    EnqueueError,
    PayloadTooLarge,
    ResultNotFound,
    TaskAlreadyExists,
)
from cloudtask.frames import hide_values
from cloudtask.signing import headers_for
from cloudtask.stores import get_store
from cloudtask.validation import DEFAULT_DEADLINE, MAX_HEADER_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime, timedelta

    from cloudtask.conf import Settings
    from cloudtask.payload import Payload
    from cloudtask.retry import RetryPolicy
    from cloudtask.stores import StoredResult

_T = TypeVar("_T")
_R = TypeVar("_R")

#: Bytes of a stored task, measured on the service: 1 MiB less 7. Its view does
#: not count.
MAX_STORED_BYTES = 1_048_569
#: Bytes that everything but the body takes at the most: headers, of which
#: MAX_HEADER_BYTES are the task's own, URL, names, audience, e-mail, times.
_REST_BYTES = MAX_HEADER_BYTES + 32 * 1024
#: Longest id that Cloud Tasks gives an unnamed task.
_ASSIGNED_ID_BYTES = 20
#: Header that Cloud Tasks adds to the stored task.
_ADDED_HEADER = ("User-Agent", "Google-Cloud-Tasks")


@dataclass(slots=True)
class EnqueuedTask:
    """
    A task that was handed over, or waits for the commit of a transaction.

    Until the commit `name` is None, and so is that of a task that the
    database rolled back.
    """

    id: str  # 128 bits in hex, given here.
    queue: str  # Queue name.
    name: str | None = None  # Full resource name.
    schedule_time: datetime | None = None  # Aware; None is "at once".

    def sent_as(self, name: str) -> None:
        self.name = name

    def result(self, timeout: float | None = None) -> StoredResult:
        """
        What is known of this task. Kept by `cloudtask.results`.

        Args:
            timeout: Wait until it has finished, up to so many seconds.

        Raises:
            ResultNotFound: Nothing is.
            TimeoutError: It has not finished in time.
        """
        deadline = monotonic() + timeout if timeout is not None else None
        pauses = _pauses()
        while not (found := self._found()).is_finished and deadline is not None:
            threading.Event().wait(_until(deadline, next(pauses)))
        return found

    async def aresult(self, timeout: float | None = None) -> StoredResult:
        """See result()."""
        deadline = monotonic() + timeout if timeout is not None else None
        pauses = _pauses()
        find = sync_to_async(self._found)
        while not (found := await find()).is_finished and deadline is not None:
            await asyncio.sleep(_until(deadline, next(pauses)))
        return found

    def _found(self) -> StoredResult:
        found = get_store(get_settings()).find(self.id)
        if found is None:
            raise ResultNotFound(self.id)
        return found


def _pauses() -> Iterator[float]:
    """Seconds between two looks: short first, for short tasks."""
    pause = 0.05
    while True:
        yield pause
        pause = min(1.0, pause * 1.5)


def _until(deadline: float, pause: float) -> float:
    left = deadline - monotonic()
    if left <= 0:
        raise TimeoutError("The task has not finished in time.")
    return min(pause, left)


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcToken:
    """Whom Cloud Tasks signs a dispatch as, and for whom."""

    email: str
    audience: str


@dataclass(slots=True, kw_only=True, eq=False)
class Route:
    """
    Where and how the tasks of one definition go: all that they share.

    Never changed once made, but for `prepared`.
    """

    queue_path: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    deadline: timedelta | None = None
    retry: RetryPolicy | None = None
    oidc: OidcToken | None = None
    prepared: Any = field(default=None, repr=False)  # For the transport to keep.

    @property
    def queue(self) -> str:
        """The queue's name, without its path."""
        return self.queue_path.rpartition("/")[2]


# Not frozen, which would double what it costs to make one for each task.
@dataclass(slots=True, kw_only=True)
class OutgoingTask:
    """One task as Cloud Tasks is to store it. Never changed once made."""

    id: str  # The payload's.
    path: str  # The task definition's.
    route: Route
    body: bytes = field(repr=False)
    task_id: str | None = None  # None lets Cloud Tasks choose one.
    schedule_time: datetime | None = None
    # Beside its route's. Not shown: they prove where it comes from.
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str | None:
        if self.task_id is None:
            return None
        return f"{self.route.queue_path}/tasks/{self.task_id}"


def make_outgoing(
    settings: Settings,
    payload: Payload,
    route: Route,
    body: bytes,
    *,
    task_id: str | None = None,
    schedule_time: datetime | None = None,
) -> OutgoingTask:
    """
    The task of a payload, with the headers that it alone carries.

    Args:
        settings: By which it is enqueued.
        payload: What `body` says.
        route: Where it goes.
        body: The payload, encoded.
        task_id: See OutgoingTask.
        schedule_time: See OutgoingTask.

    Raises:
        ConfigurationError: It cannot be signed.
    """
    return OutgoingTask(
        id=payload.id,
        path=payload.task,
        route=route,
        body=body,
        task_id=task_id,
        schedule_time=schedule_time,
        headers=headers_for(settings, payload, body, schedule_time),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where tasks of these settings go, and what proves who sent them."""

    project: str = "local"
    location: str = "local"
    url: str | None = None  # None leaves it to each task.
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    oidc: OidcToken | None = None

    def queue_path(self, queue: str) -> str:
        return naming.queue_path(self.project, self.location, queue)


class Transport(ABC):
    """
    Hands tasks over. One object serves all threads of a process.

    `send` and `asend` get tasks that were checked; they raise EnqueueError
    for what the other side refuses.

    Args:
        settings: How to connect: CREDENTIALS, EMULATOR_HOST, RPC_TIMEOUT.
            Backends that agree on these share one object.
    """

    #: Tasks that send_many() hands over by one call, at the most.
    batch_size = 1

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def target(self, settings: Settings) -> Target:
        """
        Where tasks of some settings go.

        Here, for tasks that never leave the process.
        """
        return Target(
            project=settings.project or "local",
            location=settings.location or "local",
            url=settings.url or "http://localhost/",
        )

    def connect(self) -> None:  # noqa: B027 - most have nothing to connect to
        """
        Prepare for send(), before a task is kept that never could be sent.

        Raises:
            ConfigurationError: Nothing can be sent with these settings.
        """

    @abstractmethod
    def send(self, task: OutgoingTask) -> str:
        """
        Enqueue one task.

        Returns:
            The task's full resource name.

        Raises:
            EnqueueError: It was not accepted; see `retryable`.
        """

    async def asend(self, task: OutgoingTask) -> str:
        """See send()."""
        return self.send(task)

    def send_many(
        self, tasks: Sequence[OutgoingTask], patience: Patience | None = None
    ) -> list[str | EnqueueError]:
        """
        Enqueue tasks, each as send() does.

        Args:
            tasks: To any queues.
            patience: For several calls of one caller.

        Returns:
            For each task its full resource name, or why it was not accepted.
        """
        patience = patience or self.patience()
        return [patience.ask(self.send, task) for task in tasks]

    def delete(self, name: str) -> None:  # noqa: B027 - most keep no tasks
        """
        Take a task out of its queue. One that is not there is no error.

        Raises:
            EnqueueError: Nobody answered.
        """

    def delete_many(self, names: Sequence[str]) -> dict[str, EnqueueError]:
        """
        Take tasks out of their queues, as delete() does with one.

        Returns:
            Why, for each that may be there still.
        """
        patience = self.patience()
        answers = {name: patience.ask(self.delete, name) for name in names}
        return {name: why for name, why in answers.items() if why is not None}

    def has(self, name: str) -> bool:
        """
        Whether a task is in its queue still.

        Raises:
            EnqueueError: Nobody answered.
        """
        return False

    def run(self, name: str) -> bool:
        """
        Have a task dispatched now, whenever it is scheduled.

        Returns:
            Whether it was in its queue.

        Raises:
            EnqueueError: Nobody answered.
        """
        return False

    def patience(self) -> Patience:
        """For calls one after the other."""
        # A call that is given up took longer: repeats end before the timeout.
        return Patience(self.settings.rpc_timeout / 2)

    def close(self) -> None:  # noqa: B027 - most have nothing to close
        """Give back connections. Calling it twice does no harm."""


class Patience:
    """
    Makes calls until those without an answer have taken too long together.

    So an outage costs one timeout, however many calls there are to make. What
    is refused at once holds up nothing.
    """

    def __init__(self, wait: timedelta) -> None:
        self._seconds = wait.total_seconds()
        self._outage: EnqueueError | None = None

    def ask(self, call: Callable[[_T], _R], about: _T) -> _R | EnqueueError:
        """What a call returns, or its error, or the one that ended it all."""
        if self._outage is not None:
            return self._outage
        started = monotonic()
        try:
            return call(about)
        except EnqueueError as error:
            # It is kept, and may be raised elsewhere.
            hide_values(error, of_others=True)
            if error.retryable:
                self._seconds -= monotonic() - started
                self._outage = error if self._seconds <= 0 else None
            return error


class UsedNames:
    """
    Names of tasks, for transports without a server that keeps them.

    A name stays used after its task ran, as it does at Cloud Tasks.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._names: set[str] = set()

    def claim(self, task: OutgoingTask) -> str:
        """
        The task's name, chosen here for an unnamed one.

        Raises:
            TaskAlreadyExists: It is in use.
        """
        name = task.name or f"{task.route.queue_path}/tasks/{secrets.randbits(63)}"
        with self._lock:
            if name in self._names:
                raise already_exists(task, name)
            self._names.add(name)
        return name

    def clear(self) -> None:
        with self._lock:
            self._names.clear()


def meta_of(
    task: OutgoingTask, name: str, *, due: datetime, retry_count: int = 0
) -> dict[str, str]:
    """The environment that Cloud Tasks' dispatch of this task would bring."""
    headers = {**task.route.headers, **task.headers}
    meta = {f"HTTP_{k.upper().replace('-', '_')}": v for k, v in headers.items()}
    return {
        **meta,
        "HTTP_X_CLOUDTASKS_QUEUENAME": task.route.queue,
        "HTTP_X_CLOUDTASKS_TASKNAME": name.rpartition("/")[2],
        "HTTP_X_CLOUDTASKS_TASKRETRYCOUNT": str(retry_count),
        "HTTP_X_CLOUDTASKS_TASKETA": f"{due.timestamp():.6f}",
    }


def already_exists(task: OutgoingTask, name: str) -> TaskAlreadyExists:
    return TaskAlreadyExists(
        f"{task.path} is enqueued already as {name}, or was within the last 24 "
        "hours. Wait, or give it another id with named=.",
        queue_path=task.route.queue_path,
        name=name,
    )


def check_size(task: OutgoingTask) -> None:
    """
    Refuse a task that Cloud Tasks would not store.

    Raises:
        PayloadTooLarge: It is over MAX_STORED_BYTES.
    """
    if len(task.body) + _REST_BYTES < MAX_STORED_BYTES:
        return
    size = stored_size(task)
    if size > MAX_STORED_BYTES:
        raise PayloadTooLarge(task.path, size, MAX_STORED_BYTES)


def stored_size(task: OutgoingTask) -> int:
    """
    Bytes of the stored `google.cloud.tasks.v2.Task`, defaults filled in.

    What the service chooses, an id or the time "now", is counted at its
    longest.
    """
    name = len(task.name or f"{task.route.queue_path}/tasks/{'9' * _ASSIGNED_ID_BYTES}")
    fields = (
        _field(name),
        _field(_http_request_size(task)),
        _field(_SECONDS_BYTES + _NANOS_BYTES),  # schedule_time
        _field(_SECONDS_BYTES),  # create_time, whole seconds
        _duration(task.route.deadline or DEFAULT_DEADLINE),
        _field(_retry_size(task.route.retry)) if task.route.retry else 0,
    )
    return sum(fields)


def _http_request_size(task: OutgoingTask) -> int:
    size = _field(len(task.route.url.encode())) + _number(1) + _field(len(task.body))
    headers = (*task.route.headers.items(), *task.headers.items(), _ADDED_HEADER)
    for key, value in headers:
        size += _field(_field(len(key)) + _field(len(value)))
    if task.route.oidc is not None:
        email, audience = (
            task.route.oidc.email.encode(),
            task.route.oidc.audience.encode(),
        )
        size += _field(_field(len(email)) + _field(len(audience)))
    return size


def _retry_size(retry: RetryPolicy) -> int:
    durations = (retry.max_retry_duration, retry.min_backoff, retry.max_backoff)
    numbers = (retry.max_attempts, retry.max_doublings)
    return sum(_duration(d) for d in durations if d is not None) + sum(
        _number(n) for n in numbers if n is not None
    )


# Sizes of protobuf fields, each with its one byte of tag. A zero is not sent.

_SECONDS_BYTES = _NANOS_BYTES = 6


def _field(length: int) -> int:
    return 1 + _varint(length) + length


def _duration(value: timedelta) -> int:
    seconds = _number(value.days * 86_400 + value.seconds)
    return _field(seconds + _number(value.microseconds * 1000))


def _number(value: int) -> int:
    return 1 + _varint(value) if value else 0


def _varint(value: int) -> int:
    return 10 if value < 0 else (max(1, value.bit_length()) + 6) // 7
