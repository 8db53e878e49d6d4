"""What Cloud Tasks refuses: messages and details in the service's words."""

from __future__ import annotations

from google.rpc import code_pb2, error_details_pb2

from cloudtask.emulator.values.errors import ApiError, invalid_argument

_REFERENCE = (
    "https://cloud.google.com/tasks/docs/reference/rest/v2/projects.locations.queues"
)
# Messages travel in headers, which clients limit.
_LONGEST_ID = 1000


def permission_denied(project: str) -> ApiError:
    """A name does not say which project it is in."""
    project = project[:_LONGEST_ID]
    message = f"Permission denied on resource project {project}."
    return ApiError(
        code_pb2.PERMISSION_DENIED,
        message,
        (
            error_details_pb2.ErrorInfo(
                reason="CONSUMER_INVALID",
                domain="googleapis.com",
                metadata={
                    "consumer": f"projects/{project}",
                    "containerInfo": project,
                    "service": "cloudtasks.googleapis.com",
                },
            ),
            error_details_pb2.LocalizedMessage(locale="en-US", message=message),
            _help("Google developers console", "https://console.developers.google.com"),
        ),
    )


def bad_queue_name() -> ApiError:
    """The full name of a queue is malformed."""
    return invalid_argument(
        "Queue name must be formatted: "
        '"projects/<PROJECT_ID>/locations/<LOCATION_ID>/queues/<QUEUE_ID>".',
        (_help("Definition of queue name", f"{_REFERENCE}#Queue.FIELDS.name"),),
    )


def bad_queue_id(queue_id: str) -> ApiError:
    """The last part of a queue's name is malformed."""
    return invalid_argument(
        f'Queue ID "{queue_id[:_LONGEST_ID]}" can contain only letters ([A-Za-z]), '
        "numbers ([0-9]), or hyphens (-). "
        "Queue ID must be between 1 and 100 characters."
    )


def bad_task_name() -> ApiError:
    """The full name of a task is malformed."""
    # Unconfirmed wording.
    return invalid_argument(
        'Task name must be formatted: "projects/<PROJECT_ID>/locations/<LOCATION_ID>'
        '/queues/<QUEUE_ID>/tasks/<TASK_ID>"'
    )


def bad_task_id(task_id: str) -> ApiError:
    """The last part of a task's name is malformed."""
    return invalid_argument(
        f'Task ID "{task_id[:_LONGEST_ID]}" can contain only letters ([A-Za-z]), '
        "numbers ([0-9]), hyphens (-), or underscores (_). "
        "Task ID must between 1 and 500 characters.",
        (_help("Definition of task ID", f"{_REFERENCE}.tasks#Task.FIELDS.name"),),
    )


def queue_mismatch(parent: str, queue: str) -> ApiError:
    """A task is named as one of another queue."""
    return invalid_argument(
        f"The queue name from request ('{parent}') must be the same as "
        f"the queue name in the named task ('{queue}')."
    )


def queue_exists() -> ApiError:
    """There is a queue of this name."""
    return ApiError(code_pb2.ALREADY_EXISTS, "Queue already exists")


def queue_not_found() -> ApiError:
    """There is no such queue."""
    return ApiError(
        code_pb2.NOT_FOUND,
        "Queue does not exist. If you just created the queue, "
        "wait at least a minute for the queue to initialize.",
    )


def task_exists() -> ApiError:
    """The name is taken: by a task, or for some time after one."""
    return ApiError(code_pb2.ALREADY_EXISTS, "Requested entity already exists")


def task_is_gone() -> ApiError:
    """The task has succeeded or was deleted, not long ago."""
    return ApiError(
        code_pb2.NOT_FOUND,
        "The task no longer exists, though a task with this name existed recently. "
        "The task either successfully completed or was deleted.",
    )


def queue_existed_recently() -> ApiError:
    """The name of a deleted queue is still blocked."""
    return ApiError(
        code_pb2.FAILED_PRECONDITION,
        "The queue cannot be created because a queue with this name existed "
        "too recently.",
    )


def stale_policy() -> ApiError:
    """The policy was changed since the caller read it."""
    return ApiError(
        code_pb2.ABORTED,
        "There were concurrent policy changes. "
        "Please retry the whole read-modify-write with exponential backoff.",
    )


def no_http_target() -> ApiError:
    """The queue does not say where buffered tasks are to be sent."""
    return ApiError(
        code_pb2.FAILED_PRECONDITION,
        "BufferTask needs a queue with an httpTarget that has a uriOverride.host.",
    )


def bad_batch_size(field: str, maximum: int) -> ApiError:
    """
    A batch is empty, or has too many items.

    Args:
        field: The request's field that has the items.
        maximum: How many are allowed.
    """
    return invalid_argument(f"{field} must hold 1 to {maximum} items.")


def batch_mismatch(parent: str, other: str) -> ApiError:
    """An item of a batch is for another queue."""
    return invalid_argument(
        f"Every item of a batch must name its queue, '{parent}', not '{other}'."
    )


def batch_failed(metadata: str) -> ApiError:
    """
    All items of a batch have failed.

    Args:
        metadata: Full name of the message that tells why.
    """
    return ApiError(
        code_pb2.ABORTED,
        f"None of the requests succeeded, refer to {metadata}.failed_requests "
        "for individual error details",
    )


def _help(description: str, url: str) -> error_details_pb2.Help:
    link = error_details_pb2.Help.Link(description=description, url=url)
    return error_details_pb2.Help(links=[link])
