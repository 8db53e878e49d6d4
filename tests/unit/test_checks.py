from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core import checks
from django.core.checks import CheckMessage
from django.test import Client, override_settings
from django.urls import clear_script_prefix, include, path, set_script_prefix

from cloudtask import task
from cloudtask.checks import check_backend, check_cloudtask
from cloudtask.conf.table import get_all_rows
from cloudtask.enqueue import registry
from tests import tasks

SECRET = "a secret of more than 24 bytes"
URL = "https://shop.example/_tasks/"

#: Nothing to be told.
RIGHT: dict[str, Any] = {
    "PROJECT": "shop",
    "LOCATION": "europe-west1",
    "SAE": "tasks@shop.iam.gserviceaccount.com",
    "URL": URL,
    "SECRET": SECRET,
}

#: Nobody is let in.
CLOSED = {"SIGN": False}
#: All of what enqueues elsewhere than at Google.
MEMORY = {"TRANSPORT": "cloudtask.transports.memory.MemoryTransport"}

# Models with JSON ask their database what it can.
pytestmark = pytest.mark.django_db(databases=["default", "other"])

Check = Callable[..., list[CheckMessage]]


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks that a test registers are gone after it."""
    monkeypatch.setattr(registry, "_definitions", {})
    monkeypatch.setattr(registry, "_conflicts", {})


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks the network fails the test."""

    def refuse(*args: object, **kwargs: object) -> None:
        pytest.fail("a check asked the network")

    monkeypatch.delenv("NO_GCE_CHECK")
    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture(autouse=True)
