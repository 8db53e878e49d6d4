"""What keeps a dispatch from the view is told by `manage.py check`."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.conf.urls.i18n import i18n_patterns
from django.core import mail
from django.core.cache import cache
from django.core.checks import CheckMessage
from django.core.signals import got_request_exception
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import URLPattern, include, path
from django.urls.resolvers import RoutePattern

from cloudtask.checks import check_cloudtask
from cloudtask.views import dispatch
from tests.security.sending import payload

OURS = "tests.field.middlewares"
SESSIONS = "django.contrib.sessions.middleware.SessionMiddleware"
USERS = "django.contrib.auth.middleware.AuthenticationMiddleware"
LOGIN = "django.contrib.auth.middleware.LoginRequiredMiddleware"
LOCALE = "django.middleware.locale.LocaleMiddleware"
COMMON = "django.middleware.common.CommonMiddleware"
SECURITY = "django.middleware.security.SecurityMiddleware"
HOST = "shop.example"


def urlconf(*patterns: Any) -> ModuleType:
    module = ModuleType("urlconf")
    module.urlpatterns = list(patterns)  # type: ignore[attr-defined]
    return module


TRANSLATED = urlconf(*i18n_patterns(path("_tasks/", include("cloudtask.urls"))))
#: Settings, and where the dispatch view is.
LANGUAGES: dict[str, Any] = {
    "ROOT_URLCONF": TRANSLATED,
    "LANGUAGES": [("en", "English"), ("de", "German")],
    "LANGUAGE_CODE": "en",
    "USE_I18N": True,
}

Check = Callable[..., list[CheckMessage]]


@pytest.fixture
def check(settings: Any) -> Check:
    """What is told of a site whose URL has this path."""

    def run(path: str = "/_tasks/", **others: Any) -> list[CheckMessage]:
        names = others.pop("MIDDLEWARE", [])
        url = f"https://{HOST}{path}"
        settings.CLOUDTASK = {**settings.CLOUDTASK, "URL": url}
        settings.MIDDLEWARE = [n if "." in n else f"{OURS}.{n}" for n in names]
        for name, value in others.items():
            setattr(settings, name, value)
        return check_cloudtask()

    return run


def post(path: str = "/_tasks/", mount: str = "", agent: str = "") -> int:
    """Dispatch a task, as Cloud Tasks does behind a proxy that ends TLS."""
    response = Client(raise_request_exception=False).post(
        path,
        payload(),
        content_type="application/json",
        headers={
            "Host": HOST,
            "User-Agent": agent or "Google-Cloud-Tasks",
            "X-Forwarded-Proto": "https",
            "X-Task-Secret": django_settings.CLOUDTASK["SECRET"],
        },
        SCRIPT_NAME=mount,
    )
    return response.status_code


@pytest.mark.parametrize(
    ("path", "mount", "others"),
    [
        # Django's views say by themselves who may call them.
        ("/_tasks/", "", {"MIDDLEWARE": [SESSIONS, USERS, LOGIN]}),
        ("/_tasks/", "", {"MIDDLEWARE": ["need_https", SECURITY, COMMON]}),
        ("/_tasks/", "", {"ALLOWED_HOSTS": [".example"], "MIDDLEWARE": [COMMON]}),
        ("/_tasks/", "", {"ALLOWED_HOSTS": ["other.example"]}),  # Nobody looks.
        ("/_tasks/", "", {"MIDDLEWARE": ["count", "need_wsgi"]}),
        ("/_tasks/?pass=1", "", {"MIDDLEWARE": ["need_query"]}),
        # Languages.
        ("/en/_tasks/", "", {**LANGUAGES, "MIDDLEWARE": [LOCALE]}),
        ("/de/_tasks/", "", {**LANGUAGES, "MIDDLEWARE": [LOCALE, COMMON]}),
        ("/en/_tasks/", "", LANGUAGES),
        # A server may mount the site anywhere.
        ("/app/_tasks/", "/app", {"MIDDLEWARE": [COMMON]}),
        ("/a/b/de/_tasks/", "/a/b", {**LANGUAGES, "MIDDLEWARE": [LOCALE]}),
        ("/app/_tasks/", "/app", {"FORCE_SCRIPT_NAME": "/app"}),
        # Routed without include().
        ("/run/", "", {"ROOT_URLCONF": urlconf(path("run/", dispatch))}),
    ],
)
def test_a_url_that_works_makes_no_warning(
    check: Check, path: str, mount: str, others: dict[str, Any]
) -> None:
    assert check(path, **others) == []
    assert post(path.removeprefix(mount), mount) == 200


@pytest.mark.parametrize("name", ["need_asgi", "need_database"])
def test_what_cannot_be_tried_makes_no_warning(check: Check, name: str) -> None:
    assert check(MIDDLEWARE=["count", name, SECURITY]) == []


@pytest.mark.parametrize(
    ("status", "words", "hint", "others"),
    [
        (
            301,
            f"{COMMON} redirects it to 'http",
            f"Name the host 'www.{HOST}' in URL, or turn PREPEND_WWW off.",
            {"MIDDLEWARE": [SECURITY, COMMON], "PREPEND_WWW": True},
        ),
        (
            400,
            f"{COMMON} answers it with 400",
            f"Add '{HOST}' to ALLOWED_HOSTS.",
            {"MIDDLEWARE": [SECURITY, COMMON], "ALLOWED_HOSTS": ["other.example"]},
        ),
        (
            400,
            f"{COMMON} answers it with 400",
            f"Add '{HOST}' to ALLOWED_HOSTS.",
            {"MIDDLEWARE": [COMMON], "ALLOWED_HOSTS": [], "DEBUG": True},
        ),
        (
            403,
            f"{COMMON} answers it with 403",
            "Let 'Google-Cloud-Tasks' pass DISALLOWED_USER_AGENTS.",
            {
                "MIDDLEWARE": [SECURITY, COMMON],
                "DISALLOWED_USER_AGENTS": [re.compile("^Google")],
            },
        ),
        *[
            (
                status,
                f"{OURS}.{name} {deed}",
                "Have the path '/_tasks/' exempt from it. The dispatch view "
                "authenticates its callers itself.",
                {"MIDDLEWARE": names, "DEBUG": debug},
            )
            for status, name, deed, names in [
                (302, "login", "redirects it to '/login/'", [COMMON, "login", LOGIN]),
                (302, "alogin", "redirects it to '/login/'", ["alogin", COMMON]),
                (503, "maintenance", "answers it with 503", [COMMON, "maintenance"]),
                (404, "hide", "answers it with 404", ["count", "hide"]),
                (403, "deny", "answers it with 403", ["deny", "count"]),
                (500, "explode", "raises KeyError", [COMMON, "explode", "count"]),
                (500, "explode", "raises KeyError", ["need_asgi", "explode"]),
                (500, "explode", "raises KeyError", ["explode", "need_wsgi"]),
            ]
            for debug in (False, True)
        ],
    ],
)
def test_what_answers_in_place_of_the_view_is_told(
    check: Check, status: int, words: str, hint: str, others: dict[str, Any]
) -> None:
    (message,) = check(**others)

    assert message.id == "cloudtask.W018"
    assert message.msg.startswith(
        f"A dispatch to {HOST}/_tasks/, as CLOUDTASK['URL'] has it, does not reach "
        f"the dispatch view: {words}"
    )
    assert message.msg.endswith(". Cloud Tasks takes it for a failure.")
    if "raises" in words:
        hint = "Correct what raises it, or have the path '/_tasks/' exempt from it."
    assert message.hint == hint
    assert "a secret" not in str(message)
    if "need_asgi" not in others["MIDDLEWARE"]:
        assert post() == status


def test_an_address_is_named_as_allowed_hosts_has_it(settings: Any) -> None:
    settings.CLOUDTASK = {**settings.CLOUDTASK, "URL": "https://[2001:db8::1]/_tasks/"}
    settings.MIDDLEWARE = [COMMON]
    settings.ALLOWED_HOSTS = [HOST]
    (message,) = check_cloudtask()
    assert message.hint == "Add '[2001:db8::1]' to ALLOWED_HOSTS."

    settings.ALLOWED_HOSTS = ["[2001:db8::1]"]
    assert check_cloudtask() == []


def test_an_answer_that_is_replaced_is_told(check: Check) -> None:
    # Cloud Tasks would take each failure for an end.
    (message,) = check(MIDDLEWARE=["answer_all_with_200"])

    assert f"{OURS}.answer_all_with_200 answers it with 200" in message.msg


@pytest.mark.parametrize("propagates", [False, True])
@pytest.mark.parametrize(
    ("name", "error"),
    [("unmade", "ImproperlyConfigured"), ("missing", "ImportError")],
)
def test_middleware_that_cannot_be_made_is_told(
    check: Check, name: str, error: str, propagates: bool
) -> None:
    names = [COMMON, name, "count"]
    (message,) = check(MIDDLEWARE=names, DEBUG_PROPAGATE_EXCEPTIONS=propagates)

    assert f"{OURS}.{name} raises {error}" in message.msg


def test_a_urlconf_that_breaks_is_told(check: Check) -> None:
    class Broken(RoutePattern):
        def match(self, path: str) -> Any:
            raise KeyError(path)

    broken = URLPattern(Broken("x/"), dispatch)
    routes = urlconf(broken, path("_tasks/", include("cloudtask.urls")))
    (message,) = check(MIDDLEWARE=[COMMON], ROOT_URLCONF=routes)

    assert "the dispatch view: Django's handler raises KeyError" in message.msg


@pytest.mark.parametrize(
    ("path", "others"),
    [
        ("/de/_tasks/", LANGUAGES),  # Nothing looks at the language.
        ("/fr/_tasks/", {**LANGUAGES, "MIDDLEWARE": [LOCALE]}),
        ("/_tasks/more/", {"MIDDLEWARE": [COMMON]}),
        ("/_tasks/more/", {"MIDDLEWARE": [COMMON], "DEBUG": True}),
    ],
)
def test_a_path_that_leads_elsewhere_is_told(
    check: Check, path: str, others: dict[str, Any]
) -> None:
    (message,) = check(path, **others)

    assert message.id == "cloudtask.W009"
    assert post(path) == 404


def test_a_wrong_path_behind_an_obstacle_is_told_too(check: Check) -> None:
    found = check("/_tasks", MIDDLEWARE=["login"])

    assert [message.id for message in found] == ["cloudtask.W018", "cloudtask.W009"]
    assert "is redirected (APPEND_SLASH)" in found[1].msg


def test_a_service_whose_host_is_detected_is_tried_too(
    check: Check, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("K_SERVICE", "shop")
    settings.CLOUDTASK = {**settings.CLOUDTASK, "URL": None}
    for hosts, shown in ((["*", ".shop.example"], HOST), (["*"], "localhost")):
        settings.ALLOWED_HOSTS = hosts
        settings.MIDDLEWARE = [f"{OURS}.login"]
        (message,) = check_cloudtask()
        assert f"A dispatch to {shown}/_tasks/" in message.msg
    settings.MIDDLEWARE = []
    assert check_cloudtask() == []


def test_a_trial_leaves_nothing_behind(
    check: Check, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    told, posted = [], []

    def other(request: HttpRequest) -> HttpResponse:
        posted.append(request)
        return HttpResponse()

    def tell(**kwargs: Any) -> None:
        told.append(kwargs)

    cache.clear()
    caplog.set_level(logging.DEBUG)
    settings.ADMINS = ["admin@shop.example"]
    got_request_exception.connect(tell)
    try:
        names = ["count", "explode", COMMON]
        assert [m.id for m in check(MIDDLEWARE=names)] == ["cloudtask.W018"]
        settings.ROOT_URLCONF = urlconf(path("_tasks/", other))
        settings.MIDDLEWARE = []
        assert [m.id for m in check_cloudtask()] == ["cloudtask.W008"]
    finally:
        got_request_exception.disconnect(tell)

    # Event loops of other threads may log as well.
    logged = [r for r in caplog.records if r.name.startswith(("cloudtask", "django"))]
    assert (told, posted, mail.outbox, logged) == ([], [], [], [])
    assert cache.get("count") is None
    assert logging.root.manager.disable == logging.NOTSET
