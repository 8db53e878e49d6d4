"""What the system checks say of a backend."""

from __future__ import annotations

from typing import Any

import pytest
from django.core import checks
from django.core.checks import CheckMessage
from django.test import override_settings

from cloudtask.checks import check_cloudtask, check_deployment
from cloudtask.dispatch.kinds import find_backends
from cloudtask.framework import task_backends
from tests.backends.samples import BACKEND, IS_BACKPORT, TASKS

URL = "https://shop.example/_tasks/"
SECRET = "a secret of more than 24 bytes"

#: Nothing to be told.
RIGHT: dict[str, Any] = {
    "PROJECT": "shop",
    "LOCATION": "europe-west1",
    "SAE": "tasks@shop.iam.gserviceaccount.com",
    "URL": URL,
    "SECRET": SECRET,
}


@pytest.fixture(autouse=True)
def _right(settings: Any) -> None:
    settings.CLOUDTASK = RIGHT


def check(alias: str = "default", queues: Any = (), **options: Any) -> list[Any]:
    """What the backend's check() says."""
    params = {"BACKEND": BACKEND, "QUEUES": queues, "OPTIONS": options}
    with override_settings(TASKS={alias: params}):
        messages = task_backends[alias].check()
    assert isinstance(messages, list)
    return messages


def told(messages: list[CheckMessage]) -> list[tuple[str | None, str]]:
    return [(message.id, message.msg) for message in messages]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"SECRET": "b" * 24},
        {"RUN_ONCE": True, "ON_COMMIT": False},
        {"URL": URL, "AUDIENCE": "shop", "AUTH": "all"},
        {"PRIORITY_QUEUES": {100: "urgent", -100: "bulk"}},
        {"PROJECT": None, "SECRET": None},
    ],
)
def test_a_backend_that_is_right_is_not_spoken_of(options: dict[str, Any]) -> None:
    assert check(queues=["default", "emails"], **options) == []


def test_djangos_check_asks_every_backend(settings: Any) -> None:
    if IS_BACKPORT:
        from django_tasks.checks import check_tasks
    else:
        from django.tasks.checks import check_tasks
    settings.TASKS = {
        **TASKS,
        "one": {"BACKEND": BACKEND, "OPTIONS": {"SECRETS": "x"}},
        "other": {"BACKEND": BACKEND, "OPTIONS": {"URLS": "x"}},
    }
    messages = list(check_tasks())

    assert [message.id for message in messages] == ["cloudtask.E001"] * 2
    assert messages[0].msg.startswith("TASKS['one']['OPTIONS']['SECRETS']: ")
    assert messages[1].msg.startswith("TASKS['other']['OPTIONS']['URLS']: ")


# Wrong options


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("SECRETS", "SECRET"),
        ("secret", "SECRET"),
        ("on_commit", "ON_COMMIT"),
        ("PROJECT_ID", "PROJECT"),
        ("ENQUEUE_ON_COMMIT", "ON_COMMIT"),
        ("enqueue_on_commit", "ON_COMMIT"),
        ("TASK_HANDLER_HOST", "URL"),
        ("OIDC_SERVICE_ACCOUNT_EMAIL", "SAE"),
        ("OIDC_AUDIENCE", "AUDIENCE"),
        ("VIEW_AUTHN", "AUTH"),
        ("CLOUD_TASKS_LOCATION", "LOCATION"),
        ("PRIORITY_QUEUE", "PRIORITY_QUEUES"),
    ],
)
def test_an_unknown_option_is_told_with_the_nearest(key: str, nearest: str) -> None:
    [message] = check("reports", **{key: "x"})

    assert message.id == "cloudtask.E001"
    assert message.level == checks.ERROR
    assert message.msg.startswith(
        f"TASKS['reports']['OPTIONS'][{key!r}]: is not a setting of cloudtask. Did you "
        f"mean {nearest!r}? Known: ACCEPTS_TASKS_OF, AUDIENCE, AUTH, AUTH_PARAMS, "
        "CREDENTIALS, "
    )
    assert "QUEUE," not in message.msg


