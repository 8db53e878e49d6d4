import re
from collections.abc import Iterator
from importlib import resources
from typing import Any

import pytest

from cloudtask.emulator import Emulator
from cloudtask.emulator.api import rest
from cloudtask.emulator.changes import Changes
from cloudtask.emulator.clock import Clock
from cloudtask.emulator.identity.tokens import DEFAULT_ISSUER
from cloudtask.emulator.pace.travel import Travel
from cloudtask.emulator.scheduler.service import SchedulerService
from cloudtask.emulator.tasks.sending.journal import Journal
from cloudtask.emulator.tasks.service import TasksService
from cloudtask.emulator.web import answers
from cloudtask.emulator.web.application import make_application
from cloudtask.emulator.web.guard import is_loopback

from .calls import call, get


def routes() -> list[tuple[str, str]]:
    """Return every route there is, with something for its variables."""
    anything: Any = None
    changes, clock = Changes(), Clock()
    travel = Travel(clock)
    tasks = TasksService(
        *(anything, anything, anything, anything),
        journal=Journal(changes),
        clock=clock,
        travel=travel,
        faults=anything,
        declare=anything,
    )
    jobs = SchedulerService(
        *(anything, anything, anything, anything),
        attempts=anything,
        changes=changes,
        clock=clock,
        travel=travel,
    )

    def add_routes(app: Any) -> None:
        tasks.add_routes(app)
        jobs.add_routes(app)
        rest.add_routes(app, [tasks.rest, jobs.rest])

    app = make_application(
        issuer=anything,
        watch=changes.watch,
        allowed_hosts=(),
        add_routes=add_routes,
    )
    found = {
        (route.method, re.sub(r"{.+?}", "1", route.resource.canonical))
        for route in app.router.routes()
        if route.resource is not None
    }
    return sorted(("PUT" if method == "*" else method, path) for method, path in found)


ROUTES = routes()

FOREIGN: dict[str, dict[str, str]] = {
    "DNS rebinding": {"Host": "evil.example"},
    "private address": {"Host": "10.0.0.1"},
    "public address": {"Host": "8.8.8.8"},
    "name that ends in a foreign one": {"Host": "localhost.evil.example"},
    "no host": {"Host": ""},
    "malformed host": {"Host": "localhost:port"},
    "foreign origin": {"Origin": "https://evil.example"},
    "another port": {"Origin": "http://localhost:8000"},
    "another scheme": {"Host": "localhost:9", "Origin": "https://localhost:9"},
    "another name of this machine": {
        "Host": "localhost:9",
        "Origin": "http://127.0.0.1:9",
    },
    "rebound origin": {"Host": "evil.example", "Origin": "http://evil.example"},
    "sandboxed frame": {"Origin": "null"},
    "empty origin": {"Origin": ""},
    "cross-site": {"Sec_Fetch_Site": "cross-site"},
    "same-site, another port": {"Sec_Fetch_Site": "same-site"},
    "site of the future": {"Sec_Fetch_Site": "elsewhere"},
    "framed": {
        "Sec_Fetch_Site": "cross-site",
        "Sec_Fetch_Mode": "navigate",
        "Sec_Fetch_Dest": "iframe",
    },
    "loaded as a script": {
        "Sec_Fetch_Site": "cross-site",
        "Sec_Fetch_Mode": "no-cors",
        "Sec_Fetch_Dest": "script",
    },
}

OWN: dict[str, dict[str, str]] = {
    "no browser": {},
    "localhost": {"Host": "localhost:9"},
    "under localhost": {"Host": "emulator.localhost"},
    "IPv6": {"Host": "[::1]:9"},
    "allowed name": {"Host": "Tasks:9"},
    "its own page": {
        "Host": "localhost:9",
        "Origin": "http://localhost:9",
        "Sec_Fetch_Site": "same-origin",
    },
    "its own page, in capitals": {
        "Host": "LocalHost:9",
        "Origin": "http://localhost:9",
    },
    "address bar": {
        "Sec_Fetch_Site": "none",
        "Sec_Fetch_Mode": "navigate",
        "Sec_Fetch_Dest": "document",
    },
}

OPENED_BY_A_LINK = {
    "Sec_Fetch_Site": "cross-site",
    "Sec_Fetch_Mode": "navigate",
    "Sec_Fetch_Dest": "document",
}


@pytest.fixture(scope="module")
def guarded() -> Iterator[Emulator]:
    with Emulator(allowed_hosts=("TASKS",)) as emulator:
        yield emulator


