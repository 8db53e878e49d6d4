from __future__ import annotations

from collections import UserDict
from collections.abc import Mapping
from dataclasses import fields
from datetime import timedelta
from types import MappingProxyType
from typing import Any

import pytest

from cloudtask import RetryPolicy
from cloudtask.conf import Settings
from cloudtask.conf.queues import QueueConfig
from cloudtask.conf.table import CORE_ROWS, get_all_rows
from cloudtask.exceptions import ConfigurationError
from cloudtask.results import settings as results
from cloudtask.schedules import settings as schedules
from cloudtask.wire.headers import find_header_problem
from cloudtask.wire.limits import MAX_URL_LENGTH
from cloudtask.wire.task_fields import find_deadline_problem, find_url_problem

ROWS = get_all_rows()
MINUTE = timedelta(minutes=1)
CREDENTIALS = object()
LONG_URL = "https://shop.example/".ljust(MAX_URL_LENGTH, "x")

ACCEPTED: list[tuple[str, object, object]] = [
    ("ACCEPTS_TASKS_OF", ["default"], ("default",)),
    ("PROJECT", "shop-42", "shop-42"),
    ("PROJECT", "example.com:shop", "example.com:shop"),
    ("LOCATION", "europe-west1", "europe-west1"),
    ("SAE", "tasks@shop.iam.gserviceaccount.com", None),
    ("URL", "https://shop.example/_tasks/", None),
    ("URL", "http://localhost:8000/_tasks/?source=queue", None),
    ("URL", "https://[::1]:8000/", None),
    ("URL", LONG_URL, None),
    ("QUEUE", "e-mails", None),
    ("SECRET", "a secret with spaces, and = signs", None),
    ("SECRET_FALLBACKS", ["one", "two"], ("one", "two")),
    ("SECRET_FALLBACKS", ("one",), ("one",)),
    ("SECRET_FALLBACKS", [], ()),
    ("SIGN", False, None),
    ("SIGN_KEYS", ["a key with spaces", "former"], ("a key with spaces", "former")),
    ("AUDIENCE", "https://shop.example", ("https://shop.example",)),
    ("AUDIENCE", ["new", "old"], ("new", "old")),
    ("AUTH", "any", None),
    ("AUTH", "all", None),
    ("AUTH", "shop.auth.Mine", None),
    ("AUTH_PARAMS", {}, None),
    ("AUTH_PARAMS", {"header": "X-Shop", "keys": (1, 2)}, None),
    ("CREDENTIALS", CREDENTIALS, CREDENTIALS),
    ("CREDENTIALS", "/etc/key.json", None),
    ("EMULATOR_HOST", "127.0.0.1:8123", None),
    ("EMULATOR_HOST", "[::1]:8123", None),
    ("EMULATOR_HTTP_HOST", "emulator:8124", None),
    ("ON_COMMIT", False, None),
    ("DEADLINE", timedelta(seconds=15), None),
    ("DEADLINE", timedelta(minutes=30), None),
    ("RETRY", RetryPolicy(max_attempts=3), None),
    ("RETRY", {"max_attempts": 3}, RetryPolicy(max_attempts=3)),
    ("RETRY", {}, RetryPolicy()),
    ("RUN_ONCE", True, None),
    ("RUN_ONCE", False, None),
    ("RESULTS", "all", None),
    ("RESULTS", "errors", None),
    ("RESULTS", "none", None),
    ("LEASE", timedelta(seconds=5), None),
    ("LEASE", timedelta(minutes=10), None),
    ("PRUNE_AFTER", timedelta(hours=1), None),
    ("PRUNE_FAILED_AFTER", timedelta(days=400), None),
    ("SCHEDULER", "tasks", None),
    ("SCHEDULER", "scheduler", None),
    ("SCHEDULER_LOCATION", "europe-west1", None),
    ("SCHEDULER_PREFIX", "shop-staging", None),
    ("PRUNE_SLOTS_AFTER", timedelta(hours=1), None),
    ("MAX_ERRORS", 1, None),
    ("MAX_ERRORS", 1000, None),
    ("PRIORITY_QUEUES", {50: "urgent", 0: "default", -50: "bulk"}, None),
    ("PRIORITY_QUEUES", {}, None),
    ("QUEUE_ALIASES", {"e_mails": "e-mails"}, None),
    ("QUEUES", {"default": {}}, {"default": QueueConfig()}),
    (
        "QUEUES",
        {
            "default": {
                "max_dispatches_per_second": 0.5,
                "max_concurrent_dispatches": 10,
                "retry": {"max_attempts": 3},
            }
        },
        {
            "default": QueueConfig(
                max_dispatches_per_second=0.5,
                max_concurrent_dispatches=10,
                retry=RetryPolicy(max_attempts=3),
            )
        },
    ),
    ("TRANSPORT", "cloudtask.transports.memory.MemoryTransport", None),
    ("RPC_TIMEOUT", timedelta(microseconds=1), None),
    ("IMPORTS", ["shop.jobs", "shop.reports.jobs"], ("shop.jobs", "shop.reports.jobs")),
    ("IMPORTS", (), ()),
]