def _nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("K_SERVICE", "CLOUD_RUN_JOB", "CLOUD_RUN_WORKER_POOL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("GAE_APPLICATION", raising=False)


@pytest.fixture
def check() -> Check:
    """What `manage.py check --deploy` tells of this app."""

    def run(raw: object = None, **others: Any) -> list[CheckMessage]:
        with override_settings(CLOUDTASK=raw, **others):
            messages = checks.run_checks(include_deployment_checks=True)
        return [m for m in messages if str(m.id).startswith("cloudtask.")]

    return run


def ids(messages: list[CheckMessage]) -> list[str]:
    return [str(message.id).removeprefix("cloudtask.") for message in messages]


def told(messages: list[CheckMessage], number: str) -> CheckMessage:
    """The one message of this id."""
    (found,) = [m for m in messages if m.id == f"cloudtask.{number}"]
    return found


def urlconf(*patterns: Any) -> ModuleType:
    module = ModuleType("urlconf")
    module.urlpatterns = list(patterns)  # type: ignore[attr-defined]
    return module


def without(*keys: str) -> dict[str, Any]:
    return {key: value for key, value in RIGHT.items() if key not in keys}


NOT_ROUTED = urlconf()
AT_ROOT = urlconf(path("", include("cloudtask.urls")))

#: Django redirects what is not https.
REDIRECTS: dict[str, Any] = {
    "SECURE_SSL_REDIRECT": True,
    "MIDDLEWARE": ["django.middleware.security.SecurityMiddleware"],
}

#: Each id, the settings that bring it about, and those that do not.
CASES: list[tuple[str, int, dict[str, Any], dict[str, Any]]] = [
    (
        "E001",
        checks.ERROR,
        {"raw": {"SECERT": SECRET}},
        {"raw": {"SECRET": SECRET}},
    ),
    ("E002", checks.ERROR, {"raw": CLOSED}, {"raw": CLOSED | {"SECRET": SECRET}}),
    ("E002", checks.ERROR, {"raw": CLOSED}, {"raw": CLOSED | {"SAE": RIGHT["SAE"]}}),
    (
        "E002",
        checks.ERROR,
        {"raw": CLOSED},
        {"raw": CLOSED | {"SECRET_FALLBACKS": [SECRET]}},
    ),
    ("E002", checks.ERROR, {"raw": CLOSED}, {"raw": None}),
    # 23 bytes, and 24.
    (
        "E003",
        checks.ERROR,
        {"raw": {"SECRET": "s" * 23}},
        {"raw": {"SECRET": "s" * 24}},
    ),
    (
        "E003",
        checks.ERROR,
        {"raw": {"SECRET": SECRET, "SECRET_FALLBACKS": ["short"]}},
        {"raw": {"SECRET": SECRET, "SECRET_FALLBACKS": [SECRET[::-1]]}},
    ),
    (
        "E003",
        checks.ERROR,
        {"raw": {"SECRET": SECRET}, "SECRET_KEY": SECRET},
        {"raw": {"SECRET": SECRET}, "SECRET_KEY": SECRET[::-1]},
    ),
    (
        "E003",
        checks.ERROR,
        {"raw": {"SIGN_KEYS": [SECRET, "s" * 23]}},
        # None is sent: those of Django's may be among them.
        {"raw": {"SIGN_KEYS": ["s" * 24, SECRET]}, "SECRET_KEY": SECRET},
    ),
    (
        "E003",
        checks.WARNING,  # On a desk.
        {"raw": {"SECRET": "short"}, "DEBUG": True},
        {"raw": {"SECRET": SECRET}, "DEBUG": True},
    ),
    *[
        ("W004", checks.WARNING, {"raw": without(key)}, {"raw": RIGHT})
        for key in ("PROJECT", "LOCATION", "URL")
    ],
    ("W004", checks.WARNING, {"raw": {}}, {"raw": MEMORY}),
    (
        "E005",
        checks.ERROR,
        {"raw": without("URL")},
        {"raw": without("URL") | {"AUDIENCE": "shop"}},
    ),
    ("E005", checks.ERROR, {"raw": {"SAE": RIGHT["SAE"]}}, {"raw": RIGHT}),
    (
        "E006",
        checks.ERROR,
        {"raw": {"URL": "http://shop.example/_tasks/"}},
        {"raw": {"URL": URL}},
    ),
    (
        "E006",
        checks.ERROR,
        {"raw": {"URL": "HTTP://shop.example/_tasks/"}},
        {"raw": {"URL": "http://shop.example/_tasks/"}, "DEBUG": True},
    ),
    (
        "E006",
        checks.ERROR,
        {"raw": {"URL": "http://localhost:8000/_tasks/"}},
        {
            "raw": {
                "URL": "http://localhost:8000/_tasks/",
                "EMULATOR_HOST": "127.0.0.1:8123",
            }
        },
    ),
    (
        "W007",
        checks.WARNING,
        {"raw": {"URL": URL}, **REDIRECTS},
        {"raw": {"URL": URL}, "SECURE_SSL_REDIRECT": False},
    ),
    (
        "W007",
        checks.WARNING,
        {"raw": {"URL": URL}, **REDIRECTS},
        {
            "raw": {"URL": URL},
            **REDIRECTS,
            "SECURE_PROXY_SSL_HEADER": ("HTTP_X_FORWARDED_PROTO", "https"),
        },
    ),
    (
        "W007",
        checks.WARNING,
        {
            "raw": {"URL": URL},
            **REDIRECTS,
            "SECURE_REDIRECT_EXEMPT": [r"^/_tasks/"],  # Django strips the slash.
        },
        {
            "raw": {"URL": URL},
            **REDIRECTS,
            "SECURE_REDIRECT_EXEMPT": [r"^health/", r"^_tasks/"],
        },
    ),
    (
        "W007",
        checks.WARNING,
        # The proxy would pass on that this was no https.
        {
            "raw": {"URL": "http://shop.example/_tasks/"},
            **REDIRECTS,
            "SECURE_PROXY_SSL_HEADER": ("HTTP_X_FORWARDED_PROTO", "https"),
        },
        {"raw": {}, **REDIRECTS},
    ),
    (
        "W007",
        checks.WARNING,
        {"raw": {"URL": URL}, **REDIRECTS},
        {"raw": {"URL": URL}, **REDIRECTS, "MIDDLEWARE": []},  # Nobody redirects.
    ),
    ("W008", checks.WARNING, {"ROOT_URLCONF": NOT_ROUTED}, {}),
    ("W008", checks.WARNING, {"ROOT_URLCONF": NOT_ROUTED}, {"ROOT_URLCONF": AT_ROOT}),
    (
        "W009",
        checks.WARNING,
        {"raw": {"URL": "https://shop.example/tasks/"}},
        {"raw": {"URL": URL}},
    ),
    (
        "W009",
        checks.WARNING,
        {"raw": {"URL": "https://shop.example/_tasks"}},
        {"raw": {}},
    ),
    (
        "W009",
        checks.WARNING,
        {"raw": {"URL": "https://shop.example"}},
        {"raw": {"URL": "https://shop.example"}, "ROOT_URLCONF": AT_ROOT},
    ),
    (
        "W010",
        checks.WARNING,
        {"raw": {"ON_COMMIT": False}},
        {"raw": {"ON_COMMIT": True}},
    ),
    (
        "W012",
        checks.WARNING,
        {"raw": {"SECRET": SECRET}},
        {"raw": {"SECRET": SECRET, "SAE": RIGHT["SAE"]}},
    ),
    (
        "W012",
        checks.WARNING,
        {"raw": {"SECRET": SECRET, "AUTH": "all", "SIGN": False}},
        {"raw": {"SECRET": SECRET, "AUTH": "all"}},
    ),
    ("W012", checks.WARNING, {"raw": {"SECRET": SECRET}}, {"raw": {}}),
]


@pytest.mark.parametrize(("number", "level", "wrong", "right"), CASES)
def test_wrong_settings_are_told_and_right_ones_are_not(
    check: Check, number: str, level: int, wrong: dict[str, Any], right: dict[str, Any]
) -> None:
    levels = {m.level for m in check(**wrong) if m.id == f"cloudtask.{number}"}

    assert levels == {level}
    assert number not in ids(check(**right))


def test_right_settings_have_nothing_to_be_told(check: Check) -> None:
    assert check(RIGHT) == []


def test_every_id_has_its_case() -> None:
    # E011 is told of tasks, not of settings.
    assert {number for number, *_ in CASES} == {
        "E001",
        "E002",
        "E003",
        "W004",
        "E005",
        "E006",
        "W007",
        "W008",
        "W009",
        "W010",
        "W012",
    }


# What is told


def test_a_wrong_setting_is_all_that_is_told(check: Check) -> None:
    (message,) = check({"QUEUE": "e_mails", "ON_COMMIT": False})

    assert message.id == "cloudtask.E001"
    assert message.msg == (
        "CLOUDTASK['QUEUE']: 'e_mails' is not a queue name: 1 to 100 letters, digits "
        "or hyphens."
    )


def test_an_emulator_in_the_environment_of_production_is_told(
    check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUD_TASKS_EMULATOR_HOST", "localhost:8123")

    assert ids(check(RIGHT)) == ["E001"]
    assert check(RIGHT, DEBUG=True) == []
    assert ids(check(RIGHT | {"EMULATOR_HOST": "localhost:8123"})) == ["E019"]


def test_an_open_question_is_told_with_its_answer(check: Check) -> None:
    message = told(check(CLOSED), "E002")

    assert message.msg == (
        "CLOUDTASK['SIGN'] is off, and neither CLOUDTASK['SECRET'] nor "
        "CLOUDTASK['SAE'] is set: the dispatch view refuses every task."
    )
    assert str(message.hint).startswith("Turn SIGN on, or set SAE to the service")


def test_a_redirect_to_https_is_told_with_its_answer(check: Check) -> None:
    for url, words in (
        ("http://shop.example/_tasks/", "Begin URL with https://, or add"),
        ("https://shop.example/_tasks/", "Behind a proxy that ends TLS, as on Cloud"),
    ):
        message = told(check({"URL": url}, **REDIRECTS), "W007")
        assert str(message.hint).startswith(words)


def test_a_weak_secret_is_told_once_and_not_shown(check: Check) -> None:
    messages = check(RIGHT | {"SECRET": "canary", "SECRET_FALLBACKS": ["canary-2"]})

    (message,) = messages
    assert message.msg == (
        "CLOUDTASK['SECRET'], or a fallback, is shorter than 24 bytes, or is "
        "SECRET_KEY."
    )
    assert "canary" not in str(messages)


def test_each_missing_place_is_told(check: Check) -> None:
    found = [m.msg for m in check({}) if m.id == "cloudtask.W004"]

    assert found == [
        "CLOUDTASK['PROJECT'] is not set.",
        "CLOUDTASK['LOCATION'] is not set.",
        "CLOUDTASK['URL'] is not set.",
    ]
    assert check(without("PROJECT"))[0].hint == (
        "Set it to the project's id. On Google Cloud it is found at run time."
    )


def test_a_secret_is_looked_at_where_there_is_no_secret_key() -> None:
    # As where an image is built: Django tells of it.
    with override_settings(SECRET_KEY="", CLOUDTASK=RIGHT):
        assert check_cloudtask() == []


@pytest.mark.parametrize("variable", ["K_SERVICE", "GAE_APPLICATION"])
def test_on_google_cloud_nothing_is_missed_and_nobody_asked(
    check: Check, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "shop")

    assert check({}) == []


@pytest.mark.parametrize(
    ("url", "append_slash", "trouble"),
    [
        ("https://x/_tasks", True, "is redirected (APPEND_SLASH)"),
        ("https://x/_tasks", False, "leads elsewhere"),
        ("https://x/other/", True, "leads elsewhere"),
        ("https://x/_tasks/more/", True, "leads elsewhere"),
    ],
)
def test_the_path_of_the_url_is_told(
    check: Check, url: str, append_slash: bool, trouble: str
) -> None:
    message = told(check({"URL": url}, APPEND_SLASH=append_slash), "W009")

    shown = url.removeprefix("https://x")
    assert message.msg == (
        f"The path of CLOUDTASK['URL'], {shown!r}, {trouble}. The dispatch view is "
        "at '/_tasks/'."
    )


@pytest.fixture
def mounted() -> Iterator[str]:
    """A project below a path, as FORCE_SCRIPT_NAME puts it."""
    set_script_prefix("/app/")
    yield "/app"
    clear_script_prefix()


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("https://shop.example/app/_tasks/", []),
        ("https://shop.example/_tasks/", []),  # A proxy may add the rest.
        ("https://shop.example/app/_tasks", ["W009"]),
        ("https://shop.example/other/_tasks/", ["W009"]),
    ],
)
def test_a_project_may_be_mounted_below_a_path(
    check: Check, mounted: str, url: str, found: list[str]
) -> None:
    assert ids(check(RIGHT | {"URL": url})) == found


