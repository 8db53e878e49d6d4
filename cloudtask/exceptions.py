"""
Every error that cloudtask raises.

    CloudTaskError
      ConfigurationError        also ImproperlyConfigured
      InvalidTask
        InvalidSchedule
      TaskNotFound              also LookupError
      PayloadError
        EncodeError
        DecodeError
        PayloadTooLarge
      EnqueueError
        TaskAlreadyExists
        QueueNotFound
        PermissionDenied
        ServiceUnavailable
      DispatchRefused
        MissingCredentials
        InvalidCredentials
      KeysUnavailable
      MetadataUnavailable
      StoreUnavailable
      SchedulerError
      ResultNotFound            also LookupError
      WorkerDied

Retry and Reject are control flow: task code raises them to say what happens
next.
"""

from __future__ import annotations

from datetime import timedelta

from django.core.exceptions import ImproperlyConfigured


class CloudTaskError(Exception):
    """Base of all errors of this package. Do not raise directly."""


class ConfigurationError(CloudTaskError, ImproperlyConfigured):
    """
    A setting is missing or wrong.

    The message starts with the setting's path: `CLOUDTASK['QUEUE']: ...`.

    Args:
        key: The setting; None where it is all of them.
        message: What is wrong, and what to do.
        where: The dictionary it belongs in, a task backend's OPTIONS perhaps.
    """

    def __init__(
        self, key: str | None, message: str, *, where: str = "CLOUDTASK"
    ) -> None:
        self.key = key
        self.message = message
        path = where if key is None else f"{where}[{key!r}]"
        super().__init__(f"{path}: {message}")


class InvalidTask(CloudTaskError):
    """A task has a bad definition, or was enqueued with bad options."""


class InvalidSchedule(InvalidTask):
    """A schedule has a bad cron, time zone or option, or bad arguments."""


class TaskNotFound(CloudTaskError, LookupError):
    """No task is registered under this path."""


class PayloadError(CloudTaskError):
    """A payload cannot be written or read."""


class EncodeError(PayloadError):
    """An argument cannot be carried by a payload."""


class DecodeError(PayloadError):
    """A body is not a valid payload."""


class PayloadTooLarge(PayloadError):
    """The task is larger than Cloud Tasks stores. Sizes are in bytes."""

    def __init__(self, path: str, size: int, limit: int) -> None:
        self.size = size
        self.limit = limit
        super().__init__(
            f"{path} takes {size} bytes as a stored task; Cloud Tasks takes at "
            f"most {limit}. Store the data elsewhere and pass its key."
        )


class EnqueueError(CloudTaskError):
    """
    Cloud Tasks did not accept a task.

    Attributes:
        queue_path: Full resource name of the queue.
        retryable: Whether the same call may succeed later.
    """

    retryable = False

    def __init__(self, message: str, *, queue_path: str) -> None:
        self.queue_path = queue_path
        super().__init__(message)


class TaskAlreadyExists(EnqueueError):
    """A task of this name is enqueued, or was within the last 24 hours."""

    def __init__(self, message: str, *, queue_path: str, name: str) -> None:
        self.name = name
        super().__init__(message, queue_path=queue_path)


class QueueNotFound(EnqueueError):
    """The queue does not exist, or is too new to be used."""


class PermissionDenied(EnqueueError):
    """The credentials may not enqueue, or not as the service account."""


class ServiceUnavailable(EnqueueError):
    """
    Cloud Tasks could not be reached, or did not answer in time.

    The task may have been enqueued all the same: only a named task can be
    sent again without the risk of running twice.
    """

    retryable = True


class DispatchRefused(CloudTaskError):
    """A dispatch carries no valid proof of who sent it."""


class MissingCredentials(DispatchRefused):
    """The request carries no credential that the settings ask for."""


class InvalidCredentials(DispatchRefused):
    """The request carries a credential that does not hold."""


class KeysUnavailable(CloudTaskError):
    """The keys that verify OIDC tokens cannot be fetched now."""


class MetadataUnavailable(CloudTaskError):
    """Only Google Cloud's metadata server can tell, and it does not now."""


class StoreUnavailable(CloudTaskError):
    """What becomes of tasks cannot be kept now: the database is away."""


class SchedulerError(CloudTaskError):
    """
    Cloud Scheduler did not do what was asked.

    Attributes:
        retryable: Whether the same call may succeed later.
    """

    def __init__(self, message: str, *, retryable: bool) -> None:
        self.retryable = retryable
        super().__init__(message)


class WorkerDied(CloudTaskError):
    """Workers died with a task until it was given up."""


class TaskGone(CloudTaskError):
    """A task left its queue, and no attempt of it was the last one."""


class ResultNotFound(CloudTaskError, LookupError):
    """Nothing is known of a task."""

    def __init__(self, task_id: str) -> None:
        super().__init__(
            f"Nothing is known of the task {task_id}: it was pruned, it was rolled "
            "back, or cloudtask.results does not keep it."
        )


def text_of(value: object) -> str:
    """Any object as a text for people, also one whose own text fails."""
    try:
        return str(value)
    except Exception:
        return f"<{type(value).__qualname__}>"


class Retry(Exception):
    """
    Raised by a task to be tried again.

    Args:
        reason: Why, for the log. Any object: an exception perhaps.
        after: Wait at least this long. Without it the queue's or the task's
            own backoff decides.
    """

    def __init__(self, reason: object = "", *, after: timedelta | None = None) -> None:
        if after is not None and not isinstance(after, timedelta):
            raise TypeError(f"Retry(after={after!r}) must be a timedelta.")
        if after is not None and after < timedelta(0):
            raise ValueError(f"Retry(after={after!r}) is negative.")
        self.reason = text_of(reason)
        self.after = after
        super().__init__(self.reason)


class Reject(Exception):
    """
    Raised by a task that must never be tried again.

    Args:
        reason: Why, for the log. Any object: an exception perhaps.
    """

    def __init__(self, reason: object = "") -> None:
        self.reason = text_of(reason)
        super().__init__(self.reason)