NO_AUTH = "must be 'any', 'all' or the dotted path of an Authenticator"
NO_PARAMS = "must be a dictionary of arguments by name."

REFUSED: list[tuple[str, object, str]] = [
    ("PROJECT", 42, "must be a non-empty string, not 42."),
    ("PROJECT", "", "must be a non-empty string, not ''."),
    ("PROJECT", " shop", "must be a non-empty string, not ' shop'."),
    ("PROJECT", "projects/shop", "'projects/shop' is not a project id."),
    ("LOCATION", b"eu", "must be a non-empty string, not b'eu'."),
    ("LOCATION", "Zürich", "'Zürich' is not a region, as in 'europe-west1'."),
    ("SAE", [], "must be a non-empty string, not []."),
    ("SAE", "shop", "must be a service account's e-mail address, not 'shop'."),
    ("SAE", "@shop", "must be a service account's e-mail address, not '@shop'."),
    ("SAE", "shop@", "must be a service account's e-mail address, not 'shop@'."),
    ("SAE", "a@b@c", "must be a service account's e-mail address, not 'a@b@c'."),
    ("URL", 42, "must be a URL, not 42."),
    ("URL", "/_tasks/", "must start with https:// and a host, not '/_tasks/'."),
    (
        "QUEUE",
        "e_mails",
        "'e_mails' is not a queue name: 1 to 100 letters, digits or hyphens.",
    ),
    ("QUEUE", True, "must be a non-empty string, not True."),
    ("SECRET", 42, "must be a non-empty string without spaces."),
    ("SECRET", "", "must be a non-empty string without spaces."),
    ("SECRET", "s3cret\n", "must be a non-empty string without spaces."),
    ("SECRET", b"s3cret", "must be a non-empty string without spaces."),
    (
        "SECRET",
        "sécret",
        "is sent as an HTTP header: only printable ASCII characters.",
    ),
    (
        "SECRET",
        "s3\r\ncret",
        "is sent as an HTTP header: only printable ASCII characters.",
    ),
    ("ACCEPTS_TASKS_OF", "default", "must be a list of strings."),
    ("ACCEPTS_TASKS_OF", [5], "must be a non-empty string, not 5."),
    # A string is a sequence of strings, too.
    ("SECRET_FALLBACKS", "s3cret", "must be a list of strings."),
    ("SECRET_FALLBACKS", {"s3cret"}, "must be a list of strings."),
    ("SECRET_FALLBACKS", [42], "must be a non-empty string without spaces."),
    ("SIGN", 1, "must be True or False, not 1."),
    ("SIGN_KEYS", "k3y", "must be a list of strings."),
    ("SIGN_KEYS", [], "must have at least one key, or be left out."),
    ("SIGN_KEYS", ["k3y "], "must be a non-empty string without spaces."),
    ("AUDIENCE", 42, "must be a list of strings."),
    ("AUDIENCE", [42], "must be a non-empty string, not 42."),
    ("AUDIENCE", "", "must be a non-empty string, not ''."),
    # An empty list would accept tokens for anybody, or for nobody.
    ("AUDIENCE", [], "must name at least one audience."),
    ("AUTH", "none", f"{NO_AUTH}, not 'none'."),
    ("AUTH", "", f"{NO_AUTH}, not ''."),
    ("AUTH", True, f"{NO_AUTH}, not True."),
    ("AUTH", ["all"], f"{NO_AUTH}, not ['all']."),
    ("AUTH", ["a.b"], f"{NO_AUTH}, not ['a.b']."),
    ("AUTH_PARAMS", ["header"], NO_PARAMS),
    ("AUTH_PARAMS", "header", NO_PARAMS),
    ("AUTH_PARAMS", {1: "header"}, NO_PARAMS),
    ("AUTH_PARAMS", {"header": 1, None: 2}, NO_PARAMS),
    ("EMULATOR_HOST", 8123, "must be a non-empty string, not 8123."),
    (
        "EMULATOR_HOST",
        "localhost",
        "must be host:port, as in '127.0.0.1:8123', not 'localhost'.",
    ),
    (
        "EMULATOR_HOST",
        ":8123",
        "must be host:port, as in '127.0.0.1:8123', not ':8123'.",
    ),
    (
        "EMULATOR_HOST",
        "http://localhost:8123",
        "must be host:port, as in '127.0.0.1:8123', not 'http://localhost:8123'.",
    ),
    (
        "EMULATOR_HTTP_HOST",
        "localhost:\u0668",
        "must be host:port, as in '127.0.0.1:8123', not 'localhost:\u0668'.",
    ),
    ("ON_COMMIT", 1, "must be True or False, not 1."),
    ("ON_COMMIT", "yes", "must be True or False, not 'yes'."),
    (
        "DEADLINE",
        600,
        "must be a timedelta from 15 seconds to 30 minutes, not 600.",
    ),
    (
        "DEADLINE",
        timedelta(seconds=14),
        "must be a timedelta from 15 seconds to 30 minutes, not "
        f"{timedelta(seconds=14)!r}.",
    ),
    (
        "DEADLINE",
        timedelta(hours=1),
        "must be a timedelta from 15 seconds to 30 minutes, not "
        f"{timedelta(hours=1)!r}.",
    ),
    ("RETRY", 3, "must be a RetryPolicy or a dictionary of its fields, not 3."),
    (
        "RETRY",
        {"attempts": 3},
        "'attempts' is not a field. Known: max_attempts, max_backoff, max_doublings, "
        "max_retry_duration, min_backoff.",
    ),
    (
        "RETRY",
        {"max_attempts": 0},
        "RetryPolicy(max_attempts=0): must be at least 1, or -1.",
    ),
    ("RUN_ONCE", 1, "must be True or False, not 1."),
    ("RUN_ONCE", "no", "must be True or False, not 'no'."),
    ("RESULTS", "some", "must be 'all', 'errors' or 'none', not 'some'."),
    ("RESULTS", "", "must be 'all', 'errors' or 'none', not ''."),
    ("RESULTS", "ALL", "must be 'all', 'errors' or 'none', not 'ALL'."),
    ("RESULTS", True, "must be 'all', 'errors' or 'none', not True."),
    ("RESULTS", ["all"], "must be 'all', 'errors' or 'none', not ['all']."),
    (
        "SCHEDULER",
        "cron",
        "must be 'tasks' or 'scheduler', the engine, not 'cron'.",
    ),
    (
        "SCHEDULER_LOCATION",
        "Zurich",
        "'Zurich' is not a region, as in 'europe-west1'.",
    ),
    (
        "SCHEDULER_PREFIX",
        "Shop",
        "must be 1 to 40 lower-case letters, digits and hyphens, and begin with a "
        "letter, not 'Shop'.",
    ),
    (
        "PRUNE_SLOTS_AFTER",
        timedelta(minutes=59),
        "must be a timedelta of an hour or more, not datetime.timedelta(seconds=3540).",
    ),
    ("LEASE", 30, "must be a timedelta from 5 seconds to 10 minutes, not 30."),
    (
        "LEASE",
        timedelta(seconds=4, microseconds=999_999),
        "must be a timedelta from 5 seconds to 10 minutes, not "
        "datetime.timedelta(seconds=4, microseconds=999999).",
    ),
    (
        "LEASE",
        timedelta(minutes=10, microseconds=1),
        "must be a timedelta from 5 seconds to 10 minutes, not "
        "datetime.timedelta(seconds=600, microseconds=1).",
    ),
    ("PRUNE_AFTER", 30, "must be a timedelta of an hour or more, not 30."),
    (
        "PRUNE_FAILED_AFTER",
        timedelta(minutes=59),
        "must be a timedelta of an hour or more, not datetime.timedelta(seconds=3540).",
    ),
    ("MAX_ERRORS", 0, "must be a whole number of at least 1, not 0."),
    ("MAX_ERRORS", True, "must be a whole number of at least 1, not True."),
    ("MAX_ERRORS", "20", "must be a whole number of at least 1, not '20'."),
    ("PRIORITY_QUEUES", ["urgent"], "must be a dictionary, not ['urgent']."),
    ("PRIORITY_QUEUES", {"50": "u"}, "the priority '50' must be a whole number."),
    ("PRIORITY_QUEUES", {True: "u"}, "the priority True must be a whole number."),
    ("PRIORITY_QUEUES", {0.5: "u"}, "the priority 0.5 must be a whole number."),
    (
        "PRIORITY_QUEUES",
        {50: "u/u"},
        "'u/u' is not a queue name: 1 to 100 letters, digits or hyphens.",
    ),
    ("QUEUE_ALIASES", "e-mails", "must be a dictionary, not 'e-mails'."),
    ("QUEUE_ALIASES", {1: "e-mails"}, "must be a non-empty string, not 1."),
    (
        "QUEUE_ALIASES",
        {"e-mails": "e_mails"},
        "'e_mails' is not a queue name: 1 to 100 letters, digits or hyphens.",
    ),
    ("QUEUES", ["default"], "must be a dictionary, not ['default']."),
    (
        "QUEUES",
        {"e_mails": {}},
        "'e_mails' is not a queue name: 1 to 100 letters, digits or hyphens.",
    ),
    ("QUEUES", {"default": 5}, "must be a dictionary, not 5."),
    (
        "QUEUES",
        {"default": {"rate": 5}},
        "queue 'default': 'rate' is not a field. Known: max_dispatches_per_second, "
        "max_concurrent_dispatches, retry.",
    ),
    (
        "QUEUES",
        {"default": {"max_dispatches_per_second": "5"}},
        "queue 'default': 'max_dispatches_per_second' must be a number, not '5'.",
    ),
    (
        "QUEUES",
        {"default": {"max_concurrent_dispatches": True}},
        "queue 'default': 'max_concurrent_dispatches' must be a number, not True.",
    ),
    (
        "QUEUES",
        {"default": {"retry": 3}},
        "must be a RetryPolicy or a dictionary of its fields, not 3.",
    ),
    ("TRANSPORT", 42, "must be a non-empty string, not 42."),
    ("RPC_TIMEOUT", 10, "must be a positive timedelta, not 10."),
    (
        "RPC_TIMEOUT",
        timedelta(0),
        "must be a positive timedelta, not datetime.timedelta(0).",
    ),
    ("IMPORTS", "shop.jobs", "must be a list of strings."),
    ("IMPORTS", {"shop.jobs"}, "must be a list of strings."),
    ("IMPORTS", [1], "must be a non-empty string, not 1."),
    ("IMPORTS", [""], "must be a non-empty string, not ''."),
]


