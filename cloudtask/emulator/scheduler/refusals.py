"""What Cloud Scheduler refuses, in the service's words."""

from __future__ import annotations

from google.rpc import code_pb2, error_details_pb2

from cloudtask.emulator.values.errors import ApiError, invalid_argument, quote


def job_not_found() -> ApiError:
    """There is no such job."""
    return ApiError(code_pb2.NOT_FOUND, "Job not found.")


def resource_not_found(name: str) -> ApiError:
    """There is no such job, but somebody was refused to create it."""
    return ApiError(
        code_pb2.NOT_FOUND,
        f"Resource '{name}' was not found",
        (error_details_pb2.ResourceInfo(resource_name=name),),
    )


def bad_schedule() -> ApiError:
    """The schedule or the time zone cannot be read, or no date matches."""
    return invalid_argument("The provided schedule or timezone are invalid.")


def bad_retry_count() -> ApiError:
    """The number of retries is out of range. 5 is accepted all the same."""
    return invalid_argument(
        "invalid retry count. The retry_count must be a positive integer less than "
        "5: invalid argument"
    )


def fraction_of_retry_duration() -> ApiError:
    """The longest time of retries is not in whole seconds."""
    return invalid_argument(
        "retryConfig.max_retry_duration.nanos cannot be set: invalid argument"
    )


def bad_mask(path: str) -> ApiError:
    """An update mask names what a job has no field for."""
    return invalid_argument(f"Invalid mask for Job: {path[:100]}")


# Nobody recorded how the service words the rest.


def job_exists(name: str) -> ApiError:
    """There is a job of this name."""
    return ApiError(code_pb2.ALREADY_EXISTS, f"Job {name} already exists.")


def bad_job_name() -> ApiError:
    """The full name of a job is malformed, or of another location."""
    return invalid_argument(
        'Job name must be formatted: "projects/<PROJECT_ID>/locations/<LOCATION_ID>'
        '/jobs/<JOB_ID>", in the location of the request. JOB_ID can contain only '
        "letters ([A-Za-z]), numbers ([0-9]), hyphens (-), or underscores (_), and "
        "must be between 1 and 500 characters."
    )


def not_enabled() -> ApiError:
    """Only a job that is enabled can be paused."""
    return ApiError(
        code_pb2.FAILED_PRECONDITION, "The job cannot be paused: it is not enabled."
    )


def not_paused() -> ApiError:
    """Only a job that is paused can be resumed."""
    return ApiError(
        code_pb2.FAILED_PRECONDITION, "The job cannot be resumed: it is not paused."
    )


def bad_deadline(interval: str) -> ApiError:
    """The deadline of attempts is out of range."""
    return invalid_argument(f"Job.attemptDeadline must be between {interval}.")


def bad_field(field: str, rule: str) -> ApiError:
    """
    A field of a job breaks a rule.

    Args:
        field: Its path, as in JSON.
        rule: What it has to be, from "must" on.
    """
    return invalid_argument(f"{field} {rule}.")


def bad_header_name(name: str) -> ApiError:
    """A header is there twice."""
    return invalid_argument(f"HttpTarget.headers has {quote(name)} twice.")
