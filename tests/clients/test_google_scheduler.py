"""Google's client of Cloud Scheduler for Python, over each transport."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import scheduler_v1
from google.cloud.location import locations_pb2
from google.cloud.scheduler_v1.services.cloud_scheduler.transports import (
    CloudSchedulerGrpcAsyncIOTransport,
    CloudSchedulerGrpcTransport,
)
from google.protobuf.field_mask_pb2 import FieldMask

from tests.clients.conftest import Service, until
from tests.clients.test_google import GRPC_ERRORS, REST_ERRORS, Blocking, Google
from tests.emulator.conftest import Target

ACCOUNT = "jobs@project.iam.gserviceaccount.com"
State = scheduler_v1.Job.State


def over_grpc(service: Service, stack: ExitStack) -> Google:
    channel = stack.enter_context(grpc.insecure_channel(service.grpc_address))
    transport = CloudSchedulerGrpcTransport(channel=channel)
    return Google(scheduler_v1.CloudSchedulerClient(transport=transport), GRPC_ERRORS)


def over_asyncio(service: Service, stack: ExitStack) -> Google:
    async def connect() -> scheduler_v1.CloudSchedulerAsyncClient:
        channel = grpc.aio.insecure_channel(service.grpc_address)
        transport = CloudSchedulerGrpcAsyncIOTransport(channel=channel)
        return scheduler_v1.CloudSchedulerAsyncClient(transport=transport)

    runner = stack.enter_context(asyncio.Runner())
    client = runner.run(connect())
    stack.callback(lambda: runner.run(client.transport.close()))
    return Google(Blocking(client, runner), GRPC_ERRORS)


def over_rest(service: Service, stack: ExitStack) -> Google:
    client = scheduler_v1.CloudSchedulerClient(
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": service.http_url},
        transport="rest",
    )
    return Google(stack.enter_context(client), REST_ERRORS)


@pytest.fixture(
    params=[over_grpc, over_asyncio, over_rest], ids=["grpc", "asyncio", "rest"]
)
def google(request: pytest.FixtureRequest, service: Service) -> Iterator[Google]:
    connect: Callable[[Service, ExitStack], Google] = request.param
    with ExitStack() as stack:
        yield connect(service, stack)


def yearly(location: str, job_id: str = "nightly", **fields: Any) -> scheduler_v1.Job:
    """Return a job for the first of January."""
    return scheduler_v1.Job(
        {
            "name": f"{location}/jobs/{job_id}",
            "schedule": "0 0 1 1 *",
            "time_zone": "Asia/Tokyo",
            "http_target": {"uri": "http://127.0.0.1:9/tick"},
            **fields,
        }
    )


def test_a_job_is_created_with_defaults(google: Google, location: str) -> None:
    wanted = yearly(location, retry_config={"retry_count": 2})

    created = google.client.create_job(parent=location, job=wanted)

    assert created.state == State.ENABLED
    assert created.http_target.http_method == scheduler_v1.HttpMethod.POST
    assert created.attempt_deadline == timedelta(minutes=3)
    assert created.retry_config.min_backoff_duration == timedelta(seconds=5)
    assert created.status.code == -1
    assert created.schedule_time > datetime.now(UTC)
    assert google.client.get_job(name=wanted.name) == created


def test_refusals(google: Google, location: str) -> None:
    name = f"{location}/jobs/nightly"
    with google.refused("NOT_FOUND", "Job not found."):
        google.client.get_job(name=name)
    with google.refused(
        "INVALID_ARGUMENT", "The provided schedule or timezone are invalid."
    ):
        google.client.create_job(parent=location, job=yearly(location, schedule="huh"))
    with google.refused("NOT_FOUND", f"Resource '{name}' was not found"):
        google.client.get_job(name=name)
    google.client.create_job(parent=location, job=yearly(location))
    with google.refused("ALREADY_EXISTS", f"Job {name} already exists."):
        google.client.create_job(parent=location, job=yearly(location))
    with google.refused(
        "FAILED_PRECONDITION", "The job cannot be resumed: it is not paused."
    ):
        google.client.resume_job(name=name)


def test_a_job_is_updated_where_the_mask_says(google: Google, location: str) -> None:
    google.client.create_job(parent=location, job=yearly(location))
    wanted = yearly(location, description="New.", schedule="0 0 2 1 *")

    updated = google.client.update_job(
        job=wanted, update_mask=FieldMask(paths=["description"])
    )

    assert updated.description == "New."
    assert updated.schedule == "0 0 1 1 *"
    missing = yearly(location, "missing")
    with google.refused("NOT_FOUND", "Job not found."):
        google.client.update_job(job=missing, update_mask=FieldMask(paths=["schedule"]))


def test_a_job_is_paused_resumed_and_deleted(google: Google, location: str) -> None:
    name = google.client.create_job(parent=location, job=yearly(location)).name

    paused = google.client.pause_job(name=name)
    assert paused.state == State.PAUSED
    assert not paused.schedule_time
    assert google.client.resume_job(name=name).state == State.ENABLED
    assert google.client.delete_job(name=name) is None
    with google.refused("NOT_FOUND", "Job not found."):
        google.client.get_job(name=name)


def test_jobs_are_listed_in_pages(google: Google, location: str) -> None:
    for job_id in "abc":
        google.client.create_job(parent=location, job=yearly(location, job_id))

    request = {"parent": location, "page_size": 2}
    pages = list(google.client.list_jobs(request=request).pages)

    ids = [[job.name.rpartition("/")[2] for job in page.jobs] for page in pages]
    assert ids == [["a", "b"], ["c"]]


def test_a_job_runs_now(google: Google, location: str, target: Target) -> None:
    http = {
        "uri": target.url,
        "http_method": "PUT",
        "body": b"\x00\xff",
        "headers": {"X-Kind": "tick"},
        "oidc_token": {"service_account_email": ACCOUNT},
    }
    job = google.client.create_job(
        parent=location, job=yearly(location, http_target=http)
    )

    assert google.client.run_job(name=job.name).name == job.name

    target.wait_for(1)
    [received] = target.received
    assert (received.method, received.body) == ("PUT", b"\x00\xff")
    assert received.header("X-Kind") == "tick"
    assert received.header("X-CloudScheduler-JobName") == "nightly"
    slot = datetime.fromisoformat(
        received.header("X-CloudScheduler-ScheduleTime") or ""
    )
    assert slot == job.schedule_time
    assert (received.header("Authorization") or "").startswith("Bearer ")
    until(lambda: google.client.get_job(name=job.name).status.code == 0)


def test_locations(google: Google, location: str) -> None:
    google.client.create_job(parent=location, job=yearly(location))
    project = location.partition("/locations/")[0]

    listed = google.client.list_locations(
        locations_pb2.ListLocationsRequest(name=project)
    )

    assert [each.name for each in listed.locations] == [location]
    found = google.client.get_location(locations_pb2.GetLocationRequest(name=location))
    assert found.location_id == location.rpartition("/")[2]