def test_an_unknown_option_that_is_near_none_is_told_with_all() -> None:
    [message] = check(zzzzzzzz=1)

    assert message.msg.startswith(
        "TASKS['default']['OPTIONS']['zzzzzzzz']: is not a setting of cloudtask. "
        "Known: "
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"QUEUE": "x"}, "['QUEUE']: belongs in CLOUDTASK: a Django task always "),
        ({"IMPORTS": ["x"]}, "['IMPORTS']: belongs in CLOUDTASK: tasks are found "),
        ({"LOCATION": "Europe"}, "['LOCATION']: 'Europe' is not a region, as in "),
        ({"RETRY": {"attempts": 3}}, "['RETRY']: 'attempts' is not a field. Known: "),
        ({"RUN_ONCE": 1}, "['RUN_ONCE']: must be True or False, not 1."),
        (
            {"RUN_ONCE": True, "RETRY": {}},
            "['RUN_ONCE']: contradicts RETRY: leave one of them out.",
        ),
        (
            {"AUTH": "some"},
            "['AUTH']: must be 'any', 'all' or the dotted path of an Authenticator, "
            "not 'some'.",
        ),
        (
            {"AUTH": "tests.backends.authenticators.Missing"},
            "['AUTH']: Module \"tests.backends.authenticators\" does not define a "
            '"Missing" attribute/class.',
        ),
        (
            {"AUTH": "tests.backends.authenticators.no_class"},
            "['AUTH']: 'tests.backends.authenticators.no_class' is not a subclass of "
            "Authenticator.",
        ),
        (
            {"AUTH": "tests.backends.nowhere.Missing"},
            "['AUTH']: No module named 'tests.backends.nowhere'.",
        ),
    ],
)
def test_a_wrong_option_is_told(options: dict[str, Any], words: str) -> None:
    [message] = check("reports", **options)

    assert message.id == "cloudtask.E001"
    assert message.msg.startswith(f"TASKS['reports']['OPTIONS']{words}")


@pytest.mark.parametrize("options", [["SECRET"], "SECRET", {"SECRET"}])
def test_options_must_be_a_dictionary(settings: Any, options: Any) -> None:
    settings.TASKS = {"default": {"BACKEND": BACKEND, "OPTIONS": options}}
    [message] = task_backends["default"].check()

    kind = type(options).__name__
    assert told([message]) == [
        (
            "cloudtask.E001",
            f"TASKS['default']['OPTIONS']: must be a dictionary, not a {kind}.",
        )
    ]


def test_a_wrong_setting_is_told_as_one(settings: Any) -> None:
    settings.CLOUDTASK = {**RIGHT, "SECRETS": "x"}
    [message] = check(RUN_ONCE=True)

    assert message.id == "cloudtask.E001"
    assert message.msg.startswith(
        "CLOUDTASK['SECRETS']: is not a setting of cloudtask."
    )


def test_an_authenticator_of_the_project_is_enough(settings: Any) -> None:
    settings.CLOUDTASK = {**RIGHT, "SAE": None, "SECRET": None}

    assert check(AUTH="tests.backends.authenticators.ByHeader") == []


# An open endpoint: one that refuses everyone, in truth


@pytest.mark.parametrize(
    ("alias", "options", "path"),
    [
        # Without options the app's own check tells it.
        ("default", {}, None),
        ("default", {"RUN_ONCE": True}, "TASKS['default']['OPTIONS']"),
        ("reports", {"AUTH": "all"}, "TASKS['reports']['OPTIONS']"),
    ],
)
def test_an_endpoint_without_credentials_is_told(
    settings: Any, alias: str, options: dict[str, Any], path: str | None
) -> None:
    settings.CLOUDTASK = {**RIGHT, "SAE": None, "SECRET": None, "SIGN": False}
    words = (
        f"{path}['SIGN'] is off, and neither {path}['SECRET'] nor {path}['SAE'] is "
        "set: the dispatch view refuses every task."
    )

    assert told(check(alias, **options)) == (
        [("cloudtask.E002", words)] if path else []
    )


