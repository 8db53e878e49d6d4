"""Entries of a job's execution log, as Cloud Logging shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudtask.emulator.scheduler.model.dispatch import read_code, read_status
from cloudtask.emulator.values import codes, instants

if TYPE_CHECKING:
    from cloudtask.emulator.scheduler.model.dispatch import Dispatch
    from cloudtask.emulator.targets.messages import Answer

_TYPE = "type.googleapis.com/google.cloud.scheduler.logging"
_LOG = "cloudscheduler.googleapis.com%2Fexecutions"
_STATUS = "Original HTTP response code number = {}"


def write_start(dispatch: Dispatch) -> dict[str, Any]:
    """Return the entry of an attempt that begins."""
    payload = {"@type": f"{_TYPE}.AttemptStarted", **_describe(dispatch)}
    return _entry(dispatch, dispatch.dispatch_time, "INFO", payload)


def write_finish(dispatch: Dispatch, answer: Answer, now: int) -> dict[str, Any]:
    """Return the entry of an attempt that has ended."""
    payload = {
        "@type": f"{_TYPE}.AttemptFinished",
        **_describe(dispatch),
        "debugInfo": _explain(answer),
    }
    if answer.is_success:
        return _entry(dispatch, now, "INFO", payload)
    payload["status"] = codes.name(read_code(answer))
    return _entry(dispatch, now, "ERROR", payload)


def _describe(dispatch: Dispatch) -> dict[str, Any]:
    return {
        "jobName": dispatch.job,
        "url": dispatch.url,
        "targetType": dispatch.target_type,
        "scheduledTime": instants.write_utc(dispatch.slot),
    }


def _explain(answer: Answer) -> str:
    status = read_status(answer)
    if answer.is_success:
        return f"URL_CRAWLED. {_STATUS.format(status)}"
    if status is None:  # Unconfirmed, and so is what follows but for 5xx.
        return f"URL_UNREACHABLE. {answer.error}"
    if status >= 500:
        return f"URL_UNREACHABLE-UNREACHABLE_5xx. {_STATUS.format(status)}"
    return f"URL_ERROR. {_STATUS.format(status)}"


def _entry(
    dispatch: Dispatch, instant: int, severity: str, payload: dict[str, Any]
) -> dict[str, Any]:
    _, project, _, location, _, job = dispatch.job.split("/")
    return {
        "logName": f"projects/{project}/logs/{_LOG}",
        "resource": {
            "type": "cloud_scheduler_job",
            "labels": {"project_id": project, "location": location, "job_id": job},
        },
        "timestamp": instants.write_utc(instant),
        "severity": severity,
        "jsonPayload": payload,
    }