@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN)
def test_foreign_requests_are_refused_everywhere(
    guarded: Emulator, headers: dict[str, str]
) -> None:
    for method, path in ROUTES:
        answer = call(guarded, method, path, **headers)

        assert answer.status == 403, (method, path)
        if method != "HEAD":
            assert answer.json["error"]["status"] == "PERMISSION_DENIED"


@pytest.mark.parametrize("headers", OWN.values(), ids=OWN)
def test_own_requests_are_let_in_everywhere(
    guarded: Emulator, headers: dict[str, str]
) -> None:
    for method, path in ROUTES:
        assert call(guarded, method, path, **headers).status != 403, (method, path)


def test_links_may_lead_to_the_page_but_to_nothing_else(guarded: Emulator) -> None:
    allowed = {
        (method, path)
        for method, path in ROUTES
        if call(guarded, method, path, **OPENED_BY_A_LINK).status != 403
    }

    assert allowed == {("GET", "/")}


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"Host": "evil.example"}, ["'evil.example'", "--allowed-host"]),
        ({"Origin": "https://evil.example"}, ["'https://evil.example'", "own page"]),
        ({"Sec_Fetch_Site": "cross-site"}, ["other sites or ports", "own page"]),
    ],
    ids=["host", "origin", "site"],
)
def test_a_refusal_says_why(
    guarded: Emulator, headers: dict[str, str], words: list[str]
) -> None:
    error = get(guarded, "/emulator/queues", **headers).error

    assert all(word in error for word in words)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("a.localhost", True),
        ("0.0.0.0", False),  # noqa: S104
        ("example.com", False),
    ],
)
def test_loopback_is_a_name_or_an_address(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_discovery_leads_to_the_keys(guarded: Emulator) -> None:
    answer = get(guarded, "/.well-known/openid-configuration")

    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "public, max-age=3600"
    assert answer.json["issuer"] == DEFAULT_ISSUER
    assert answer.json["jwks_uri"] == f"{guarded.http_url}/jwks"
    assert answer.json["id_token_signing_alg_values_supported"] == ["RS256"]


@pytest.mark.parametrize("path", ["/jwks", "/certs"])
def test_keys_are_published_and_may_be_cached(guarded: Emulator, path: str) -> None:
    answer = get(guarded, path)

    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("application/json")
    assert answer.headers["Cache-Control"] == "public, max-age=3600"
    assert answer.json


def test_health_can_be_asked_for(guarded: Emulator) -> None:
    answer = get(guarded, "/healthz")

    assert (answer.status, answer.body) == (200, b"ok\n")


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/static/emulator.css", "text/css; charset=utf-8"),
        ("/static/emulator.js", "text/javascript; charset=utf-8"),
        ("/static/icon.svg", "image/svg+xml; charset=utf-8"),
    ],
)
def test_the_page_is_served_and_revalidated(
    guarded: Emulator, path: str, content_type: str
) -> None:
    first = get(guarded, path)
    again = get(guarded, path, If_None_Match=first.headers["ETag"])
    changed = get(guarded, path, If_None_Match='"old"')

    assert (first.status, first.headers["Content-Type"]) == (200, content_type)
    assert first.headers["Cache-Control"] == "no-cache"
    assert (again.status, again.body) == (304, b"")
    assert (changed.status, changed.body) == (200, first.body)


@pytest.mark.parametrize(
    "path",
    [
        *("/static/", "/static/nothing.js", "/static/index.html"),
        *("/static/../page.py", "/static/%2e%2e/page.py", "/static/..%2fpage.py"),
        *("/index.html", "/emulator", "/emulator/", "/nothing"),
    ],
)
def test_nothing_else_is_served(guarded: Emulator, path: str) -> None:
    answer = get(guarded, path)

    assert answer.status == 404
    assert answer.error


def test_every_file_of_the_page_is_served(guarded: Emulator) -> None:
    folder = resources.files("cloudtask.emulator.web").joinpath("static")
    for file in folder.iterdir():
        path = "/" if file.name == "index.html" else f"/static/{file.name}"

        assert get(guarded, path).body == file.read_bytes()


@pytest.mark.parametrize(
    "path", ["/", "/static/emulator.js", "/emulator/queues", "/certs", "/nothing"]
)
def test_every_answer_is_of_no_use_to_other_sites(guarded: Emulator, path: str) -> None:
    headers = get(guarded, path).headers

    for name, value in answers.HEADERS.items():
        assert headers[name] == value


def test_the_policy_allows_nothing_but_the_page_itself() -> None:
    policy = dict(
        directive.strip().split(" ", 1)
        for directive in answers.HEADERS["Content-Security-Policy"].split(";")
    )

    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "connect-src": "'self'",
        "img-src": "'self' data:",
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
