"""The documentation: its code runs, its links lead somewhere."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web
from django.conf import settings
from django.core.management import get_commands
from django.http import HttpResponse
from django.test import Client, override_settings
from django.urls import clear_url_caches
from django.urls import path as route
from django.utils.module_loading import import_string

import cloudtask
from cloudtask import checks, exceptions
from cloudtask.actions import find_actions
from cloudtask.conf import Settings, get_settings
from cloudtask.conf.table import get_all_rows
from cloudtask.emulator import Emulator
from cloudtask.emulator.arguments.option import PREFIX
from cloudtask.emulator.arguments.table import OPTIONS
from cloudtask.emulator.scheduler.admin import routes as job_routes
from cloudtask.emulator.tasks.admin.routes import add_routes
from cloudtask.emulator.tasks.faults import API_KINDS, DISPATCH_KINDS
from cloudtask.emulator.tasks.model.queues import QueueOptions
from cloudtask.enqueue import registry
from cloudtask.enqueue.options import TaskOptions
from cloudtask.management.commands.cloudtask import Command
from cloudtask.results import checks as results_checks
from cloudtask.results import heartbeat, leases, sweeping
from cloudtask.results.admin import actions, changelist
from cloudtask.results.columns import texts, values
from cloudtask.results.models import TaskRecord
from cloudtask.results.settings import ResultsSettings
from cloudtask.results.sweeping import recovery, traffic
from cloudtask.schedules import checks as schedules_checks
from cloudtask.schedules.settings import SchedulesSettings
from cloudtask.stores import StoredResult
from cloudtask.transports import get_transport
from cloudtask.transports.memory import MemoryTransport
from cloudtask.wire.headers import SECRET_HEADER
from cloudtask.wire.retry import RetryPolicy
from tests.docs.pages import HAS_TASKS, PAGES, ROOT, Runner, blocks

DOCS = ROOT / "docs"
EMULATOR_FILES = [
    path for path in (ROOT / "examples/emulator").iterdir() if path.is_file()
]

SECRET = "a secret of more than 24 bytes"

#: The flags of each gcloud command here, as in Google's reference of gcloud.
GCLOUD = {
    "gcloud services enable": {"--project"},
    "gcloud tasks queues create": {
        *("--project", "--location", "--max-attempts", "--min-backoff"),
        *("--max-backoff", "--max-doublings", "--max-retry-duration"),
        *("--max-concurrent-dispatches", "--max-dispatches-per-second"),
    },
    "gcloud tasks queues add-iam-policy-binding": {
        *("--project", "--location", "--member", "--role"),
    },
    "gcloud tasks queues describe": {"--project", "--location"},
    "gcloud tasks create-http-task": {"--project", "--location", "--queue", "--url"},
    "gcloud tasks queues update": {
        *("--project", "--location", "--clear-http-uri-override"),
        *("--clear-http-header-override", "--clear-http-oidc-token-audience-override"),
        "--clear-http-oidc-service-account-email-override",
    },
    "gcloud tasks list": {"--project", "--location", "--queue", "--format"},
    "gcloud scheduler jobs create http": {
        *("--project", "--location", "--schedule", "--time-zone", "--uri"),
        *("--http-method", "--oidc-service-account-email", "--oidc-token-audience"),
        "--oauth-service-account-email",
    },
    "gcloud iam service-accounts create": {"--project"},
    "gcloud iam service-accounts add-iam-policy-binding": {
        *("--project", "--member", "--role"),
    },
    "gcloud run deploy": {
        *("--project", "--region", "--source", "--service-account", "--timeout"),
        *("--allow-unauthenticated", "--no-allow-unauthenticated"),
    },
    "gcloud run jobs deploy": {
        *("--project", "--region", "--image", "--service-account"),
        *("--command", "--args"),
    },
    "gcloud run jobs add-iam-policy-binding": {
        *("--project", "--region", "--member", "--role"),
    },
    "gcloud run services add-iam-policy-binding": {
        *("--project", "--region", "--member", "--role"),
    },
    "gcloud run services update": {
        *("--project", "--region", "--add-custom-audiences"),
    },
}

with_python = pytest.mark.parametrize(
    "page",
    [page for page in PAGES if any(b.language == "python" for b in blocks(page))],
    ids=lambda page: page.stem,
)
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def page(name: str) -> str:
    return (DOCS / name).read_text()


def first_cells(text: str) -> set[str]:
    """What stands in code in the first cell of each row of each table."""
    rows = re.findall(r"^\| (`[^|]*) \|", text, re.MULTILINE)
    return {code for row in rows for code in re.findall(r"`(\w+)", row)}


def shell_lines(*pages: Path) -> list[str]:
    return [
        line
        for page in pages
        for block in blocks(page)
        if block.language == "sh"
        for line in block.text.splitlines()
    ]


@contextmanager
def after(page: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The project as a page's code leaves it."""
    monkeypatch.setattr(registry, "_definitions", dict(registry._definitions))
    monkeypatch.setattr(registry, "_conflicts", {})
    with Runner(monkeypatch) as runner:
        for block in blocks(page):
            if block.language != "python" or not block.is_understood:
                continue
            if block.needs_tasks and not HAS_TASKS:
                pytest.skip("from here on it needs Django's tasks")
            runner.run(block)
        yield