@pytest.mark.parametrize(("key", "value", "checked"), ACCEPTED)
def test_each_setting_takes_its_values(key: str, value: Any, checked: Any) -> None:
    assert ROWS[key].check(key, value) == (value if checked is None else checked)


@pytest.mark.parametrize(("key", "value", "text"), REFUSED)
def test_each_setting_refuses_other_values(key: str, value: Any, text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ROWS[key].check(key, value)

    assert str(caught.value) == f"CLOUDTASK[{key!r}]: {text}"
    assert caught.value.key == key


def test_each_setting_has_values_that_it_takes_and_refuses() -> None:
    assert {key for key, _, _ in ACCEPTED} == set(ROWS)
    assert {key for key, _, _ in REFUSED} == set(ROWS) - {"CREDENTIALS"}


def test_what_rows_name_is_one() -> None:
    peers = [peer for row in ROWS.values() for peer in row.peers]

    assert {key for row in ROWS.values() for key in row.owns} < set(CORE_ROWS)
    # Whoever asks for a peer's key is led to one that OPTIONS take, too.
    assert not any(row.peers and row.project_wide for row in ROWS.values())
    assert not set(peers) & set(ROWS)
    assert len(peers) == len(set(peers))
    assert [peer.upper() for peer in peers] == peers


def test_an_optional_app_has_rows_of_its_own() -> None:
    own = set(ROWS) - set(CORE_ROWS)

    assert own == {*results.ROWS, *schedules.ROWS}
    for app, values in (
        (results, results.ResultsSettings),
        (schedules, schedules.SchedulesSettings),
    ):
        assert set(app.ROWS) == {each.name.upper() for each in fields(values)}
    assert set(CORE_ROWS) == {each.name.upper() for each in fields(Settings)} - {
        *("BACKEND", "BASE", "APP_VALUES")
    }


@pytest.mark.parametrize("kind", [dict, UserDict, MappingProxyType])
def test_any_mapping_is_a_dictionary(kind: type[Mapping[str, Any]]) -> None:
    retry = ROWS["RETRY"].check("RETRY", kind({"max_attempts": 3}))  # type: ignore[call-arg]

    assert retry == RetryPolicy(max_attempts=3)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("SECRET", "canary\n"),
        ("SECRET", b"canary"),
        ("SECRET", ["canary"]),
        ("SECRET", "canary\xff"),
        ("SECRET_FALLBACKS", "canary"),
        ("SECRET_FALLBACKS", {"canary"}),
        ("SECRET_FALLBACKS", [b"canary"]),
        ("SECRET_FALLBACKS", ["canary\xff"]),
        ("SIGN_KEYS", "canary"),
        ("SIGN_KEYS", ["canary\xff"]),
        ("AUTH_PARAMS", ["canary"]),
        ("AUTH_PARAMS", {1: "canary"}),
    ],
)
def test_a_wrong_secret_is_not_shown(key: str, value: object) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ROWS[key].check(key, value)

    assert "canary" not in str(caught.value)