def test_a_project_without_urls_is_told_nothing_of_them(check: Check) -> None:
    # It enqueues, and another one is dispatched to.
    with override_settings():
        del django_settings.ROOT_URLCONF

        assert check(RIGHT) == []


@pytest.mark.parametrize("options", [{}, {"path": "other"}])
def test_a_path_that_two_tasks_claim_is_told(
    check: Check, options: dict[str, Any]
) -> None:
    def first(request: object) -> None:
        """Do nothing."""

    def second(request: object) -> None:
        """Do nothing."""

    task(path="add")(first)
    assert check(RIGHT) == []
    task(aliases=("add",), **options)(second)

    (message,) = check(RIGHT)

    assert (message.id, message.level) == ("cloudtask.E011", checks.ERROR)
    assert message.msg == (
        f"{__name__}.{second.__qualname__}: the task path 'add' belongs to "
        f"{__name__}.{first.__qualname__}. Give one of them another path=."
    )


def test_only_a_deployment_is_told_of_on_commit() -> None:
    with override_settings(CLOUDTASK=RIGHT | {"ON_COMMIT": False}):
        found = [str(m.id) for m in checks.run_checks()]

    assert "cloudtask.W010" not in found


# A backend of Django's tasks framework

PATH = "TASKS['mails']['OPTIONS']"
KNOWN = ", ".join(
    sorted(k for k, row in get_all_rows().items() if not row.project_wide)
)
#: OPTIONS and QUEUES of a backend, and id and text of all that is told of it.
BACKENDS: list[tuple[object, list[str], list[tuple[str, str]]]] = [
    # Nothing.
    ({}, [], []),
    (None, ["default"], []),
    ({"PROJECT": "mails"}, ["default", "e-mails"], []),
    ({"QUEUE_ALIASES": {"e_mails": "e-mails"}}, ["default", "e_mails"], []),
    # Any queue goes.
    ({"QUEUE_ALIASES": {"e_mails": "e-mails"}}, [], []),
    ({"PRIORITY_QUEUES": {100: "urgent", 0: "default", -100: "bulk"}}, [], []),
    # Wrong options.
    (
        {"SECERT": "canary", "PROJECT": "mails"},
        [],
        [
            (
                "E001",
                f"{PATH}['SECERT']: is not a setting of cloudtask. Did you mean "
                f"'SECRET'? Known: {KNOWN}.",
            )
        ],
    ),
    (
        {"AUTH": "os.getpid"},
        [],
        [
            (
                "E001",
                f"{PATH}['AUTH']: 'os.getpid' is not a subclass of Authenticator.",
            )
        ],
    ),
    (["SECRET"], [], [("E001", f"{PATH}: must be a dictionary, not a list.")]),
    # What would be told of CLOUDTASK.
    (
        {"SECRET": "canary"},
        [],
        [
            (
                "E003",
                f"{PATH}['SECRET'], or a fallback, is shorter than 24 bytes, or is "
                "SECRET_KEY.",
            )
        ],
    ),
    (
        {"URL": "http://shop.example/_tasks/"},
        [],
        [
            (
                "E006",
                f"{PATH}['URL'] is not an https:// URL: credentials would travel in "
                "clear.",
            )
        ],
    ),
    (
        {"URL": "https://x/other/"},
        [],
        [
            (
                "W009",
                f"The path of {PATH}['URL'], '/other/', leads elsewhere. The dispatch "
                "view is at '/_tasks/'.",
            )
        ],
    ),
    # Queues.
    (
        {"PROJECT": "mails"},
        ["e_mails", "default", "a b"],
        [
            (
                "E013",
                f"TASKS['mails']['QUEUES']: {name!r} is neither an alias of "
                f"{PATH}['QUEUE_ALIASES'] nor a queue name: 1 to 100 letters, digits "
                "or hyphens.",
            )
            for name in ("a b", "e_mails")
        ],
    ),
    (
        None,
        ["e_mails"],
        [
            (
                "E013",
                "TASKS['mails']['QUEUES']: 'e_mails' is neither an alias of "
                "CLOUDTASK['QUEUE_ALIASES'] nor a queue name: 1 to 100 letters, "
                "digits or hyphens.",
            )
        ],
    ),
    (
        {"QUEUE_ALIASES": {"b": "bulk", "a": "bulk", "default": "main"}},
        ["default"],
        [
            (
                "W014",
                f"{PATH}['QUEUE_ALIASES'] has aliases that TASKS['mails']['QUEUES'] "
                "does not list: a, b.",
            )
        ],
    ),
    # Priorities.
    (
        {"PRIORITY_QUEUES": {101: "urgent", 0: "default", -101: "bulk"}},
        [],
        [
            (
                "E015",
                f"{PATH}['PRIORITY_QUEUES'] has priorities that no Django task can "
                "have: -101, 101.",
            )
        ],
    ),
]