with_databases = pytest.mark.django_db(transaction=True, databases=["default", "other"])


@with_python
@with_databases
def test_the_code_on_a_page_runs(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with after(page, monkeypatch):
        assert not registry._conflicts


@with_databases
def test_former_tasks_are_enqueued_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    body = b64encode(b'{"path": "shop.tasks.add", "data": {"a": 1, "b": 2}}')

    with after(DOCS / "migrating.md", monkeypatch), with_secret() as queue:
        refused = post("/_tasks/", body)
        answer = post("/_tasks/", body, secret=SECRET)

        assert (refused.status_code, answer.status_code) == (403, 204)
        assert [task.payload.kwargs for task in queue.tasks] == [{"a": 1, "b": 2}]
        assert [outcome.value for outcome in queue.drain()] == [3]


@with_databases
def test_the_view_for_cron_enqueues_once_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    with after(DOCS / "migrating.md", monkeypatch), with_secret() as queue:
        sys.modules["page_urls"].urlpatterns.append(
            route("cron/nightly/", import_string("shop.cron.nightly"))
        )
        clear_url_caches()
        refused = post("/cron/nightly/", b"")
        answers = [post("/cron/nightly/", b"", secret=SECRET) for _ in range(2)]

        assert refused.status_code == 403
        assert [answer.status_code for answer in answers] == [204, 204]
        assert [task.payload.task for task in queue.tasks] == ["shop.cron.stock_report"]


@pytest.mark.parametrize(
    ("key", "secret", "status"),
    [
        ("a key that the gateway adds", SECRET, 400),
        ("a key that the gateway adds", "another", 403),
        ("another", SECRET, 403),
        ("", SECRET, 403),
    ],
)
def test_the_authenticator_of_the_page_on_security_asks_for_both(
    key: str, secret: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with after(DOCS / "security.md", monkeypatch), with_secret():
        answer = post("/_tasks/", b"no payload", secret=secret, gateway_key=key)

    assert answer.status_code == status


@contextmanager
def with_secret() -> Iterator[MemoryTransport]:
    with override_settings(CLOUDTASK={**settings.CLOUDTASK, "SECRET": SECRET}):
        transport = get_transport(get_settings())
        assert isinstance(transport, MemoryTransport)
        yield transport


def post(url: str, body: bytes, **credentials: str) -> HttpResponse:
    names = {"secret": SECRET_HEADER, "gateway_key": "X-Gateway-Key"}
    headers = {names[name]: value for name, value in credentials.items()}
    return Client().post(url, body, content_type="application/json", headers=headers)


#: The options of each package that one may come from.
PEERS = {
    "dj-cloud-task": {
        *("PROJECT", "LOCATION", "SAE", "URL", "QUEUE", "SECRET"),
        *("LOCAL_RQ", "LOCAL_RQ_URL", "TESTING"),
    },
    "django-tasks-gcp": {
        *("BACKEND", "QUEUES", "CREDENTIALS", "PROJECT_ID", "LOCATION"),
        *("DEFAULT_TARGET", "VIEW_AUTHN", "VIEW_AUTHN_PARAMS", "ENQUEUE_ON_COMMIT"),
    },
    "django-tasks-cloud-tasks": {
        *("BACKEND", "QUEUES", "CLOUD_TASKS_PROJECT", "CLOUD_TASKS_LOCATION"),
        *("TASK_HANDLER_HOST", "TASK_HANDLER_PATH"),
        *("OIDC_SERVICE_ACCOUNT_EMAIL", "OIDC_AUDIENCE"),
        *("GOOGLE_CLOUD_PROJECT", "SERVICE_URL", "CLOUD_TASKS_EMULATOR_HOST"),
    },
    "django-tasks-google": {
        *("BACKEND", "QUEUES", "project_id", "location", "base_url"),
        *("oidc_service_account", "oidc_audience", "execute_url", "schedule_url"),
        *("queue_aliases", "run_once", "command", "mode", "max_attempts"),
        *("max_workers", "poll_interval_seconds", "batch_size"),
        *("heartbeat_enabled", "heartbeat_interval_seconds"),
        *("heartbeat_timeout_seconds", "heartbeat_join_timeout_seconds"),
        *("max_history_entries", "cache_alias", "cache_prefix"),
        "cache_ttl_max_attempts",
    },
}


@pytest.mark.parametrize("package", PEERS)
def test_every_option_of_a_former_package_has_its_row(package: str) -> None:
    section = page("migrating.md").partition(f"## From {package}\n")[2]

    assert PEERS[package] <= first_cells(section.partition("\n## ")[0])


@pytest.mark.parametrize(
    ("key", "ours"),
    sorted((peer, key) for key, row in get_all_rows().items() for peer in row.peers),
)
def test_settings_have_the_same_equals_on_the_page_as_in_the_hints(
    key: str, ours: str
) -> None:
    rows = re.findall(
        rf"^\| [^|]*`{key}`[^|]* \| (.+) \|$", page("migrating.md"), re.M | re.I
    )

    assert rows
    assert any(f"`{ours}`" in row for row in rows)


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file), target


def anchors(file: Path) -> set[str]:
    """What GitHub calls the headings of a page in its links."""
    headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-")
        for heading in headings
    }


