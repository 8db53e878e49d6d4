"""What nobody is to see of arguments is kept for the next attempt alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote
from uuid import UUID

import pytest
from asgiref.sync import async_to_sync

from cloudtask import CloudTaskRequest, RetryPolicy, task
from cloudtask.dispatch.execution import arun, run
from cloudtask.dispatch.kinds import make_attempt
from cloudtask.dispatch.outcomes import Status
from cloudtask.enqueue import registry
from cloudtask.results.admin.detail import render_arguments
from cloudtask.results.models import TaskError, TaskRecord
from tests.backends.samples import recorded
from tests.backends.tasks import with_options
from tests.results.samples import (
    add,
    change,
    dispatch,
    payload,
    payload_of,
    queue,
    row,
)
from tests.tasks import ran

pytestmark = [pytest.mark.django_db_backend, pytest.mark.django_db(transaction=True)]

TOKEN, CARD = "tok-12345678", {"number": "4111111111111111", "pin": "1234"}


@task(sensitive=("token", "card"), retry=RetryPolicy(max_attempts=2))
def pay(request: CloudTaskRequest, order: int, token: str, card: Any = None) -> None:
    ran.append((order, token, card))
    raise ValueError(f"order {order}: no {token} of {card}")


def django_pay(context: Any, order: int, token: str) -> None:
    raise ValueError(f"order {order}: no {token}")


@pytest.fixture
def django_task(monkeypatch: pytest.MonkeyPatch) -> Any:
    defined = with_options(sensitive=("token",), takes_context=True)(django_pay)
    monkeypatch.setitem(globals(), "django_pay", defined)
    return defined


@task(sensitive=("card",))
def charge(request: CloudTaskRequest, card: Any) -> None:
    number = card.pop("number")
    raise ValueError(f"refused: {number}")


@task(sensitive=("card",))
async def acharge(request: CloudTaskRequest, card: Any) -> None:
    charge.func(request, card)


@task(sensitive=("secret",))
def spill(request: CloudTaskRequest, how: str, secret: Any) -> None:
    raise SPILLS[how](secret)


SPILLS: dict[str, Callable[[Any], BaseException]] = {
    "bytes, decoded": lambda secret: ValueError(secret.decode()),
    "bytes": lambda secret: ValueError(f"got {secret!r}"),
    "bytes in hex": lambda secret: ValueError(secret.hex()),
    "a key": lambda secret: KeyError(next(iter(secret))),
    "lines in a group": lambda secret: ExceptionGroup("all", [ValueError(secret)]),
    "lines in a note": lambda secret: _noted(ValueError("no"), secret),
    "JSON": lambda secret: ValueError(json.dumps({"secret": secret})),
    "a URL": lambda secret: ValueError(f"https://shop.example/?key={quote(secret)}"),
    "UUID in hex": lambda secret: ValueError(secret.hex),
    "a date": lambda secret: ValueError(secret.isoformat()),
    "a timeout": lambda secret: Timeout(secret),
}


class Timeout(BaseException):
    """As gevent has it."""


def _noted(error: Exception, note: str) -> Exception:
    error.add_note(note)
    return error


@pytest.mark.parametrize(
    ("how", "secret", "parts"),
    [
        ("bytes, decoded", b"tok-12345678", ["tok-12345678"]),
        ("bytes", b"tok\x00-12345678", ["12345678"]),
        ("bytes in hex", b"tok-12345678", [b"tok-12345678".hex()]),
        ("a key", {"4111111111111111": 1}, ["4111111111111111"]),
        ("lines in a group", "BEGIN KEY\nabcdefgh1\nEND KEY..", ["abcdefgh1", "BEGIN"]),
        ("lines in a note", "BEGIN KEY\nabcdefgh1\nEND KEY..", ["abcdefgh1", "BEGIN"]),
        ("JSON", 'say "naïve" 12345', ["12345"]),
        ("a URL", "tok/12345 678", ["12345"]),
        ("UUID in hex", UUID(int=2**127 + 5), [UUID(int=2**127 + 5).hex]),
        ("a date", datetime(2026, 1, 31, 12, tzinfo=UTC), ["2026-01-31"]),
        ("a timeout", "tok-12345678", ["tok-12345678"]),
    ],
)
def test_values_are_hidden_however_an_error_says_them(
    how: str, secret: Any, parts: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    enqueued = spill(how, secret).delay()
    dispatch(enqueued.id)

    [error] = row(enqueued.id).errors.all()
    for part in parts:
        for text in (error.message, error.traceback, caplog.text):
            assert part not in text


@pytest.mark.parametrize("definition", [charge, acharge], ids=["def", "async def"])
@pytest.mark.parametrize("mode", ["all", "errors"])
def test_a_task_that_changes_its_arguments_shows_nothing_of_what_they_were(
    definition: Any, mode: str, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.CLOUDTASK = {
        **settings.CLOUDTASK,
        "RESULTS": mode,
        "RETRY": RetryPolicy(max_attempts=1),
    }
    enqueued = definition(CARD.copy()).delay()
    dispatch(queue().tasks[-1].payload)

    [error] = row(enqueued.id).errors.all()
    for text in (error.message, error.traceback, caplog.text):
        assert CARD["number"] not in text
        assert "refused: ***" in text
    assert json.loads(row(enqueued.id).body)["args"] == [CARD]


def shown(id: str) -> Any:  # noqa: A002
    return json.loads(render_arguments(row(id)))


def test_the_task_gets_what_nobody_sees() -> None:
    enqueued = pay(1, TOKEN, card=CARD).delay()
    assert dispatch(enqueued.id).status is Status.RETRY

    assert ran == [(1, TOKEN, CARD)]
    assert TOKEN in row(enqueued.id).body
    assert shown(enqueued.id) == {"args": [1, "***"], "kwargs": {"card": "***"}}


def test_errors_are_kept_without_it() -> None:
    enqueued = pay(1, TOKEN, CARD).delay()
    for attempt in (1, 2):
        dispatch(enqueued.id, attempt)

    for error in TaskError.objects.filter(task_id=enqueued.id):
        assert error.message == "order 1: no *** of {'number': '***', 'pin': '1234'}"
        assert error.traceback.endswith(f"\nValueError: {error.message}\n")
        assert error.traceback.startswith("Traceback (most recent call last):\n")
    assert row(enqueued.id).errors.count() == 2


def test_the_arguments_of_a_task_that_nobody_knows_are_hidden(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    enqueued = pay(1, TOKEN, card=CARD).delay()
    with monkeypatch.context() as patch:
        patch.setattr(registry, "_definitions", {})
        assert shown(enqueued.id) == {"args": ["***", "***"], "kwargs": {"card": "***"}}

    # Renamed, and known by its former path no more.
    change(enqueued.id, path="shop.tasks.pay")
    assert shown(enqueued.id)["args"] == ["***", "***"]


def test_the_arguments_of_a_task_of_a_backend_that_is_gone_are_hidden(
    django_task: Any,
) -> None:
    result = django_task.enqueue(1, token=TOKEN)
    change(result.id, backend="gone")

    assert shown(result.id) == {"args": ["***"], "kwargs": {"token": "***"}}


def test_the_arguments_of_other_tasks_are_shown() -> None:
    assert shown(add(1, b=2).delay().id) == {"args": [1], "kwargs": {"b": 2}}


def test_a_django_task_has_sensitive_arguments(django_task: Any) -> None:
    result = django_task.enqueue(1, TOKEN)
    assert shown(result.id) == {"args": [1, "***"], "kwargs": {}}
    dispatch(result.id)

    result.refresh()
    assert "ValueError: order 1: no ***\n" in result.errors[0].traceback
    assert TOKEN not in repr(result)
    assert result.args == [1, TOKEN]


def test_an_error_of_a_task_that_is_known_by_its_dispatch_alone_shows_nothing() -> None:
    unknown = payload(pay.path, args=(1, TOKEN))
    dispatch(unknown)

    [error] = TaskRecord.objects.get(pk=unknown.id).errors.all()
    assert error.message == "order 1: no *** of None"


def test_receivers_of_signals_are_told_nothing_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    defined = with_options(
        sensitive=("token",), takes_context=True, retry=RetryPolicy(max_attempts=1)
    )(django_pay)
    monkeypatch.setitem(globals(), "django_pay", defined)
    with recorded() as told:
        dispatch(defined.enqueue(1, token=TOKEN).id)

    assert (told[-1].signal, told[-1].status) == ("finished", "FAILED")
    [error] = told[-1].result.errors
    assert error.traceback.endswith("\nValueError: order 1: no ***\n")
    assert error.exception_class is ValueError


@pytest.mark.parametrize("run", [run, async_to_sync(arun)], ids=["sync", "async"])
def test_the_log_of_django_is_told_nothing_of_it(
    run: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    defined = with_options(
        sensitive=("token",), takes_context=True, retry=RetryPolicy(max_attempts=1)
    )(django_pay)
    monkeypatch.setitem(globals(), "django_pay", defined)
    result = defined.enqueue(1, token=TOKEN)
    run(make_attempt(payload_of(result.id), {}))

    [record] = [r for r in caplog.records if r.levelname == "ERROR"]
    assert record.exc_info is not None
    assert "ValueError: order 1: no ***" in str(record.exc_info[1])
    assert TOKEN not in caplog.text
    error = record.exc_info[1]
    assert error is not None
    assert error.__context__ is error.__cause__ is None


def test_no_object_shows_arguments() -> None:
    bound = pay(1, TOKEN, card=CARD)
    enqueued = bound.delay()
    attempt = make_attempt(payload_of(enqueued.id), {})
    found = row(enqueued.id)
    [stored] = queue().tasks

    shown = [bound, enqueued, enqueued.result(), attempt, attempt.payload, stored]
    for each in [*shown, attempt.request, found]:
        assert TOKEN not in f"{each!r} {each}"
    assert enqueued.result().payload.args == (1, TOKEN)
