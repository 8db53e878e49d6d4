"""The whole emulator with jobs: gRPC, REST, its clock and a real target."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import grpc
import pytest
from google.api_core import exceptions
from google.cloud import scheduler_v1, tasks_v2
from google.cloud.location import locations_pb2
from google.cloud.scheduler_v1 import CloudSchedulerClient

from cloudtask.emulator import ApiError, Emulator
from tests.emulator.calls import call, get, post
from tests.emulator.conftest import Target

Create = Callable[..., Any]
Start = Callable[..., Emulator]
ACCOUNT = "jobs@demo.iam.gserviceaccount.com"


def slots(target: Target) -> list[datetime]:
    header = "X-CloudScheduler-ScheduleTime"
    return [
        datetime.fromisoformat(each.header(header) or "") for each in target.received
    ]


def test_advancing_fires_every_slot_on_the_way(
    emulator: Emulator, create: Create, target: Target
) -> None:
    create("nightly", target.url, schedule="*/10 * * * *")

    assert emulator.advance(hours=1) == []

    assert len(target.received) == 6
    times = slots(target)
    assert {each.minute % 10 for each in times} == {0}
    assert times == [attempt.schedule_time for attempt in emulator.job_attempts]
    assert {each.header("X-CloudScheduler-JobName") for each in target.received} == {
        "nightly"
    }


def test_a_job_may_create_tasks(
    emulator: Emulator, create: Create, client: tasks_v2.CloudTasksClient
) -> None:
    # The target of the job is the emulator's own API of tasks.
    body = {"task": {"httpRequest": {"url": f"{emulator.http_url}/healthz"}}}
    body["task"]["httpRequest"]["httpMethod"] = "GET"  # type: ignore[index]
    tasks = f"{emulator.http_url}/v2/{emulator.queue_path('default')}/tasks"
    create("enqueue", tasks, http={"body": json.dumps(body).encode()})

    attempts = emulator.advance(minutes=3)

    assert [attempt.outcome for attempt in attempts] == ["done"] * 3
    assert len(emulator.job_attempts) == 3


def test_the_clock_goes_through_a_change_of_time(
    emulator: Emulator, create: Create, target: Target
) -> None:
    zone = ZoneInfo("America/New_York")
    year = emulator.now.year + 1
    # Sundays of March: clocks go ahead on the second one, from 2 to 3.
    first = datetime(year, 3, 1, tzinfo=zone)
    sunday = first + timedelta(days=(6 - first.weekday()) % 7 + 7)
    emulator.advance(seconds=(sunday - emulator.now).total_seconds() - 86_400)
    for job_id, schedule in (("gap", "30 2 * * *"), ("hourly", "0 * * * *")):
        create(job_id, target.url, schedule=schedule, time_zone="America/New_York")

    emulator.advance(days=3, timeout=60)

    gap = [a for a in emulator.job_attempts if a.job_id == "gap"]
    days = [attempt.schedule_time.astimezone(zone).date() for attempt in gap]
    assert sunday.date() not in days
    assert len(days) == 2
    hourly = [a for a in emulator.job_attempts if a.job_id == "hourly"]
    assert len(hourly) == 72


def test_a_job_is_run_at_once(
    emulator: Emulator, create: Create, target: Target
) -> None:
    created = create("nightly", target.url, schedule="0 0 1 1 *")

    [attempt] = emulator.run_job("nightly")

    assert attempt.forced
    assert attempt.outcome == "done"
    assert attempt.schedule_time == created.schedule_time
    assert slots(target) == [created.schedule_time]
    with pytest.raises(ApiError, match="Job not found"):
        emulator.run_job("other")


def test_jobs_show_what_becomes_of_them(
    emulator: Emulator, create: Create, target: Target, jobs: CloudSchedulerClient
) -> None:
    create("b", target.url, schedule="0 0 1 1 *")
    create("a", target.url, schedule="every 5 minutes")
    emulator.run_job("a")

    first, second = emulator.jobs

    assert (first.name, second.name) == (emulator.job_path("a"), emulator.job_path("b"))
    assert len(first.next_slots) == 5
    steps = {
        b - a for a, b in zip(first.next_slots, first.next_slots[1:], strict=False)
    }
    assert steps == {300_000_000}
    assert [attempt.outcome for attempt in first.attempts] == ["done"]
    assert (first.in_flight, second.attempts) == (0, [])
    kinds = [entry["jsonPayload"]["@type"] for entry in emulator.job_log("a")]
    assert [kind.rpartition(".")[2] for kind in kinds] == [
        *("AttemptStarted", "AttemptFinished")
    ]
    jobs.pause_job(name=emulator.job_path("a"))
    assert emulator.jobs[0].next_slots == []


def test_a_reset_forgets_jobs(
    emulator: Emulator, create: Create, target: Target, jobs: CloudSchedulerClient
) -> None:
    create("nightly", target.url)
    emulator.advance(minutes=2)

    emulator.reset()

    assert emulator.jobs == []
    assert emulator.job_attempts == []
    assert abs(emulator.now - datetime.now(UTC)) < timedelta(seconds=10)
    create("nightly", target.url)
    assert emulator.job_log("nightly") == []


def test_a_redirect_is_followed(
    emulator: Emulator, create: Create, target: Target
) -> None:
    target.answers = [(302, {"Location": "/there"}), 204]
    create("nightly", target.url, http={"http_method": "GET"})

    [attempt] = emulator.run_job("nightly")

    assert [each.path for each in target.received] == ["/run", "/there"]
    assert (attempt.status, attempt.outcome) == (204, "done")


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_no_body_is_announced_as_such(
    method: str, emulator: Emulator, create: Create, target: Target
) -> None:
    create("nightly", target.url, http={"http_method": method})

    emulator.run_job("nightly")

    [received] = target.received
    assert received.method == method
    assert received.header("Content-Length") == "0"
    assert received.header("User-Agent") == "Google-Cloud-Scheduler"


def test_jobs_are_there_again(start: Start, tmp_path: Path, target: Target) -> None:
    path = tmp_path / "store.sqlite3"
    http = {"uri": target.url}
    with Emulator(store=path) as emulator:
        request = {"schedule": "0 0 1 1 *", "httpTarget": http}
        name = emulator.job_path("nightly")
        posted = post(
            emulator, f"/v1/{emulator.parent}/jobs", {"name": name, **request}
        )
        assert posted.status == 200
        emulator.run_job("nightly")
        before = emulator.jobs[0]

    emulator = start(store=path)

    [after] = emulator.jobs
    assert after.message == before.message
    assert after.attempts == []
    assert len(emulator.job_log("nightly")) == 2


def test_a_store_of_before_gets_the_tables_of_jobs(
    start: Start, tmp_path: Path
) -> None:
    import sqlite3
    from contextlib import closing

    path = tmp_path / "store.sqlite3"
    with Emulator(["emails"], store=path):
        pass
    with closing(sqlite3.connect(path)) as connection:
        for table in ("jobs", "executions", "execution_logs"):
            connection.execute(f"DROP TABLE {table}")

    emulator = start([], store=path)

    assert [queue.path for queue in emulator.queues] == [emulator.queue_path("emails")]
    assert emulator.jobs == []


def test_an_option_chooses_among_doubled_times(start: Start, target: Target) -> None:
    emulator = start(doubled_times="both")
    post(
        emulator,
        f"/v1/{emulator.parent}/jobs",
        {
            "name": emulator.job_path("doubled"),
            "schedule": "30 1 1-7 11 SUN",
            "timeZone": "America/New_York",
            "httpTarget": {"uri": target.url},
        },
    )

    emulator.advance(days=400, timeout=60)

    walls = [
        each.schedule_time.astimezone(ZoneInfo("America/New_York"))
        for each in emulator.job_attempts
    ]
    doubled = [each for each in walls if each.fold]
    assert len(doubled) in (1, 2)


# Over REST, as recorded.


def test_a_job_over_rest(emulator: Emulator, target: Target) -> None:
    jobs = f"/v1/{emulator.parent}/jobs"
    empty = get(emulator, jobs)
    assert (empty.status, empty.body) == (200, b"{}\n")

    created = post(
        emulator,
        jobs,
        {
            "name": emulator.job_path("nightly"),
            "schedule": "0 0 1 1 *",
            "timeZone": "Asia/Tokyo",
            "httpTarget": {"uri": target.url, "body": "eA=="},
        },
    )
    assert created.json.keys() == {
        *("name", "httpTarget", "userUpdateTime", "state", "status"),
        *("scheduleTime", "schedule", "timeZone", "attemptDeadline"),
    }
    assert created.json["status"] == {"code": -1}

    path = f"/v1/{emulator.job_path('nightly')}"
    updated = call(
        emulator,
        "PATCH",
        f"{path}?updateMask=timeZone,schedule,httpTarget.httpMethod",
        {
            "schedule": "0 1 1 1 *",
            "timeZone": "UTC",
            "httpTarget": {"httpMethod": "PUT"},
        },
    )
    assert updated.json["timeZone"] == "UTC"
    assert updated.json["httpTarget"] == {
        "uri": target.url,
        "httpMethod": "PUT",
        "body": "eA==",
    }
    assert post(emulator, f"{path}:pause", {}).json["state"] == "PAUSED"
    assert post(emulator, f"{path}:resume", {}).json["state"] == "ENABLED"
    assert post(emulator, f"{path}:run", {}).json["name"] == created.json["name"]
    target.wait_for(1)
    assert [each["name"] for each in get(emulator, jobs).json["jobs"]] == [
        created.json["name"]
    ]
    deleted = call(emulator, "DELETE", path)
    assert (deleted.status, deleted.body) == (200, b"{}\n")


def test_a_refusal_over_rest_is_as_recorded(emulator: Emulator) -> None:
    path = f"/v1/{emulator.job_path('nightly')}"

    missing = get(emulator, path)

    assert missing.body == (
        b'{\n  "error": {\n    "code": 404,\n    "message": "Job not found.",\n'
        b'    "status": "NOT_FOUND"\n  }\n}\n'
    )
    refused = post(
        emulator,
        f"/v1/{emulator.parent}/jobs",
        {"name": emulator.job_path("nightly"), "schedule": "huh"},
    )
    assert refused.json["error"] == {
        "code": 400,
        "message": "The provided schedule or timezone are invalid.",
        "status": "INVALID_ARGUMENT",
    }
    name = emulator.job_path("nightly")
    assert get(emulator, path).json["error"] == {
        "code": 404,
        "message": f"Resource '{name}' was not found",
        "status": "NOT_FOUND",
        "details": [
            {
                "@type": "type.googleapis.com/google.rpc.ResourceInfo",
                "resourceName": name,
            }
        ],
    }


def test_an_unknown_field_is_refused(emulator: Emulator) -> None:
    refused = post(emulator, f"/v1/{emulator.parent}/jobs", {"huh": 1})

    assert refused.status == 400
    assert 'Unknown name "huh"' in refused.error


# Over gRPC.


def test_a_mask_in_camel_case_is_refused(
    emulator: Emulator, create: Create, jobs: CloudSchedulerClient, target: Target
) -> None:
    create("nightly", target.url)
    job = {"name": emulator.job_path("nightly"), "time_zone": "Asia/Tokyo"}

    with pytest.raises(exceptions.InvalidArgument) as caught:
        jobs.update_job(job=job, update_mask={"paths": ["timeZone"]})

    assert caught.value.message == "Invalid mask for Job: timeZone"


def test_locations_are_those_of_queues_and_jobs(start: Start, target: Target) -> None:
    emulator = start(["default"], location="queues")
    other = "projects/demo/locations/jobs"
    job = {"name": f"{other}/jobs/a", "schedule": "0 0 1 1 *"}
    job_url = {"httpTarget": {"uri": target.url}}
    assert post(emulator, f"/v1/{other}/jobs", {**job, **job_url}).status == 200

    with grpc.insecure_channel(emulator.host) as channel:
        service = "/google.cloud.location.Locations"
        listing = channel.unary_unary(
            f"{service}/ListLocations",
            request_serializer=locations_pb2.ListLocationsRequest.SerializeToString,
            response_deserializer=locations_pb2.ListLocationsResponse.FromString,
        )
        getting = channel.unary_unary(
            f"{service}/GetLocation",
            request_serializer=locations_pb2.GetLocationRequest.SerializeToString,
            response_deserializer=locations_pb2.Location.FromString,
        )
        listed = listing(locations_pb2.ListLocationsRequest(name="projects/demo"))
        found = getting(locations_pb2.GetLocationRequest(name=other))

    assert [each.location_id for each in listed.locations] == ["jobs", "queues"]
    assert found.name == other
    # Over REST, each service has its own.
    for version, location in (("v1", "jobs"), ("v2", "queues")):
        content = get(emulator, f"/{version}/projects/demo/locations").json
        [only] = content["locations"]
        assert only["locationId"] == location
        assert get(emulator, f"/{version}/{other}").json["name"] == other


def test_a_page_over_grpc(
    emulator: Emulator, create: Create, jobs: CloudSchedulerClient, target: Target
) -> None:
    for job_id in "abc":
        create(job_id, target.url, schedule="0 0 1 1 *")

    request = scheduler_v1.ListJobsRequest(parent=emulator.parent, page_size=2)
    pages = list(jobs.list_jobs(request=request).pages)

    assert [len(page.jobs) for page in pages] == [2, 1]


# The admin API.


def test_jobs_are_shown(emulator: Emulator, create: Create, target: Target) -> None:
    target.answers = [500]
    create("nightly", target.url, schedule="*/5 * * * *", time_zone="Asia/Tokyo")
    for _ in range(5):
        emulator.run_job("nightly")

    [job] = get(emulator, "/emulator/jobs").json["jobs"]

    assert job["name"] == emulator.job_path("nightly")
    assert (job["schedule"], job["timeZone"]) == ("*/5 * * * *", "Asia/Tokyo")
    assert (job["state"], job["in_flight"]) == ("ENABLED", 0)
    assert job["next_slots"][0][:16] == job["scheduleTime"][:16]
    assert [each["outcome"] for each in job["attempts"]] == ["done"] * 3

    shown = get(emulator, f"/emulator/jobs/{emulator.job_path('nightly')}").json
    assert [each["status"] for each in shown["attempts"]] == [500, *[200] * 4]
    first = shown["attempts"][0]
    assert (first["forced"], first["number"], first["url"]) == (True, 1, target.url)
    assert first["headers"]["X-CloudScheduler-JobName"] == "nightly"
    assert first["retry_time"] is None
    assert len(shown["log"]) == 10
    missing = get(emulator, f"/emulator/jobs/{emulator.job_path('other')}")
    assert (missing.status, missing.error) == (404, "Job not found.")
    assert get(emulator, "/emulator/jobs?huh=1").status == 400


def test_a_retry_is_shown(emulator: Emulator, create: Create, target: Target) -> None:
    target.answers = [500]
    create("nightly", target.url, retry_config={"retry_count": 1})
    emulator.run_job("nightly")

    shown = get(emulator, f"/emulator/jobs/{emulator.job_path('nightly')}").json

    [attempt] = shown["attempts"]
    assert (attempt["outcome"], attempt["status"]) == ("retry", 500)
    assert attempt["retry_time"] > attempt["response_time"]