def test_the_readme_begins_with_the_two_commands() -> None:
    first, second = [b.text for b in blocks(ROOT / "README.md") if b.language == "sh"][
        :2
    ]

    assert first == (
        "python3 -m venv .venv && .venv/bin/pip install --quiet '.[emulator]' "
        "&& .venv/bin/python examples/bookshop/demo.py\n"
    )
    assert second == (
        "python3 -m venv .venv && .venv/bin/pip install --quiet tox && .venv/bin/tox\n"
    )
    assert (ROOT / "examples/bookshop/demo.py").is_file()
    assert (ROOT / "tox.ini").is_file()


def test_the_commands_on_the_pages_exist() -> None:
    commands = shell_lines(*PAGES)

    for line in commands:
        for script in re.findall(r"python (examples/\S+)", line):
            assert (ROOT / script).is_file(), line
        for command in re.findall(r"^python manage\.py (\w+)", line):
            assert command in get_commands(), line
        for module in re.findall(r"python -m (cloudtask\S*)", line):
            assert (ROOT / module.replace(".", "/") / "__main__.py").is_file(), line
    assert any("manage.py cloudtask emulator" in line for line in commands)
    assert any("-m cloudtask.emulator" in line for line in commands)


def own_commands() -> list[list[str]]:
    """The arguments of each `manage.py cloudtask` on the pages."""
    start = "python manage.py cloudtask "
    lines = [line for line in shell_lines(*PAGES) if line.startswith(start)]
    return [shlex.split(line.removeprefix(start)) for line in lines]


def test_own_commands_are_called_with_options_that_they_have() -> None:
    parser = Command().create_parser("manage.py", "cloudtask")
    called = own_commands()

    for arguments in called:
        assert parser.parse_args(arguments).action == arguments[0]
    assert {arguments[0] for arguments in called} == {
        *("emulator", "sweep", "cancel", "redrive", "prune", "schedules")
    }


@pytest.mark.parametrize("action", ["sweep", "cancel", "redrive", "prune"])
def test_every_option_of_a_command_is_listed(action: str) -> None:
    table = page("results.md").partition(f"| `{action}` | default |")[2]
    listed = re.findall(r"^\| `(--[a-z-]+)` \|", table.partition("\n\n")[0], re.M)

    [found] = (each for each in find_actions() if each.name == action)
    parser = argparse.ArgumentParser()
    found.add_arguments(parser)
    flags = {flag for each in parser._actions for flag in each.option_strings}
    assert set(listed) == flags - {"-h", "--help"}