NO_URL = "must be a valid URL, not {!r}."
NO_HOST = "must start with https:// and a host, not {!r}."
SPACES = "must have neither a fragment nor spaces, not {!r}."


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("https://shop.example", None),
        ("HTTPS://shop.example/a?b=c", None),
        ("https://shop.example/@me", None),  # No user name.
        (LONG_URL, None),
        (LONG_URL + "x", "has 2084 characters; Cloud Tasks takes 2083."),
        (None, "must be a URL, not None."),
        (b"https://shop.example", "must be a URL, not b'https://shop.example'."),
        ("", NO_HOST),
        ("shop.example", NO_HOST),
        ("//shop.example/", NO_HOST),
        ("https:///x", NO_HOST),
        ("ftp://x/", NO_HOST),
        ("file:///etc/passwd", NO_HOST),
        ("https://x:port/", NO_URL),
        ("https://x:65536/", NO_URL),
        ("https://[::1/", NO_URL),
        ("https://x/#top", SPACES),
        ("https://x/ y", SPACES),
        # Python's parser strips these; Cloud Tasks' might not.
        (" https://x/", SPACES),
        ("https://x/\n", SPACES),
        ("https://x/\0", SPACES),
    ],
)
def test_a_url_leads_to_a_host(value: object, problem: str | None) -> None:
    assert find_url_problem(value) == (problem and problem.format(value))


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (
            "https://admin:canary@shop.example/",
            "must not carry a user name or password.",
        ),
        ("https://canary@shop.example/", "must not carry a user name or password."),
        ("ftp://admin:canary@x/", "must not carry a user name or password."),
        # Too broken to tell what is what.
        ("admin:canary@shop.example", "must start with https:// and a host."),
        ("https://admin:canary@x:port/", "must be a valid URL."),
        (
            "https://x/?to=admin:canary@x#top",
            "must have neither a fragment nor spaces.",
        ),
    ],
)
def test_a_password_in_a_url_is_not_shown(value: str, problem: str) -> None:
    assert find_url_problem(value) == problem