@pytest.mark.parametrize(("options", "queues", "expected"), BACKENDS)
def test_what_is_wrong_with_a_backend_is_told(
    options: object, queues: list[str], expected: list[tuple[str, str]]
) -> None:
    with override_settings(CLOUDTASK=RIGHT):
        messages = check_backend("mails", options, queues)

    found = [(str(m.id).removeprefix("cloudtask."), m.msg) for m in messages]
    assert found == expected
    for message in messages:
        level = checks.WARNING if "W" in str(message.id) else checks.ERROR
        assert message.level == level
    assert "canary" not in str(messages)


@pytest.mark.parametrize(
    ("number", "options", "queues", "hint"),
    [
        (
            "W014",
            {"QUEUE_ALIASES": {"a": "bulk"}},
            ["default"],
            "Tasks that name them are refused. Add them to QUEUES.",
        ),
        ("E015", {"PRIORITY_QUEUES": {101: "a"}}, [], "They go from -100 to 100."),
    ],
)
def test_what_is_told_of_a_backend_comes_with_an_answer(
    number: str, options: dict[str, Any], queues: list[str], hint: str
) -> None:
    with override_settings(CLOUDTASK=RIGHT):
        assert told(check_backend("mails", options, queues), number).hint == hint


def test_an_open_backend_is_told() -> None:
    # CLOUDTASK's own door is shut by nothing either, and told of once.
    with override_settings(CLOUDTASK=CLOSED):
        message = told(check_backend("mails", {"PROJECT": "mails"}, []), "E002")
        assert check_backend("mails", {}, []) == []

    assert message.msg == (
        f"{PATH}['SIGN'] is off, and neither {PATH}['SECRET'] nor {PATH}['SAE'] is "
        "set: the dispatch view refuses every task."
    )