def test_a_backend_is_told_what_the_app_would_be(settings: Any) -> None:
    settings.CLOUDTASK = {}
    messages = check("reports", SECRET="short", URL="http://shop.example/_tasks/")

    assert [message.id for message in messages] == [
        "cloudtask.E003",
        "cloudtask.W004",
        "cloudtask.W004",
        "cloudtask.E006",
    ]
    assert all("TASKS['reports']['OPTIONS']" in message.msg for message in messages)


def test_a_setting_that_only_backends_use_is_not_asked_for(settings: Any) -> None:
    settings.CLOUDTASK = {}
    settings.TASKS = {
        "default": {"BACKEND": BACKEND, "OPTIONS": RIGHT},
        "elsewhere": {"BACKEND": "tests.backends.nowhere.Backend"},
    }
    assert check_cloudtask() == task_backends["default"].check() == []

    settings.TASKS = {"immediate": TASKS["immediate"]}
    assert "cloudtask.W004" in [message.id for message in check_cloudtask()]


def test_the_deployment_of_a_backend_is_checked(settings: Any) -> None:
    settings.TASKS = {
        "default": {"BACKEND": BACKEND},
        "reports": {"BACKEND": BACKEND, "OPTIONS": {"ON_COMMIT": False}},
        "immediate": TASKS["immediate"],
    }

    assert told(check_deployment()) == [
        (
            "cloudtask.W010",
            "TASKS['reports']['OPTIONS']['ON_COMMIT'] is off: tasks may run before the "
            "data they need is committed, and although it was rolled back.",
        )
    ]


# Queues


@pytest.mark.parametrize("name", ["e_mails", "e mails", "größe", "x" * 101, "a/b"])
def test_a_queue_that_is_impossible_at_google_is_told(name: str) -> None:
    aliases = "CLOUDTASK['QUEUE_ALIASES']"

    assert told(check(queues=["default", name])) == [
        (
            "cloudtask.E013",
            f"TASKS['default']['QUEUES']: {name!r} is neither an alias of {aliases} "
            "nor a queue name: 1 to 100 letters, digits or hyphens.",
        )
    ]
    assert check(queues=["default", name], QUEUE_ALIASES={name: "emails"}) == []


def test_all_queues_are_told() -> None:
    messages = check("reports", queues=["b_b", "ok", "a_a"], ON_COMMIT=True)

    assert [message.msg[:52] for message in messages] == [
        f"TASKS['reports']['QUEUES']: '{name}' is neither an alia"[:52]
        for name in ("a_a", "b_b")
    ]
    assert "TASKS['reports']['OPTIONS']['QUEUE_ALIASES']" in messages[0].msg


def test_aliases_that_are_no_queues_are_told() -> None:
    aliases = {"emails": "shop-emails", "sms": "shop-sms", "default": "shop"}
    [message] = check(queues=["default"], QUEUE_ALIASES=aliases)

    assert told([message]) == [
        (
            "cloudtask.W014",
            "TASKS['default']['OPTIONS']['QUEUE_ALIASES'] has aliases that "
            "TASKS['default']['QUEUES'] does not list: emails, sms.",
        )
    ]
    assert message.level == checks.WARNING
    assert message.hint == "Tasks that name them are refused. Add them to QUEUES."


def test_aliases_are_not_told_where_any_queue_is_taken() -> None:
    assert check(queues=[], QUEUE_ALIASES={"emails": "shop-emails"}) == []


def test_aliases_of_the_setting_may_be_of_others(settings: Any) -> None:
    settings.CLOUDTASK = {**RIGHT, "QUEUE_ALIASES": {"emails": "shop-emails"}}

    assert check(queues=["default"]) == []


@pytest.mark.parametrize("bands", [{101: "a", 0: "b", -101: "c"}, {999: "a"}])
def test_bands_that_no_task_is_in_are_told(bands: dict[int, str]) -> None:
    beyond = ", ".join(str(band) for band in sorted(bands) if abs(band) > 100)
    [message] = check(PRIORITY_QUEUES=bands)

    assert told([message]) == [
        (
            "cloudtask.E015",
            "TASKS['default']['OPTIONS']['PRIORITY_QUEUES'] has priorities that no "
            f"Django task can have: {beyond}.",
        )
    ]
    assert message.hint == "They go from -100 to 100."


