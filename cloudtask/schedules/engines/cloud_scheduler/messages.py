"""The methods of Cloud Scheduler that are called, and jobs as messages."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from google.cloud.scheduler_v1 import CloudSchedulerClient, HttpMethod, types
from google.cloud.scheduler_v1.services.cloud_scheduler.transports import (
    CloudSchedulerGrpcTransport,
)
from google.protobuf import empty_pb2

from cloudtask.schedules.engines.cloud_scheduler.jobs import Job, Retries, State
from cloudtask.transports.google.channel import Api
from cloudtask.wire.outgoing import OidcToken

ListJobs = types.ListJobsRequest.pb()
GetJob = types.GetJobRequest.pb()
CreateJob = types.CreateJobRequest.pb()
UpdateJob = types.UpdateJobRequest.pb()
DeleteJob = types.DeleteJobRequest.pb()
PauseJob = types.PauseJobRequest.pb()
ResumeJob = types.ResumeJobRequest.pb()

_Job = types.Job.pb()
_ListJobsResponse = types.ListJobsResponse.pb()
_Empty: Any = empty_pb2.Empty  # type: ignore[attr-defined]
_SERVICE = "/google.cloud.scheduler.v1.CloudScheduler"

CLOUD_SCHEDULER = Api(
    CloudSchedulerClient,
    CloudSchedulerGrpcTransport,
    {
        "ListJobs": (_SERVICE, ListJobs, _ListJobsResponse),
        "GetJob": (_SERVICE, GetJob, _Job),
        "CreateJob": (_SERVICE, CreateJob, _Job),
        "UpdateJob": (_SERVICE, UpdateJob, _Job),
        "DeleteJob": (_SERVICE, DeleteJob, _Empty),
        "PauseJob": (_SERVICE, PauseJob, _Job),
        "ResumeJob": (_SERVICE, ResumeJob, _Job),
    },
)


def to_message(job: Job) -> Any:
    """Make the message of a job. Its state is set by calls of their own."""
    message = _Job(
        name=job.name,
        description=job.description,
        schedule=job.schedule,
        time_zone=job.time_zone,
    )
    target = message.http_target
    target.uri, target.body = job.url, job.body
    target.http_method = int(getattr(HttpMethod, job.method))
    target.headers.update(job.headers)
    if job.oidc is not None:
        target.oidc_token.service_account_email = job.oidc.email
        target.oidc_token.audience = job.oidc.audience
    message.attempt_deadline.FromTimedelta(job.deadline)
    retry = message.retry_config
    retry.retry_count, retry.max_doublings = (
        job.retries.count,
        job.retries.max_doublings,
    )
    retry.max_retry_duration.FromTimedelta(job.retries.within)
    retry.min_backoff_duration.FromTimedelta(job.retries.min_backoff)
    retry.max_backoff_duration.FromTimedelta(job.retries.max_backoff)
    return message


def from_message(message: Any) -> Job:
    """Make the job of a message."""
    target, retry = message.http_target, message.retry_config
    return Job(
        name=message.name,
        description=message.description,
        schedule=message.schedule,
        time_zone=message.time_zone,
        url=target.uri,
        headers=dict(target.headers),
        body=target.body,
        method=_read_method(target.http_method),
        oidc=_read_oidc(target),
        deadline=_read_duration(message.attempt_deadline),
        retries=Retries(
            count=retry.retry_count,
            within=_read_duration(retry.max_retry_duration),
            min_backoff=_read_duration(retry.min_backoff_duration),
            max_backoff=_read_duration(retry.max_backoff_duration),
            max_doublings=retry.max_doublings,
        ),
        state=_read_state(message.state),
    )


def _read_method(number: int) -> str:
    # POST is what Cloud Scheduler does if nothing is said.
    return str(HttpMethod(number or int(HttpMethod.POST)).name)


def _read_oidc(target: Any) -> OidcToken | None:
    if not target.HasField("oidc_token"):
        return None
    token = target.oidc_token
    return OidcToken(email=token.service_account_email, audience=token.audience)


def _read_duration(message: Any) -> timedelta:
    return timedelta(seconds=message.seconds, microseconds=message.nanos // 1000)


def _read_state(number: int) -> State:
    return State(types.Job.State(number).name)