def test_aliases_of_the_project_are_no_backends_to_list() -> None:
    raw = RIGHT | {"QUEUE_ALIASES": {"a": "bulk"}}
    with override_settings(CLOUDTASK=raw):
        assert check_backend("mails", {}, ["default"]) == []


def test_a_wrong_setting_is_told_of_a_backend_too() -> None:
    with override_settings(CLOUDTASK=RIGHT | {"QUEUE": 1}):
        (message,) = check_backend("mails", {"PROJECT": "mails"}, [])

    assert message.msg == "CLOUDTASK['QUEUE']: must be a non-empty string, not 1."


@pytest.mark.parametrize("options", [{}, {"PROJECT": "mails"}])
def test_a_backend_without_the_app_is_told_all_of_it(options: dict[str, Any]) -> None:
    # Nobody else would look at its settings.
    with override_settings(INSTALLED_APPS=["tests"], CLOUDTASK=RIGHT):
        (message,) = check_backend("mails", options, [])
    with override_settings(INSTALLED_APPS=["tests"], CLOUDTASK=CLOSED):
        assert "E002" in ids(check_backend("mails", options, []))

    assert (message.id, message.level) == ("cloudtask.W016", checks.WARNING)
    assert message.msg == (
        "'cloudtask' is not in INSTALLED_APPS: a process that has not loaded the "
        "module of a task cannot run it."
    )
    assert message.hint == (
        "Add it, so that the tasks.py of every app is loaded at the start."
    )


# What the checks say is what happens


@pytest.mark.parametrize(
    "raw", [CLOSED, CLOSED | {"AUTH": "all"}, RIGHT | {"QUEUE": 1}]
)
@pytest.mark.parametrize("debug", [False, True])
def test_where_an_error_is_told_every_dispatch_is_refused(
    check: Check, monkeypatch: pytest.MonkeyPatch, raw: Any, debug: bool
) -> None:
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    body = {
        "v": 1,
        "id": "0" * 32,
        "task": "tests.tasks.add",
        "kind": "cloudtask",
        "args": [],
        "kwargs": {},
        "enqueued_at": "2026-01-31T12:00:00+00:00",
    }

    assert any(m.level >= checks.ERROR for m in check(raw, DEBUG=debug))
    with override_settings(CLOUDTASK=raw, DEBUG=debug):
        for headers in (
            {},
            {"X-Task-Secret": ""},
            {"X-Task-Secret": "None"},
            {"X-CloudTasks-QueueName": "default", "User-Agent": "Google-Cloud-Tasks"},
        ):
            response = Client().post(
                "/_tasks/", json.dumps(body), "application/json", headers=headers
            )
            assert response.status_code == 403

    assert tasks.ran == []