def test_every_attribute_of_a_result_is_listed() -> None:
    names = {name for name in dir(StoredResult) if name[0] != "_"}

    assert names <= first_cells(page("results.md"))


def test_every_permission_of_the_admin_is_listed() -> None:
    text = page("results.md")

    own = [codename for codename, _ in TaskRecord._meta.permissions]
    assert own
    for codename in own:
        assert f"| `{codename}` |" in text


LIMITS = {
    "| a lease holds | {:.0f} seconds |": leases.LEASE.total_seconds(),
    "| it is prolonged every | {:.1f} seconds |": heartbeat.get_interval(),
    "| workers that may die with one task | {} |": leases.MAX_INTERRUPTIONS,
    "| return value, as JSON | {:,} characters |": values.MAX_VALUE,
    "its traceback | {:,} characters each": texts.MAX_TEXT,
    "up to {} tasks with each of its": traffic.PRUNED,
    "whose errors are kept | the first {}, and the last;": ResultsSettings().max_errors,
    "sends it again, {:.0f} minutes after": recovery.GRACE.total_seconds() / 60,
    "none for a minute, over {} tasks": traffic.LIMIT,
    "| `--limit` | {} |": sweeping.LIMIT,
    "it counts to {:,} and no further": changelist.MAX_COUNT,
    "An action takes up to {:,} tasks": actions.MAX_ACTION,
    '"Retry now" up to {}, and': actions.MAX_SENT,
}


@pytest.mark.parametrize("text", LIMITS)
def test_the_limits_on_the_page_on_results_are_right(text: str) -> None:
    assert text.format(LIMITS[text]) in " ".join(page("results.md").split())


def test_the_emulator_is_called_with_options_that_it_has() -> None:
    flags = {option.flag for option in OPTIONS.values()}
    commands = [
        line
        for path in (*PAGES, *EMULATOR_FILES)
        for line in path.read_text().splitlines()
        if re.search(r"(-m cloudtask\.|manage\.py cloudtask )emulator", line)
    ]
    assert len(commands) > 4

    for line in commands:
        assert set(re.findall(r" (--[a-z-]+)", line)) <= flags, line


def test_the_variables_of_the_emulator_exist() -> None:
    known = {option.variable for option in OPTIONS.values()}

    for path in (*PAGES, *EMULATOR_FILES):
        named = set(re.findall(rf"{PREFIX}[A-Z_]*[A-Z]", path.read_text()))
        assert named <= known, path


def test_every_option_of_the_emulator_is_listed() -> None:
    listed = re.findall(r"^\| (`--[^|]*) \|", page("emulator.md"), re.MULTILINE)

    flags = {flag for cell in listed for flag in re.findall(r"--[a-z-]+", cell)}
    assert flags == {option.flag for option in OPTIONS.values()}


def test_every_option_of_a_queue_is_listed() -> None:
    text = page("emulator.md")

    for option in QueueOptions.__annotations__:
        assert f"`{option}`" in text, option


def test_every_kind_of_fault_is_listed() -> None:
    assert {*DISPATCH_KINDS, *API_KINDS} <= first_cells(page("emulator.md"))


def test_every_fact_about_the_service_has_its_evidence() -> None:
    fidelity = page("emulator.md").partition("### Names")[2]
    words = ("recorded: ", "documented: ", "widely known", "unknown")

    columns = 0
    for line in fidelity.splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if "evidence" in cells:
            column = cells.index("evidence")
            columns += 1
        elif line.startswith("| "):
            assert cells[column].startswith(words), line
    assert columns == fidelity.count("|---|\n")


def test_every_route_of_the_emulator_is_listed() -> None:
    app = web.Application()
    add_routes(app, engine=None, instrument=None)
    job_routes.add_routes(app, instrument=None)
    routes = {
        re.sub(r"\{(\w+)\}", lambda match: match[1].upper(), path)
        for path in (each.resource.canonical for each in app.router.routes())
    }

    listed = re.findall(r"`[A-Z]+ (/[\w/]+)", page("emulator.md"))
    assert len(routes) > 5
    assert routes <= set(listed)


def test_what_an_emulator_offers_is_listed() -> None:
    offered = {name for name in dir(Emulator) if name[0] != "_"}

    text = page("emulator.md")
    # Not for a test to call, or only with another name beside it.
    offered -= {"start", "stop", "parent"}
    missing = [name for name in offered if not re.search(rf"\b{name}\b", text)]
    assert missing == []


