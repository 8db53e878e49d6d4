"""Several backends beside each other, and one view for them."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from django.urls import reverse

from cloudtask.conf import environment
from cloudtask.framework import BaseTaskBackend, task_backends
from cloudtask.testing import memory_queue
from cloudtask.transports.memory import StoredTask
from tests import tasks as sdk
from tests.backends import tasks
from tests.backends.samples import (
    BACKEND,
    FIRST_SECRET,
    SECOND_SECRET,
    TASKS,
    THEIRS,
    changed,
    dispatch,
)
from tests.security.sending import (
    FORBIDDEN,
    Answer,
    Send,
    Unreadable,
    payload,
)
from tests.tasks import ran

FIRST = {"X-Task-Secret": FIRST_SECRET}
SECOND = {"X-Task-Secret": SECOND_SECRET}
THIRD = "a third secret, of the authenticator"
ODD = ["naïve/é", "a b", "100%", "%41", "?#&=", "日本", "x" * 200, "+"]


@pytest.fixture(autouse=True)
def _two_backends(settings: Any) -> None:
    """One is guarded by CLOUDTASK's secret, the other by its own."""
    settings.ROOT_URLCONF = "tests.backends.urls"
    settings.CLOUDTASK = {**settings.CLOUDTASK, "SECRET": FIRST_SECRET}
    settings.TASKS = {
        **TASKS,
        "reports": {"BACKEND": BACKEND, "OPTIONS": {"SECRET": SECOND_SECRET, **THEIRS}},
    }


def stored(alias: str) -> StoredTask:
    """A task as that backend sent it."""
    with memory_queue() as queue:
        tasks.add.using(backend=alias).enqueue(1, 2)
    return queue.tasks[-1]


def is_done(answer: Answer) -> bool:
    done = ran == [("add", 1, 2)]
    assert (answer.status == 200) is done
    return done


def refused(answer: Answer) -> bool:
    assert ran == []
    return answer == FORBIDDEN


