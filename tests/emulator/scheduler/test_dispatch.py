"""A4 and A8: the request to a target, and the log of attempts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cloudtask.emulator.identity.credentials import DEFAULT_SCOPE, Credential
from cloudtask.emulator.scheduler import limits
from cloudtask.emulator.scheduler.engine.engine import Engine
from cloudtask.emulator.scheduler.model.dispatch import Dispatch, write_slot
from cloudtask.emulator.targets.messages import Answer
from cloudtask.emulator.values.instants import SECOND, write_utc

from .samples import (
    FAILURE,
    JOB,
    MINUTE,
    NOW,
    PARENT,
    URL,
    at,
    complete,
    job,
    take_one,
    wake,
)

Make = Callable[..., Engine]
ACCOUNT = "jobs@demo.iam.gserviceaccount.com"


def send(engine: Engine, **fields: Any) -> Dispatch:
    """Create a job and return its first attempt."""
    engine.jobs.create(PARENT, job(**fields), NOW)
    return take_one(engine, wake(engine))


def test_the_headers_are_as_recorded(engine: Engine) -> None:
    dispatch = send(engine, time_zone="Asia/Tokyo")

    assert (dispatch.method, dispatch.url, dispatch.body) == ("POST", URL, b"")
    assert dispatch.headers == {
        "User-Agent": "Google-Cloud-Scheduler",
        "X-CloudScheduler": "true",
        "X-CloudScheduler-JobName": "nightly",
        "X-CloudScheduler-ScheduleTime": "2026-09-30T22:21:00-07:00",
        "Content-Length": "0",
        "Accept-Encoding": "gzip, deflate, br",
    }
    assert dispatch.deadline == 180 * SECOND


@pytest.mark.parametrize(
    ("slot", "written"),
    [
        ("2026-10-05T13:38:00Z", "2026-10-05T06:38:00-07:00"),
        ("2026-10-05T13:39:01.416739Z", "2026-10-05T06:39:01.416739-07:00"),
        # Los Angeles has a winter of its own.
        ("2026-11-01T08:59:00Z", "2026-11-01T01:59:00-07:00"),
        ("2026-11-01T09:00:00Z", "2026-11-01T01:00:00-08:00"),
        ("2027-03-14T10:00:00Z", "2027-03-14T03:00:00-07:00"),
    ],
)
def test_times_are_those_of_los_angeles(slot: str, written: str) -> None:
    assert write_slot(at(slot)) == written


def test_a_retry_looks_the_same(engine: Engine) -> None:
    first = send(engine, retry_config={"retry_count": 1})
    complete(engine, first, FAILURE, first.dispatch_time)

    second = take_one(engine, wake(engine))

    assert second.attempt == 2
    assert second.headers == first.headers
    assert (second.url, second.body) == (first.url, first.body)


def test_a_body_has_a_type(engine: Engine) -> None:
    dispatch = send(engine, http={"body": b"x", "http_method": "PUT"})

    assert (dispatch.method, dispatch.body) == ("PUT", b"x")
    assert dispatch.headers["Content-Type"] == "application/octet-stream"
    assert "Content-Length" not in dispatch.headers


def test_a_job_may_set_the_type_of_its_body(engine: Engine) -> None:
    headers = {"content-type": "text/plain", "accept-encoding": "identity"}

    dispatch = send(engine, http={"body": b"x", "headers": headers})

    assert headers.items() <= dispatch.headers.items()
    assert dispatch.headers.keys().isdisjoint({"Content-Type", "Accept-Encoding"})


def test_headers_of_the_service_are_not_the_jobs(engine: Engine) -> None:
    ignored = {
        "host": "evil.example",
        "Content-Length": "7",
        "user-agent": "me",
        "X-Google-Real-IP": "1.2.3.4",
        "X-AppEngine-Cron": "true",
        "x-cloudscheduler": "false",
        "X-CloudScheduler-JobName": "other",
        "X-CloudScheduler-ScheduleTime": "never",
        "Transfer-Encoding": "chunked",
    }

    dispatch = send(engine, http={"headers": ignored | {"Authorization": "mine"}})

    assert dispatch.headers.keys() == {
        *("User-Agent", "X-CloudScheduler", "X-CloudScheduler-JobName"),
        *("X-CloudScheduler-ScheduleTime", "Content-Length", "Accept-Encoding"),
        "Authorization",
    }
    assert dispatch.headers["X-CloudScheduler"] == "true"
    assert dispatch.headers["User-Agent"] == "Google-Cloud-Scheduler"


@pytest.mark.parametrize(
    ("token", "credential"),
    [
        (
            {"oidc_token": {"service_account_email": ACCOUNT}},
            Credential("oidc", ACCOUNT, audience=URL),
        ),
        (
            {"oidc_token": {"service_account_email": ACCOUNT, "audience": "shop"}},
            Credential("oidc", ACCOUNT, audience="shop"),
        ),
        (
            {"oauth_token": {"service_account_email": ACCOUNT}},
            Credential("oauth", ACCOUNT, scope=DEFAULT_SCOPE),
        ),
    ],
)
def test_a_token_takes_the_place_of_an_authorization(
    token: Any, credential: Credential, engine: Engine
) -> None:
    dispatch = send(engine, http={"headers": {"authorization": "mine"}, **token})

    assert dispatch.credential == credential
    assert "authorization" not in dispatch.headers


def test_app_engine_jobs_go_where_the_option_says(make_engine: Make) -> None:
    engine = make_engine(app_engine_url="http://127.0.0.1:8080")
    target = {"relative_uri": "/tick?a=1", "http_method": "PUT", "body": b"x"}

    dispatch = send(engine, app_engine_http_target=target)

    assert (dispatch.method, dispatch.url) == ("PUT", "http://127.0.0.1:8080/tick?a=1")
    assert dispatch.headers["User-Agent"] == limits.APP_ENGINE_USER_AGENT
    assert dispatch.headers["X-CloudScheduler"] == "true"
    assert dispatch.deadline == 600 * SECOND


def test_app_engine_jobs_have_a_deadline_of_their_own(engine: Engine) -> None:
    dispatch = send(
        engine, app_engine_http_target={}, attempt_deadline={"seconds": 3600}
    )

    assert (dispatch.url, dispatch.deadline) == ("/", 3600 * SECOND)


def test_secrets_are_not_shown(engine: Engine) -> None:
    dispatch = send(engine, http={"headers": {"X-Key": "secret"}, "body": b"secret"})

    assert "secret" not in repr(dispatch)


# The execution log.


def log_of(engine: Engine, answer: Answer) -> list[Any]:
    dispatch = send(engine)
    complete(engine, dispatch, answer, dispatch.dispatch_time + SECOND)
    return engine.store.logs.list_all(engine.jobs.find(JOB).id)


def test_the_log_is_as_recorded(engine: Engine) -> None:
    started, finished = log_of(engine, Answer(200))

    assert started == {
        "logName": "projects/demo/logs/cloudscheduler.googleapis.com%2Fexecutions",
        "resource": {
            "type": "cloud_scheduler_job",
            "labels": {
                "project_id": "demo",
                "location": "local",
                "job_id": "nightly",
            },
        },
        "timestamp": "2026-10-01T05:21:00.000000Z",
        "severity": "INFO",
        "jsonPayload": {
            "@type": "type.googleapis.com/google.cloud.scheduler.logging."
            "AttemptStarted",
            "jobName": JOB,
            "url": URL,
            "targetType": "HTTP",
            "scheduledTime": "2026-10-01T05:21:00.000000Z",
        },
    }
    assert finished["timestamp"] == "2026-10-01T05:21:01.000000Z"
    assert finished["jsonPayload"] == {
        **started["jsonPayload"],
        "@type": "type.googleapis.com/google.cloud.scheduler.logging.AttemptFinished",
        "debugInfo": "URL_CRAWLED. Original HTTP response code number = 200",
    }


@pytest.mark.parametrize(
    ("answer", "status", "debug_info"),
    [
        (
            Answer(500),
            "INTERNAL",
            "URL_UNREACHABLE-UNREACHABLE_5xx. Original HTTP response code number = 500",
        ),
        (
            Answer(504),
            "DEADLINE_EXCEEDED",
            "URL_UNREACHABLE-UNREACHABLE_5xx. Original HTTP response code number = 504",
        ),
        (
            Answer(timed_out=True, error="no answer within the deadline"),
            "DEADLINE_EXCEEDED",
            "URL_UNREACHABLE-UNREACHABLE_5xx. Original HTTP response code number = 504",
        ),
        (
            Answer(404),
            "NOT_FOUND",
            "URL_ERROR. Original HTTP response code number = 404",
        ),
        (
            Answer(error="no connection"),
            "UNAVAILABLE",
            "URL_UNREACHABLE. no connection",
        ),
    ],
)
def test_a_failure_is_logged_with_its_status(
    answer: Answer, status: str, debug_info: str, engine: Engine
) -> None:
    _, finished = log_of(engine, answer)

    assert finished["severity"] == "ERROR"
    assert finished["jsonPayload"]["status"] == status
    assert finished["jsonPayload"]["debugInfo"] == debug_info


def test_the_newest_entries_of_each_job_are_kept(engine: Engine) -> None:
    for job_id in ("nightly", "other"):
        engine.jobs.create(PARENT, job(job_id), NOW)
    slot = wake(engine)
    for number in range(limits.MAX_LOG_ENTRIES):
        now = slot + number * MINUTE
        for dispatch in engine.launcher.take_due(now):
            engine.launcher.complete(dispatch, Answer(200), now)

    log = engine.store.logs.list_all(engine.jobs.find(JOB).id)

    assert len(log) == limits.MAX_LOG_ENTRIES
    assert {entry["resource"]["labels"]["job_id"] for entry in log} == {"nightly"}
    times = [entry["timestamp"] for entry in log]
    assert times == sorted(times)
    last = engine.store.jobs.find(JOB)
    assert last is not None
    assert times[-1] == write_utc(slot + (limits.MAX_LOG_ENTRIES - 1) * MINUTE)
    engine.jobs.delete(JOB)
    assert engine.store.logs.list_all(last.id) == []