def test_the_image_listens_where_it_says() -> None:
    text = (ROOT / "examples/emulator/Dockerfile").read_text()
    ports = re.search(r"^EXPOSE (\d+) (\d+)$", text, re.MULTILINE)

    assert ports is not None
    assert int(ports[1]) == OPTIONS["port"].default
    assert int(ports[2]) == OPTIONS["port"].default + 1
    assert f"'127.0.0.1', {ports[2]}" in text


def test_gcloud_is_called_with_flags_that_it_has() -> None:
    lines = [line for line in shell_lines(*PAGES) if line.startswith("gcloud")]
    assert len(lines) > 8

    for line in lines:
        command = max((c for c in GCLOUD if line.startswith(c)), key=len, default="")
        flags = set(re.findall(r"--[a-z-]+", line))
        assert flags <= GCLOUD.get(command, set()), line


def test_every_setting_has_its_paragraph() -> None:
    headings = re.findall(r"^### (\w+)$", page("settings.md"), re.MULTILINE)

    assert sorted(headings) == sorted(get_all_rows())


#: Settings without a default, or with one that depends on another.
WITHOUT_DEFAULT = {
    *("PROJECT", "LOCATION", "SAE", "URL", "QUEUE"),
    *("AUDIENCE", "EMULATOR_HTTP_HOST"),
}


@pytest.mark.parametrize("setting", sorted(get_all_rows().keys() - WITHOUT_DEFAULT))
def test_the_defaults_of_settings_are_right(setting: str) -> None:
    paragraph = page("settings.md").partition(f"### {setting}\n")[2].partition("#")[0]

    homes = (Settings(), ResultsSettings(), SchedulesSettings())
    [home] = (each for each in homes if hasattr(each, setting.lower()))
    default = getattr(home, setting.lower())

    assert f"Default {in_words(default)}" in " ".join(paragraph.split())


def in_words(default: object) -> str:
    match default:
        case timedelta():
            return f"{default.total_seconds():.0f} seconds"
        case str():
            return f'`"{default}"`'
        case ():
            return "`[]`"
        case _:
            return f"`{default}`"


#: Where system checks are.
CHECK_FILES = [
    *Path(checks.__file__).parent.glob("*.py"),
    Path(results_checks.__file__),
    Path(schedules_checks.__file__),
]


def test_every_system_check_is_listed() -> None:
    source = "".join(path.read_text() for path in CHECK_FILES)
    ids = re.findall(r'id="(cloudtask\.[EW]\d{3})"', source)
    listed = re.findall(r"^\| `(cloudtask\.\w+)` \|", page("settings.md"), re.M)

    assert sorted(listed) == sorted(set(ids))


def test_every_option_of_a_task_is_listed() -> None:
    options = {field.name for field in fields(TaskOptions)}

    assert options <= first_cells(page("tasks.md"))


def test_every_field_of_a_policy_is_listed() -> None:
    assert {f.name for f in fields(RetryPolicy)} <= first_cells(page("tasks.md"))


def test_every_attribute_of_the_request_is_listed() -> None:
    public = {name for name in dir(cloudtask.CloudTaskRequest) if name[0] != "_"}

    # is_last_attempt and remaining() say it better, and the store holds it.
    public -= {"last_attempt", "deadline", "set_hold"}
    assert public <= first_cells(page("tasks.md"))


def test_every_error_is_listed() -> None:
    errors = {
        name
        for name, value in vars(exceptions).items()
        if isinstance(value, type) and issubclass(value, exceptions.CloudTaskError)
    }

    assert errors <= first_cells(page("tasks.md"))


def test_every_public_name_is_mentioned() -> None:
    text = "".join(path.read_text() for path in PAGES)

    missing = [n for n in cloudtask.__all__ if not re.search(rf"`@?{n}\b", text)]
    assert missing == []


def test_every_page_is_linked_from_the_readme() -> None:
    linked = re.findall(r"\((docs/[^)]+)\)", (ROOT / "README.md").read_text())

    assert set(linked) == {f"docs/{path.name}" for path in DOCS.glob("*.md")}


def test_the_changelog_has_the_version() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.M)

    assert headings[0].startswith(f"[{cloudtask.__version__}] - ")
