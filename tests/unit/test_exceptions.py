from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.exceptions import ImproperlyConfigured

from cloudtask import exceptions
from cloudtask.exceptions import (
    CloudTaskError,
    ConfigurationError,
    DecodeError,
    DispatchRefused,
    EncodeError,
    EnqueueError,
    InvalidCredentials,
    InvalidSchedule,
    InvalidTask,
    KeysUnavailable,
    MetadataUnavailable,
    MissingCredentials,
    PayloadError,
    PayloadTooLarge,
    PermissionDenied,
    QueueNotFound,
    Reject,
    ResultNotFound,
    Retry,
    SchedulerError,
    ServiceUnavailable,
    StoreUnavailable,
    TaskAlreadyExists,
    TaskGone,
    TaskNotFound,
    WorkerDied,
)

QUEUE = "projects/p/locations/l/queues/q"

#: Each error with its bases, as users catch them.
BASES = {
    CloudTaskError: (Exception,),
    ConfigurationError: (CloudTaskError, ImproperlyConfigured),
    InvalidTask: (CloudTaskError,),
    InvalidSchedule: (InvalidTask,),
    SchedulerError: (CloudTaskError,),
    TaskNotFound: (CloudTaskError, LookupError),
    PayloadError: (CloudTaskError,),
    EncodeError: (PayloadError,),
    DecodeError: (PayloadError,),
    PayloadTooLarge: (PayloadError,),
    EnqueueError: (CloudTaskError,),
    TaskAlreadyExists: (EnqueueError,),
    QueueNotFound: (EnqueueError,),
    PermissionDenied: (EnqueueError,),
    ServiceUnavailable: (EnqueueError,),
    DispatchRefused: (CloudTaskError,),
    MissingCredentials: (DispatchRefused,),
    InvalidCredentials: (DispatchRefused,),
    KeysUnavailable: (CloudTaskError,),
    MetadataUnavailable: (CloudTaskError,),
    StoreUnavailable: (CloudTaskError,),
    TaskGone: (CloudTaskError,),
    WorkerDied: (CloudTaskError,),
    ResultNotFound: (CloudTaskError, LookupError),
    # Control flow, which `except CloudTaskError` must not catch.
    Retry: (Exception,),
    Reject: (Exception,),
}


def test_every_error_stands_where_the_documentation_says() -> None:
    found = {
        value: value.__bases__
        for value in vars(exceptions).values()
        if isinstance(value, type) and value.__module__ == exceptions.__name__
    }

    assert found == BASES


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("QUEUE", "CLOUDTASK['QUEUE']: is not set."),
        (None, "CLOUDTASK: is not set."),  # The whole setting.
    ],
)
def test_a_configuration_error_starts_with_the_path_of_the_setting(
    key: str | None, text: str
) -> None:
    error = ConfigurationError(key, "is not set.")

    assert str(error) == text
    assert error.key == key


def test_a_payload_that_is_too_large_tells_both_sizes() -> None:
    error = PayloadTooLarge("shop.tasks.add", 2_000_000, 1_048_569)

    assert (error.size, error.limit) == (2_000_000, 1_048_569)
    assert str(error) == (
        "shop.tasks.add takes 2000000 bytes as a stored task; Cloud Tasks takes at "
        "most 1048569. Store the data elsewhere and pass its key."
    )


@pytest.mark.parametrize(
    ("kind", "retryable"),
    [
        (EnqueueError, False),
        (QueueNotFound, False),
        (PermissionDenied, False),
        (ServiceUnavailable, True),  # The one that another call may get past.
    ],
)
def test_an_enqueue_error_tells_its_queue_and_whether_to_repeat(
    kind: type[EnqueueError], retryable: bool
) -> None:
    error = kind("no", queue_path=QUEUE)

    assert (str(error), error.queue_path, error.retryable) == ("no", QUEUE, retryable)


def test_a_duplicate_tells_its_name() -> None:
    error = TaskAlreadyExists("twice", queue_path=QUEUE, name=f"{QUEUE}/tasks/t")

    assert error.name == f"{QUEUE}/tasks/t"
    assert error.queue_path == QUEUE
    assert not error.retryable


def test_retry_carries_its_reason_and_wait() -> None:
    error = Retry("not yet", after=timedelta(minutes=5))

    assert (str(error), error.reason) == ("not yet", "not yet")
    assert error.after == timedelta(minutes=5)


def test_retry_needs_neither_reason_nor_wait() -> None:
    error = Retry()

    assert (str(error), error.reason, error.after) == ("", "", None)
    assert Retry(after=timedelta(0)).after == timedelta(0)


def test_retry_refuses_a_negative_wait() -> None:
    with pytest.raises(ValueError, match=r"^Retry\(after=.*\) is negative\.$"):
        Retry(after=timedelta(seconds=-1))


def test_reject_carries_its_reason() -> None:
    assert (str(Reject("gone")), Reject("gone").reason) == ("gone", "gone")
    assert Reject().reason == ""
