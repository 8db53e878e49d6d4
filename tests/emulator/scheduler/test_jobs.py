"""A1 to A3: the methods of jobs, their defaults and their refusals."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from google.cloud import scheduler_v1
from google.protobuf import json_format
from google.rpc import code_pb2, error_details_pb2

from cloudtask.emulator.scheduler.engine import job_methods
from cloudtask.emulator.scheduler.engine.engine import Engine
from cloudtask.emulator.values.errors import ApiError
from cloudtask.emulator.values.instants import SECOND
from cloudtask.emulator.values.paging import TOKEN_TTL

from .samples import (
    FAILURE,
    HOUR,
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

BAD_SCHEDULE = "The provided schedule or timezone are invalid."
TOPIC = "projects/demo/topics/ticks"
PUBSUB = {"topic_name": TOPIC, "data": b"x"}
APP_ENGINE = {"relative_uri": "/tick"}


def create(engine: Engine, job_id: str = "nightly", **fields: Any) -> Any:
    return engine.jobs.create(PARENT, job(job_id, **fields), NOW)


def as_json(message: Any) -> dict[str, Any]:
    content: dict[str, Any] = json_format.MessageToDict(message)
    return content


def refusal(call: Callable[..., Any], *args: Any, **kwargs: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        call(*args, **kwargs)
    return caught.value


# Defaults and absent fields.


def test_a_new_job_is_as_recorded(engine: Engine) -> None:
    created = create(engine, schedule="30 5 * * *", time_zone="Europe/Berlin")

    assert as_json(created) == {
        "name": JOB,
        "httpTarget": {"uri": URL, "httpMethod": "POST"},
        "schedule": "30 5 * * *",
        "timeZone": "Europe/Berlin",
        "userUpdateTime": "2026-10-01T05:20:14.250001Z",
        "state": "ENABLED",
        "status": {"code": -1},
        "scheduleTime": "2026-10-02T03:30:00Z",
        "attemptDeadline": "180s",
    }
    assert as_json(engine.jobs.get(JOB)) == as_json(created)


def test_a_pubsub_job_has_no_deadline_and_no_retries(engine: Engine) -> None:
    created = as_json(create(engine, pubsub_target=PUBSUB))

    assert created["pubsubTarget"] == {
        "topicName": "projects/demo/topics/ticks",
        "data": "eA==",
    }
    assert created.keys().isdisjoint({"attemptDeadline", "retryConfig"})


def test_an_app_engine_job_has_a_path_and_a_method(engine: Engine) -> None:
    created = as_json(create(engine, app_engine_http_target={}))

    assert created["appEngineHttpTarget"] == {
        "httpMethod": "POST",
        "relativeUri": "/",
    }
    assert "attemptDeadline" not in created


def test_a_retry_config_that_is_present_is_filled(engine: Engine) -> None:
    created = create(engine, retry_config={"max_doublings": 3})

    assert as_json(created)["retryConfig"] == {
        "maxRetryDuration": "0s",
        "minBackoffDuration": "5s",
        "maxBackoffDuration": "3600s",
        "maxDoublings": 3,
    }


def test_zero_is_stored_as_the_default(engine: Engine) -> None:
    zero = timedelta(0)
    retry_config = scheduler_v1.RetryConfig(
        retry_count=2,
        min_backoff_duration=zero,
        max_backoff_duration=zero,
        max_doublings=0,
    )

    created = create(engine, retry_config=retry_config)

    assert as_json(created)["retryConfig"] == {
        "retryCount": 2,
        "maxRetryDuration": "0s",
        "minBackoffDuration": "5s",
        "maxBackoffDuration": "3600s",
        "maxDoublings": 5,
    }


def test_what_is_output_only_is_ignored(engine: Engine) -> None:
    created = create(
        engine,
        state=scheduler_v1.Job.State.PAUSED,
        status={"code": 5},
        last_attempt_time={"seconds": 1},
        schedule_time={"seconds": 1},
        user_update_time={"seconds": 1},
    )

    content = as_json(created)
    assert (content["state"], content["status"]) == ("ENABLED", {"code": -1})
    assert "lastAttemptTime" not in content


def test_a_job_without_a_name_gets_one(engine: Engine) -> None:
    first, second = create(engine, ""), create(engine, "")

    assert [first.name, second.name] == [f"{PARENT}/jobs/1", f"{PARENT}/jobs/2"]


def test_what_has_run_shows_when_and_how(engine: Engine) -> None:
    create(engine)
    slot = wake(engine)
    dispatch = take_one(engine, slot)
    assert as_json(engine.jobs.get(JOB))["lastAttemptTime"] == "2026-10-01T05:21:00Z"

    complete(engine, dispatch, FAILURE, slot + SECOND)

    content = as_json(engine.jobs.get(JOB))
    assert content["status"] == {"code": code_pb2.INTERNAL}
    assert content["scheduleTime"] == "2026-10-01T05:22:00Z"


def test_the_next_time_may_be_a_retry(engine: Engine) -> None:
    create(engine, retry_config={"retry_count": 1})
    slot = wake(engine)

    complete(engine, take_one(engine, slot), FAILURE, slot)

    content = as_json(engine.jobs.get(JOB))
    assert content["scheduleTime"] == "2026-10-01T05:21:05Z"


# Refusals, in the service's words.


def test_a_job_is_not_found(engine: Engine) -> None:
    for call in (
        engine.jobs.get,
        engine.jobs.delete,
        lambda name: engine.jobs.pause(name, NOW),
        lambda name: engine.jobs.resume(name, NOW),
        lambda name: engine.jobs.update(job(), ["schedule"], NOW),
    ):
        error = refusal(call, JOB)
        assert (error.code, error.message) == (code_pb2.NOT_FOUND, "Job not found.")
        assert not error.details


def test_a_job_that_was_refused_is_not_found_in_other_words(engine: Engine) -> None:
    refusal(create, engine, schedule="huh")

    error = refusal(engine.jobs.get, JOB)

    assert error.message == f"Resource '{JOB}' was not found"
    assert error.details == (error_details_pb2.ResourceInfo(resource_name=JOB),)
    create(engine)
    engine.jobs.delete(JOB)
    assert refusal(engine.jobs.get, JOB).message == "Job not found."


def test_not_all_refused_names_are_remembered(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_methods, "_MOST_REFUSED", 2)
    for job_id in "abc":
        refusal(create, engine, job_id, schedule="huh")

    names = [f"{PARENT}/jobs/{job_id}" for job_id in "abc"]
    messages = [refusal(engine.jobs.get, name).message for name in names]

    assert [message == "Job not found." for message in messages] == [True, False, False]
    engine.forget()
    assert refusal(engine.jobs.get, names[2]).message == "Job not found."


@pytest.mark.parametrize(
    "fields",
    [
        {"schedule": "0 0 0 1 4 *"},
        {"schedule": "* * * *"},
        {"schedule": ""},
        {"schedule": "0 0 31 2 *"},
        {"schedule": "every 30 seconds"},
        {"time_zone": "Mars/Olympus"},
    ],
)
def test_a_bad_schedule_or_zone_is_refused(fields: Any, engine: Engine) -> None:
    error = refusal(create, engine, **fields)

    assert (error.code, error.message) == (code_pb2.INVALID_ARGUMENT, BAD_SCHEDULE)


@pytest.mark.parametrize("count", [6, -1])
def test_there_are_at_most_five_retries(count: int, engine: Engine) -> None:
    error = refusal(create, engine, retry_config={"retry_count": count})

    assert error.message == (
        "invalid retry count. The retry_count must be a positive integer less than "
        "5: invalid argument"
    )
    create(engine, retry_config={"retry_count": 5})


def test_the_window_of_retries_has_no_fraction(engine: Engine) -> None:
    window = timedelta(seconds=1.5)

    error = refusal(create, engine, retry_config={"max_retry_duration": window})

    assert error.message == (
        "retryConfig.max_retry_duration.nanos cannot be set: invalid argument"
    )


def test_a_name_can_be_used_once(engine: Engine) -> None:
    create(engine)

    assert refusal(create, engine).code == code_pb2.ALREADY_EXISTS
    engine.jobs.delete(JOB)
    create(engine)


LONG = "x" * 2100


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"description": "x" * 501}, "Job.description must be at most 500 characters."),
        (
            {"http": {"uri": ""}},
            "HttpTarget.uri must start with 'http://' or 'https://'.",
        ),
        (
            {"http": {"uri": "ftp://a/"}},
            "HttpTarget.uri must start with 'http://' or 'https://'.",
        ),
        (
            {"http": {"uri": f"http://a/{LONG}"}},
            "HttpTarget.uri must be at most 2083 characters long.",
        ),
        (
            {"http": {"headers": {"a": "x" * 81_920}}},
            "HttpTarget.headers must be less than 80KB.",
        ),
        (
            {"http": {"headers": {"a b": "x"}}},
            "HttpTarget.headers has 'a b', which is not a header name.",
        ),
        (
            {"http": {"headers": {"X-A": "1", "x-a": "2"}}},
            "HttpTarget.headers has 'X-A' twice.",
        ),
        (
            {"http": {"http_method": "GET", "body": b"x"}},
            "HttpTarget.body is not allowed with GET.",
        ),
        (
            {"attempt_deadline": timedelta(seconds=14)},
            "Job.attemptDeadline must be between [15s, 30m].",
        ),
        (
            {"attempt_deadline": timedelta(seconds=1801)},
            "Job.attemptDeadline must be between [15s, 30m].",
        ),
        (
            {
                "attempt_deadline": timedelta(hours=25),
                "app_engine_http_target": APP_ENGINE,
            },
            "Job.attemptDeadline must be between [15s, 24h15s].",
        ),
        (
            {"app_engine_http_target": {"relative_uri": "tick"}},
            "AppEngineHttpTarget.relativeUri must start with '/' and be a valid "
            "relative URI of at most 2083 characters.",
        ),
        (
            {"app_engine_http_target": {"relative_uri": f"/{LONG}"}},
            "AppEngineHttpTarget.relativeUri must start with '/' and be a valid "
            "relative URI of at most 2083 characters.",
        ),
        (
            {"app_engine_http_target": {"http_method": "PATCH"}},
            "AppEngineHttpTarget.httpMethod cannot be PATCH or OPTIONS.",
        ),
        (
            {"pubsub_target": {"topic_name": "ticks", "data": b"x"}},
            "PubsubTarget.topicName must be formatted: "
            '"projects/demo/topics/<TOPIC_ID>".',
        ),
        (
            {"pubsub_target": PUBSUB | {"topic_name": "projects/other/topics/ticks"}},
            "PubsubTarget.topicName must be formatted: "
            '"projects/demo/topics/<TOPIC_ID>".',
        ),
        (
            {"pubsub_target": {"topic_name": "projects/demo/topics/ticks"}},
            "PubsubTarget.data must not be empty without attributes.",
        ),
        (
            {"retry_config": {"max_doublings": -1}},
            "RetryConfig.maxDoublings cannot be negative.",
        ),
        (
            {"retry_config": {"min_backoff_duration": timedelta(seconds=-1)}},
            "RetryConfig.minBackoffDuration cannot be negative.",
        ),
        (
            {"retry_config": {"max_backoff_duration": timedelta(seconds=4)}},
            "RetryConfig.minBackoffDuration must be less than or equal to "
            "RetryConfig.maxBackoffDuration.",
        ),
        (
            {"http": {"body": b"x" * 1024 * 1024}},
            "Job must be at most 1 MB in all.",
        ),
    ],
)
def test_what_is_not_valid_is_refused(
    fields: Any, message: str, engine: Engine
) -> None:
    error = refusal(create, engine, **fields)

    assert (error.code, error.message) == (code_pb2.INVALID_ARGUMENT, message)


def test_a_job_has_a_target(engine: Engine) -> None:
    message = job()
    message.ClearField("http_target")

    error = refusal(engine.jobs.create, PARENT, message, NOW)

    assert error.message == "Job.target must be set."


@pytest.mark.parametrize(
    "fields",
    [
        {
            "pubsub_target": {
                "topic_name": TOPIC,
                "attributes": {"a": ""},
            }
        },
        {"app_engine_http_target": APP_ENGINE, "attempt_deadline": timedelta(hours=24)},
        {"app_engine_http_target": {}, "attempt_deadline": timedelta(0)},
        {"attempt_deadline": timedelta(seconds=15)},
        {"attempt_deadline": timedelta(minutes=30)},
        {"http": {"http_method": "PATCH", "body": b"x"}},
        {"description": "x" * 500},
    ],
)
def test_the_limits_themselves_are_accepted(fields: Any, engine: Engine) -> None:
    create(engine, **fields)


@pytest.mark.parametrize(
    ("parent", "name"),
    [
        ("projects/demo", JOB),
        (PARENT, "nightly"),
        (PARENT, f"{PARENT}/jobs/a.b"),
        (PARENT, f"{PARENT}/jobs/{'x' * 501}"),
        (PARENT, f"{PARENT}/jobs/"),
        (PARENT, "projects/demo/locations/other/jobs/nightly"),
    ],
)
def test_a_bad_name_is_refused(parent: str, name: str, engine: Engine) -> None:
    message = job()
    message.name = name

    error = refusal(engine.jobs.create, parent, message, NOW)

    assert error.code == code_pb2.INVALID_ARGUMENT
    if parent == PARENT and "other" not in name:
        assert refusal(engine.jobs.get, name).code == code_pb2.INVALID_ARGUMENT


# Lists.


def ids(page: list[Any]) -> list[str]:
    return [each.name.rpartition("/")[2] for each in page]


def test_jobs_are_listed_by_name_and_page(engine: Engine) -> None:
    for job_id in ("c", "a", "b"):
        create(engine, job_id)
    elsewhere = job()
    elsewhere.name = "projects/demo/locations/local-2/jobs/d"
    engine.jobs.create("projects/demo/locations/local-2", elsewhere, NOW)

    first, token = engine.jobs.list(PARENT, NOW, size=2)
    second, end = engine.jobs.list(PARENT, NOW, size=2, token=token)

    assert (ids(first), ids(second), end) == (["a", "b"], ["c"], "")
    everywhere, _ = engine.jobs.list("projects/demo/locations/-", NOW)
    assert ids(everywhere) == ["d", "a", "b", "c"]  # By their full names.
    assert engine.jobs.list("projects/demo/locations/none", NOW) == ([], "")


def test_a_page_has_at_most_500_jobs(engine: Engine) -> None:
    for number in range(501):
        create(engine, f"j{number:03}")

    page, token = engine.jobs.list(PARENT, NOW, size=1000)

    assert len(page) == 500
    assert token
    error = refusal(engine.jobs.list, PARENT, NOW + TOKEN_TTL + 1, token=token)
    assert error.message == "The page token has expired."


# Updates.


def test_an_update_changes_what_its_mask_names(engine: Engine) -> None:
    create(engine, http={"headers": {"X-A": "1"}}, description="Old.")
    given = job(
        description="New.",
        schedule="0 0 1 1 *",
        http={"uri": "http://127.0.0.1:9/new", "headers": {"X-B": "2"}},
        retry_config={"retry_count": 3},
    )

    updated = engine.jobs.update(
        given, ["http_target.headers", "retry_config", "description"], NOW + SECOND
    )

    content = as_json(updated)
    assert content["httpTarget"] == {
        "uri": URL,
        "httpMethod": "POST",
        "headers": {"X-B": "2"},
    }
    assert content["description"] == "New."
    assert content["schedule"] == "* * * * *"
    assert content["retryConfig"]["minBackoffDuration"] == "5s"
    assert content["userUpdateTime"] == "2026-10-01T05:20:15.250001Z"
    assert as_json(engine.jobs.get(JOB)) == content


def test_an_update_without_a_mask_changes_what_it_sets(engine: Engine) -> None:
    create(engine, description="Old.", time_zone="Europe/Berlin")
    given = scheduler_v1.Job.pb(scheduler_v1.Job(name=JOB, schedule="0 0 1 1 *"))

    content = as_json(engine.jobs.update(given, [], NOW))

    assert content["schedule"] == "0 0 1 1 *"
    assert (content["description"], content["timeZone"]) == ("Old.", "Europe/Berlin")
    assert content["scheduleTime"] == "2026-12-31T23:00:00Z"


def test_another_target_takes_the_place_of_the_first(engine: Engine) -> None:
    create(engine)

    updated = engine.jobs.update(job(pubsub_target=PUBSUB), ["pubsub_target"], NOW)

    assert "httpTarget" not in as_json(updated)


def test_a_new_schedule_or_zone_gives_a_new_time(engine: Engine) -> None:
    create(engine, schedule="0 9 * * *")
    fields = {"schedule": "0 9 * * *", "time_zone": "Europe/Berlin"}

    updated = engine.jobs.update(job(**fields), ["time_zone"], NOW)

    assert updated.schedule_time.seconds * SECOND == at("2026-10-01T07:00:00Z")


def test_an_update_of_something_else_keeps_the_time(engine: Engine) -> None:
    create(engine, schedule="every 5 minutes")
    slot = wake(engine)

    engine.jobs.update(job(description="New."), ["description"], NOW + MINUTE)

    assert wake(engine) == slot


def test_an_update_keeps_a_paused_job_paused(engine: Engine) -> None:
    create(engine)
    engine.jobs.pause(JOB, NOW)
    state = scheduler_v1.Job.State.ENABLED

    updated = engine.jobs.update(
        job(schedule="0 9 * * *", state=state), ["schedule", "state", "name"], NOW
    )

    assert as_json(updated)["state"] == "PAUSED"
    assert not updated.HasField("schedule_time")
    assert engine.launcher.next_wake(0) is None


def test_what_is_output_only_is_not_updated(engine: Engine) -> None:
    before = as_json(create(engine))

    updated = engine.jobs.update(
        job(status={"code": 3}, last_attempt_time={"seconds": 1}),
        ["status", "last_attempt_time", "status.code"],
        NOW,
    )

    assert as_json(updated) == before


@pytest.mark.parametrize(
    "path",
    ["timeZone", "httpTarget.uri", "huh", "http_target.huh", "status.details.value"],
)
def test_a_mask_names_fields_in_snake_case(path: str, engine: Engine) -> None:
    create(engine)

    error = refusal(engine.jobs.update, job(), [path], NOW)

    assert (error.code, error.message) == (
        code_pb2.INVALID_ARGUMENT,
        f"Invalid mask for Job: {path}",
    )


def test_schedule_and_zone_are_updated_together(engine: Engine) -> None:
    create(engine, time_zone="Europe/Berlin")

    error = refusal(engine.jobs.update, job(), ["schedule", "time_zone"], NOW)

    assert error.message == BAD_SCHEDULE
    assert not engine.jobs.update(job(), ["time_zone"], NOW).time_zone


@pytest.mark.parametrize(
    "fields", [{"schedule": "huh"}, {"schedule": ""}, {"time_zone": "Mars/Olympus"}]
)
def test_an_update_is_checked(fields: Any, engine: Engine) -> None:
    before = as_json(create(engine))

    error = refusal(engine.jobs.update, job(**fields), [*fields], NOW)

    assert error.message == BAD_SCHEDULE
    assert as_json(engine.jobs.get(JOB)) == before


# Pause and resume.


def test_a_job_may_have_no_slot_any_more(engine: Engine) -> None:
    end_of_time = at("9999-06-01T00:00:00Z")
    create(engine, schedule="0 0 1 1 *")
    engine.jobs.pause(JOB, NOW)

    resumed = engine.jobs.resume(JOB, end_of_time)

    assert not resumed.HasField("schedule_time")
    message = job("other", schedule="0 0 1 1 *")
    error = refusal(engine.jobs.create, PARENT, message, end_of_time)
    assert error.message == BAD_SCHEDULE


def test_a_paused_job_has_no_next_time(engine: Engine) -> None:
    create(engine)

    paused = as_json(engine.jobs.pause(JOB, NOW + SECOND))

    assert paused["state"] == "PAUSED"
    assert "scheduleTime" not in paused
    assert paused["userUpdateTime"] == "2026-10-01T05:20:15.250001Z"
    assert engine.launcher.next_wake(0) is None


def test_what_a_pause_has_missed_is_gone(engine: Engine) -> None:
    create(engine)
    engine.jobs.pause(JOB, NOW)

    resumed = engine.jobs.resume(JOB, NOW + HOUR)

    assert as_json(resumed)["state"] == "ENABLED"
    assert wake(engine) == at("2026-10-01T06:21:00Z")


def test_only_the_other_state_can_be_reached(engine: Engine) -> None:
    create(engine)

    error = refusal(engine.jobs.resume, JOB, NOW)
    assert (error.code, error.message) == (
        code_pb2.FAILED_PRECONDITION,
        "The job cannot be resumed: it is not paused.",
    )
    engine.jobs.pause(JOB, NOW)
    error = refusal(engine.jobs.pause, JOB, NOW)
    assert (error.code, error.message) == (
        code_pb2.FAILED_PRECONDITION,
        "The job cannot be paused: it is not enabled.",
    )