# The app


def test_an_app_that_is_not_installed_is_told(settings: Any) -> None:
    settings.INSTALLED_APPS = ["tests"]
    [message] = check()

    assert told([message]) == [
        (
            "cloudtask.W016",
            "'cloudtask' is not in INSTALLED_APPS: a process that has not loaded the "
            "module of a task cannot run it.",
        )
    ]
    assert message.level == checks.WARNING


def test_without_the_app_the_backend_checks_the_setting(settings: Any) -> None:
    settings.INSTALLED_APPS = ["tests"]
    settings.CLOUDTASK = {**RIGHT, "SAE": None, "SECRET": None, "SIGN": False}

    assert [message.id for message in check()] == ["cloudtask.E002", "cloudtask.W016"]


# Views


@pytest.mark.parametrize("path", ["_tasks/", "_reports/"])
def test_the_url_may_lead_to_a_view_of_its_own(settings: Any, path: str) -> None:
    settings.ROOT_URLCONF = "tests.backends.urls"

    assert check("reports", URL=f"https://shop.example/{path}") == []


def test_a_url_that_leads_elsewhere_is_told() -> None:
    [message] = check("reports", URL="https://shop.example/elsewhere/")

    assert told([message]) == [
        (
            "cloudtask.W009",
            "The path of TASKS['reports']['OPTIONS']['URL'], '/elsewhere/', leads "
            "elsewhere. The dispatch view is at '/_tasks/'.",
        )
    ]


@pytest.mark.parametrize("alias", ["default", "other"])
def test_a_url_that_leads_to_the_view_of_another_backend_is_told(
    settings: Any, alias: str
) -> None:
    settings.ROOT_URLCONF = "tests.backends.urls"

    assert check("reports", URL="https://shop.example/_reports/") == []
    assert "cloudtask.W009" in [
        message.id for message in check(alias, URL="https://shop.example/_reports/")
    ]


# The project's own checks


def all_messages() -> list[CheckMessage]:
    """What `check --deploy` says of this package."""
    backends = [message for each in find_backends() for message in each.check()]
    return [*check_cloudtask(), *check_deployment(), *backends]


def all_ids() -> list[str | None]:
    return [message.id for message in all_messages()]


def test_a_project_may_set_all_in_the_options_of_its_backends(settings: Any) -> None:
    settings.CLOUDTASK = {}
    settings.TASKS = {"default": {"BACKEND": BACKEND, "OPTIONS": RIGHT}}

    assert all_ids() == []


def test_what_a_backend_without_options_lacks_is_told_once(settings: Any) -> None:
    settings.CLOUDTASK = {"SIGN": False}
    settings.TASKS = {
        "default": {"BACKEND": BACKEND},
        "other": {"BACKEND": BACKEND, "OPTIONS": RIGHT},
    }

    assert all_ids().count("cloudtask.E002") == 1


def test_what_is_fine_on_a_desk_is_told_of_each_backend(settings: Any) -> None:
    settings.CLOUDTASK = RIGHT
    own = {**RIGHT, "SAE": None, "ON_COMMIT": False}
    settings.TASKS = {
        "default": {"BACKEND": BACKEND},
        "other": {"BACKEND": BACKEND, "OPTIONS": own},
    }

    [message] = [m for m in all_messages() if m.id == "cloudtask.W010"]
    assert message.msg.startswith("TASKS['other']['OPTIONS']['ON_COMMIT'] is off: ")


def test_wrong_options_are_told_once_under_deploy(settings: Any) -> None:
    settings.TASKS = {"default": {"BACKEND": BACKEND, "OPTIONS": {"URL": 1}}}

    assert all_ids() == ["cloudtask.E001"]


def test_a_backend_that_cannot_be_made_is_djangos_to_tell(settings: Any) -> None:
    settings.TASKS = {
        "default": {"BACKEND": BACKEND},
        "gone": {"BACKEND": "tests.gone.Backend"},
    }

    assert [backend.alias for backend in find_backends()] == ["default"]