def reasons(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


# Through one view


@pytest.mark.parametrize(
    ("alias", "credentials"), [("default", FIRST), ("reports", SECOND)]
)
def test_each_backend_has_its_own_credentials(
    send: Send, alias: str, credentials: dict[str, str]
) -> None:
    assert is_done(dispatch(send, stored(alias), **credentials))


@pytest.mark.parametrize(
    ("alias", "credentials"), [("default", SECOND), ("reports", FIRST)]
)
def test_the_credentials_of_the_other_are_refused(
    send: Send, alias: str, credentials: dict[str, str]
) -> None:
    sent = stored(alias)

    assert refused(dispatch(send, sent, **credentials))
    # Before the body is looked at.
    assert send({"X-Task-Backend": alias, **credentials}, Unreadable()) == FORBIDDEN


@pytest.mark.parametrize(
    ("payload_of", "header_of", "credentials"),
    [
        # Who has the one's credentials runs nothing of the other.
        ("default", "reports", SECOND),
        ("reports", "default", FIRST),
        ("default", "reports", FIRST),
        ("reports", "default", SECOND),
    ],
)
def test_a_payload_needs_the_credentials_of_the_backend_it_names(
    send: Send,
    caplog: pytest.LogCaptureFixture,
    payload_of: str,
    header_of: str,
    credentials: dict[str, str],
) -> None:
    sent = stored(payload_of)
    answer = dispatch(send, sent, **credentials, X_Task_Backend=header_of)

    assert refused(answer)
    [line] = reasons(caplog)
    if credentials == {"default": FIRST, "reports": SECOND}[header_of]:
        assert line == (
            "refused a dispatch: "
            + repr(
                f"the payload is for the backend '{payload_of}', its credentials were "
                f"for '{header_of}'"
            )
        )
    else:
        assert line == "refused a dispatch: 'the secret is another'"


@pytest.mark.parametrize("alias", ["default", "reports"])
def test_a_payload_of_a_backend_needs_the_header(send: Send, alias: str) -> None:
    assert refused(dispatch(send, stored(alias), without="X-Task-Backend", **FIRST))


def test_a_task_of_ours_needs_no_header_and_takes_none(send: Send) -> None:
    assert send(FIRST, payload(args=[1, 2])).status == 200
    assert ran.pop() == ("add", 1, 2)

    for alias, credentials in (("default", FIRST), ("reports", SECOND)):
        headers = {"X-Task-Backend": alias, **credentials}
        assert refused(send(headers, payload(args=[1, 2])))


@pytest.mark.parametrize("backend", [None, "default"])
@pytest.mark.parametrize("kind", ["cloudtask", "django", "schedule"])
def test_kind_and_backend_of_a_payload_must_fit(
    send: Send, caplog: pytest.LogCaptureFixture, kind: str, backend: str | None
) -> None:
    sent = stored("default")
    body = changed(sent, kind=kind, backend=backend, task="tests.tasks.fail")
    without = "" if backend else "X-Task-Backend"
    if (kind, backend) == ("cloudtask", None):
        body = changed(sent, kind=kind, backend=None, task="tests.tasks.add")
    answer = dispatch(send, sent, body=body, without=without, **FIRST)

    if (kind, backend) == ("cloudtask", None):
        assert is_done(answer)
        return
    assert (answer.status, answer.word) == (404, "unknown task")
    assert ran == []
    if (kind, backend) != ("django", "default"):
        problem = {"cloudtask": "have no backend", "django": "name a backend"}.get(
            kind, "are not run here"
        )
        assert reasons(caplog) == [
            f'refused a dispatch: "Payloads of kind {kind!r} {problem}."'
        ]


@pytest.mark.parametrize(
    ("alias", "reason"),
    [
        ("unknown", "no task backend 'unknown' here: InvalidTaskBackend"),
        ("immediate", "the task backend 'immediate' is another package's"),
        ("dummy", "the task backend 'dummy' is another package's"),
        ("_storage", "the task backend '_storage' is another package's"),
        ("__class__", "the task backend '__class__' is another package's"),
        ("gone", "no task backend 'gone' here: InvalidTaskBackend"),
        ("decoy", "the task backend 'decoy' is another package's"),
        ("failing", "the task backend 'failing' is another package's"),
        ("a\nb", r"no task backend 'a\\nb' here: InvalidTaskBackend"),
    ],
)
def test_an_alias_that_is_no_backend_of_ours_is_refused(
    send: Send,
    settings: Any,
    caplog: pytest.LogCaptureFixture,
    alias: str,
    reason: str,
) -> None:
    settings.TASKS = {
        **settings.TASKS,
        "gone": {"BACKEND": "tests.backends.nowhere.Backend"},
        "decoy": {"BACKEND": f"{__name__}.Decoy"},
        "failing": {"BACKEND": f"{__name__}.Failing"},
    }
    sent = stored("default")
    headers = {"X_Task_Backend": alias.replace("\n", "%0A")}

    assert refused(dispatch(send, sent, **FIRST, **headers))
    [line] = reasons(caplog)
    line = line.replace("InvalidTaskBackendError", "InvalidTaskBackend")
    assert line == f'refused a dispatch: "{reason}"'


class Decoy(BaseTaskBackend):
    """Another package's, which has settings too."""

    settings = None

    def enqueue(self, task: Any, args: Any, kwargs: Any) -> Any: ...


class Failing(Decoy):
    """Another package's, which cannot be used now."""

    @property
    def settings(self) -> Any:
        return 1 / 0


def test_wrong_options_close_the_view_for_their_backend(
    send: Send, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    sent = stored("reports")
    settings.TASKS = {
        **TASKS,
        "reports": {"BACKEND": BACKEND, "OPTIONS": {"SECRETS": "x"}},
    }

    assert refused(dispatch(send, sent, **SECOND))
    [line] = reasons(caplog)
    assert "TASKS['reports']['OPTIONS']['SECRETS']: is not a setting" in line
    assert send(FIRST, payload(args=[1, 2])).status == 200


@pytest.mark.parametrize("alias", ODD)
def test_an_alias_may_have_odd_characters(
    send: Send, settings: Any, alias: str
) -> None:
    settings.TASKS = {
        **TASKS,
        alias: {"BACKEND": BACKEND, "OPTIONS": {"SECRET": SECOND_SECRET, **THEIRS}},
    }
    sent = stored(alias)
    header = sent.sent.route.headers["X-Task-Backend"]
    assert header.isascii()
    assert header.isprintable()
    assert is_done(dispatch(send, sent, **SECOND))


@pytest.mark.parametrize("header", ["", "%", "%FF", "%zz", "\xe9", "x" * 60_000])
def test_a_header_that_is_no_alias_is_refused(send: Send, header: str) -> None:
    assert refused(dispatch(send, stored("default"), **FIRST, X_Task_Backend=header))


# Through a view of its own


def test_a_bound_view_runs_the_tasks_of_its_backend(send: Send) -> None:
    assert reverse("reports:dispatch") == "/_reports/"
    assert is_done(dispatch(send, stored("reports"), path="/_reports/", **SECOND))


@pytest.mark.parametrize("header", ["reports", "default", "unknown", ""])
def test_a_bound_view_asks_for_no_header(send: Send, header: str) -> None:
    sent = stored("reports")

    assert is_done(
        dispatch(send, sent, path="/_reports/", X_Task_Backend=header, **SECOND)
    )


def test_a_bound_view_runs_nothing_else(send: Send) -> None:
    sent = stored("default")
    for credentials in (FIRST, SECOND):
        for header in ("reports", "default"):
            assert refused(
                dispatch(
                    send,
                    sent,
                    path="/_reports/",
                    X_Task_Backend=header,
                    **credentials,
                )
            )
    for credentials in (FIRST, SECOND):
        assert refused(send(credentials, payload(args=[1, 2]), path="/_reports/"))


def test_a_bound_view_is_closed_where_its_backend_is_gone(
    send: Send, settings: Any
) -> None:
    sent = stored("reports")
    settings.TASKS = TASKS

    assert refused(dispatch(send, sent, path="/_reports/", **SECOND))


def test_on_cloud_run_each_backend_finds_its_own_view(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "find_origin", lambda: "https://shop.run.app")
    raw = {key: value for key, value in settings.CLOUDTASK.items() if key != "URL"}
    settings.CLOUDTASK = raw
    urls = {
        alias: task_backends[alias].settings.find_url()
        for alias in ("default", "reports")
    }

    assert urls == {
        "default": "https://shop.run.app/_tasks/",
        "reports": "https://shop.run.app/_reports/",
    }


# Who is let in


def test_a_backend_without_options_has_the_credentials_of_the_setting(
    send: Send, settings: Any
) -> None:
    settings.TASKS = {**TASKS, "reports": {"BACKEND": BACKEND}}

    assert is_done(dispatch(send, stored("reports"), **FIRST))


@pytest.mark.parametrize("raw", [{}, None])
def test_a_view_is_closed_where_nothing_says_who_may_come(
    send: Send, settings: Any, raw: Any
) -> None:
    sent = stored("default")
    settings.CLOUDTASK = raw
    for headers in ({}, {"X-Task-Secret": ""}, FIRST):
        assert refused(dispatch(send, sent, **headers))


def test_a_backend_may_be_guarded_by_a_class_of_the_project(
    send: Send, settings: Any
) -> None:
    settings.TASKS = {
        **TASKS,
        "reports": {
            "BACKEND": BACKEND,
            "OPTIONS": {
                "AUTH": "tests.backends.authenticators.ByHeader",
                "AUTH_PARAMS": {"name": "X-Gate"},
                **THEIRS,
            },
        },
    }
    sent = stored("reports")

    assert refused(dispatch(send, sent, **FIRST))
    assert refused(dispatch(send, stored("default"), X_Gate="open"))
    assert is_done(dispatch(send, sent, X_Gate="open"))


def test_former_secrets_are_an_option_too(send: Send, settings: Any) -> None:
    sent = stored("reports")
    options = {"SECRET": THIRD, "SECRET_FALLBACKS": [SECOND_SECRET], **THEIRS}
    settings.TASKS = {**TASKS, "reports": {"BACKEND": BACKEND, "OPTIONS": options}}

    assert refused(dispatch(send, sent, **FIRST))
    assert is_done(dispatch(send, sent, **SECOND))


# Side by side


def test_both_kinds_of_tasks_are_logged_alike(
    send: Send, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="cloudtask")
    with memory_queue() as queue:
        enqueued = sdk.add(1, 2).delay()
        result = tasks.add.enqueue(1, 2)
    for each in queue.tasks:
        dispatch(send, each, attempt=2, **FIRST)

    lines = [r.getMessage() for r in caplog.records if r.name == "cloudtask"]
    assert lines == [
        f"task={path}.add id={task_id} attempt=2 status=done reason=''"
        for path, task_id in (
            ("tests.tasks", enqueued.id),
            ("tests.backends.tasks", result.id),
        )
    ]


def test_both_kinds_of_payloads_are_alike() -> None:
    with memory_queue() as queue:
        sdk.add(1, b=2).delay()
        tasks.add.enqueue(1, b=2)
    ours, theirs = [json.loads(each.sent.body) for each in queue.tasks]

    assert ours.keys() | {"backend", "using"} == theirs.keys()
    differing = {key for key in ours if ours[key] != theirs[key]}
    assert differing == {"id", "task", "kind", "enqueued_at"}
