"""How a job differs from what it should be."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from cloudtask.schedules.engines.cloud_scheduler.diff import ALL, compare, find_switch
from cloudtask.schedules.engines.cloud_scheduler.jobs import Job, Retries, State
from cloudtask.schedules.engines.cloud_scheduler.messages import (
    from_message,
    to_message,
)
from cloudtask.schedules.engines.cloud_scheduler.places import Place
from cloudtask.wire.outgoing import OidcToken

PLACE = Place("project", "europe-west6", "shop")
UID = "0123456789abcdef" * 2
WANTED = Job(
    name=PLACE.make_name(UID),
    description=PLACE.make_description("night (shop.tasks.report)"),
    schedule="0 3 * * *",
    time_zone="Europe/Zurich",
    url="https://shop.example/_tasks/",
    headers={"X-Task-Secret": "secret", "Content-Type": "application/json"},
    body=b"{}",
    oidc=OidcToken(email="tasks@project", audience="https://shop.example"),
)
TIMES = ("schedule", "time_zone")
TARGET = ("http_target",)


def test_the_same_job_does_not_differ() -> None:
    assert compare(WANTED, WANTED).changes == ()
    assert compare(WANTED, WANTED).mask == ()


def test_a_job_is_what_its_message_says() -> None:
    paused = replace(WANTED, state=State.PAUSED)
    assert compare(
        WANTED, replace(from_message(to_message(paused)), state=State.ENABLED)
    )
    for job in (WANTED, replace(WANTED, oidc=None, method="PUT", time_zone="UTC")):
        read = from_message(to_message(job))
        assert read == replace(job, state=State.UNKNOWN)


@pytest.mark.parametrize(
    ("found", "told", "mask"),
    [
        ({"schedule": "1 3 * * *"}, "cron: 1 3 * * * -> 0 3 * * *", TIMES),
        ({"time_zone": ""}, "time zone: UTC -> Europe/Zurich", TIMES),
        (
            {"description": ""},
            "description: (none) -> night (shop.tasks.report) [shop]",
            ("description",),
        ),
        (
            {"deadline": timedelta(minutes=3)},
            "deadline: 0:03:00 -> 0:01:00",
            ("attempt_deadline",),
        ),
        (
            {"retries": Retries(count=0, within=timedelta(seconds=9))},
            "retries: 0 after 0:00:05 to 1:00:00, 5 doublings, within 0:00:09 -> "
            "5 after 0:00:05 to 1:00:00, 5 doublings, within any time",
            ("retry_config",),
        ),
        (
            {"url": "https://old.example/"},
            "URL: https://old.example/ -> https://shop.example/_tasks/",
            TARGET,
        ),
        ({"method": "GET"}, "method: GET -> POST", TARGET),
        (
            {"oidc": OidcToken(email="old@project", audience="https://shop.example")},
            "service account: old@project -> tasks@project",
            TARGET,
        ),
        (
            {"oidc": OidcToken(email="tasks@project", audience="https://old")},
            "audience: https://old -> https://shop.example",
            TARGET,
        ),
        ({"headers": {"X-Task-Secret": "old"}}, "headers changed", TARGET),
        ({"body": b"{1}"}, "body changed", TARGET),
    ],
)
def test_what_differs_is_told_and_named(
    found: dict[str, Any], told: str, mask: tuple[str, ...]
) -> None:
    diff = compare(WANTED, replace(WANTED, **found))
    assert [str(each) for each in diff.changes] == [told]
    assert diff.mask == mask


def test_no_zone_is_utc() -> None:
    wanted = replace(WANTED, time_zone="UTC")
    assert compare(wanted, replace(WANTED, time_zone="")).changes == ()


def test_headers_that_cloud_scheduler_sets_do_not_count() -> None:
    headers = {name.lower(): value for name, value in WANTED.headers.items()}
    told = {**headers, "User-Agent": "Google-Cloud-Scheduler", "X-Google-A": "b"}
    assert compare(WANTED, replace(WANTED, headers=told)).changes == ()


@pytest.mark.parametrize(
    "hidden", [{"headers": {}}, {"body": b""}, {"url": "", "headers": {}, "body": b""}]
)
def test_what_is_not_shown_does_not_differ(hidden: dict[str, Any]) -> None:
    found = replace(WANTED, **hidden)
    assert found.is_partial
    assert compare(WANTED, found).changes == ()
    assert compare(WANTED, replace(found, schedule="")).mask == TIMES


@pytest.mark.parametrize("state", [State.UPDATE_FAILED, State.DISABLED, State.UNKNOWN])
def test_a_broken_job_is_written_as_a_whole(state: State) -> None:
    diff = compare(WANTED, replace(WANTED, state=state))
    assert [str(each) for each in diff.changes] == [f"state: {state} -> ENABLED"]
    assert diff.mask == ALL
    assert find_switch(State.PAUSED, state) is None


def test_a_state_is_no_part_of_an_update() -> None:
    diff = compare(replace(WANTED, state=State.PAUSED), WANTED)
    assert [str(each) for each in diff.changes] == ["state: ENABLED -> PAUSED"]
    assert diff.mask == ()
    assert find_switch(State.PAUSED, State.ENABLED) == "PauseJob"
    assert find_switch(State.ENABLED, State.PAUSED) == "ResumeJob"
    assert find_switch(State.PAUSED, State.PAUSED) is None


def test_secrets_are_in_no_text_of_a_job() -> None:
    assert "secret" not in repr(WANTED)
    assert "{}" not in repr(WANTED)
    changed = compare(WANTED, replace(WANTED, headers={"X-Task-Secret": "older"}))
    assert "secret" not in repr(changed)
    assert "older" not in repr(changed)


# Marks


@pytest.mark.parametrize(
    ("name", "description"),
    [
        (f"{PLACE.parent}/jobs/shop-{UID}", "by hand"),
        (f"{PLACE.parent}/jobs/shop-{UID}", "night [shop-b]"),
        (f"{PLACE.parent}/jobs/shop-b-{UID}", "night [shop]"),
        (f"{PLACE.parent}/jobs/shop-{UID}0", "night [shop]"),
        (f"{PLACE.parent}/jobs/shop-night", "night [shop]"),
        (f"projects/other/locations/europe-west6/jobs/shop-{UID}", "night [shop]"),
    ],
)
def test_one_mark_alone_makes_a_job_nobodys(name: str, description: str) -> None:
    assert PLACE.find_uid(name, description) is None


def test_both_marks_make_a_job_ours() -> None:
    assert PLACE.find_uid(WANTED.name, WANTED.description) == UID


def test_a_long_description_keeps_its_mark() -> None:
    text = PLACE.make_description("n" * 900)
    assert len(text) == 500
    assert PLACE.find_uid(WANTED.name, text) == UID