@pytest.mark.parametrize(
    ("value", "valid"),
    [
        (timedelta(seconds=15), True),
        (timedelta(minutes=30), True),
        (timedelta(seconds=14, microseconds=999_999), False),
        (timedelta(minutes=30, microseconds=1), False),
        (-MINUTE, False),
        (60, False),
        (None, False),
    ],
)
def test_a_deadline_has_the_range_of_http_targets(value: object, valid: bool) -> None:
    problem = find_deadline_problem(value)

    assert (problem is None) is valid
    if not valid:
        assert problem == (
            f"must be a timedelta from 15 seconds to 30 minutes, not {value!r}."
        )


NO_NAME = "is not a header name."
NO_VALUE = "must have a value of printable ASCII characters."


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("X-Tenant", "shop", None),
        ("x.y_z~1", "", None),
        ("N" * 128, "spaces and !~", None),
        ("N" * 129, "shop", NO_NAME),
        ("", "shop", NO_NAME),
        ("X Tenant", "shop", NO_NAME),
        ("X-Tenant:", "shop", NO_NAME),
        ("X-Tenant\r\n", "shop", NO_NAME),
        ("X-Ténant", "shop", NO_NAME),
        (b"X-Tenant", "shop", NO_NAME),
        ("X-Tenant", "a\r\nX-Other: b", NO_VALUE),
        ("X-Tenant", "ä", NO_VALUE),
        ("X-Tenant", "a\tb", NO_VALUE),
        ("X-Tenant", b"shop", NO_VALUE),
        ("X-Tenant", 42, NO_VALUE),
    ],
)
def test_a_header_is_printable_ascii(
    name: object, value: object, problem: str | None
) -> None:
    assert find_header_problem(name, value) == problem


@pytest.mark.parametrize(
    "name",
    [
        "Authorization",
        "CONTENT-LENGTH",
        "content-type",
        "Host",
        "Transfer-Encoding",
        "User-Agent",
        "X-Task-Backend",
        "x-task-backend",
        "X-Task-Batch-Index",
        "X-Task-Rearm",
        "X-Task-Secret",
        "x-task-secret",
        "x-task-signature",
        "X-CloudTasks-TaskRetryCount",
        "X-Google-Whatever",
        "x-appengine-queuename",
    ],
)
def test_headers_that_are_set_elsewhere_are_refused(name: str) -> None:
    assert find_header_problem(name, "x") == (
        "is set by cloudtask or by Cloud Tasks. Leave it out."
    )
