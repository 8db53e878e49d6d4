"""Names, reasons, attributes and times that people's tasks have."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from typing import Any

import pytest
from django.test import AsyncClient, Client
from django.utils.functional import SimpleLazyObject
from django.utils.translation import gettext_lazy
from freezegun import freeze_time

from cloudtask import CloudTaskRequest, Reject, Retry, task
from cloudtask.enqueue import registry
from cloudtask.exceptions import EncodeError, InvalidTask
from cloudtask.testing import memory_queue
from cloudtask.transports.memory import MemoryTransport, StoredTask
from tests.security.tokens import SECRET
from tests.tasks import ran


@pytest.fixture(autouse=True)
def _registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it."""
    monkeypatch.setattr(registry, "_definitions", dict(registry._definitions))
    monkeypatch.setattr(registry, "_conflicts", dict(registry._conflicts))


@pytest.fixture(autouse=True)
def _settings(settings: Any) -> None:
    settings.CLOUDTASK = {**settings.CLOUDTASK, "SECRET": SECRET}


@pytest.fixture
def queue() -> Iterator[MemoryTransport]:
    with memory_queue() as queue:
        yield queue


def post(sent: StoredTask) -> Any:
    headers = {**sent.sent.route.headers, "X-Task-Secret": SECRET}
    kwargs = {"data": sent.sent.body, "content_type": "application/json"}
    return Client().post("/_tasks/", headers=headers, **kwargs)


def apost(sent: StoredTask) -> Any:
    headers = {**sent.sent.route.headers, "X-Task-Secret": SECRET}
    kwargs = {"data": sent.sent.body, "content_type": "application/json"}
    return asyncio.run(AsyncClient().post("/_tasks/", headers=headers, **kwargs))


both_servers = pytest.mark.parametrize("send", [post, apost], ids=["WSGI", "ASGI"])

NAMES = ("self", "definition", "attempt", "func", "args", "kwargs", "cls", "loop")


def collect(request: CloudTaskRequest, **given: str) -> dict[str, str]:
    ran.append(given)
    return given


async def acollect(request: CloudTaskRequest, **given: str) -> dict[str, str]:
    ran.append(given)
    return given


@both_servers
@pytest.mark.parametrize("func", [collect, acollect])
def test_arguments_have_any_name(
    queue: MemoryTransport, send: Callable[..., Any], func: Callable[..., Any]
) -> None:
    defined: Any = task(named=lambda **given: "-".join(given))(func)
    given = dict.fromkeys(NAMES, "value")
    defined(**given).delay()

    [sent] = queue.tasks
    assert send(sent).status_code == 200
    assert ran == [given]
    assert defined(**given).execute() == given
    assert asyncio.run(defined(**given).aexecute()) == given


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


REASONS: list[tuple[object, str]] = [
    (ValueError("the gateway is down"), "the gateway is down"),
    (503, "503"),
    ({"code": 7}, "{'code': 7}"),
    (gettext_lazy("later"), "later"),
    (None, "None"),
    (Unspeakable(), "<Unspeakable>"),
]


@both_servers
@pytest.mark.parametrize("sensitive", [(), ("reason",)])
@pytest.mark.parametrize(("reason", "text"), REASONS, ids=[t for _, t in REASONS])
@pytest.mark.parametrize(("kind", "status"), [(Retry, 500), (Reject, 200)])
def test_a_reason_may_be_any_object(
    queue: MemoryTransport,
    send: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
    sensitive: tuple[str, ...],
    reason: object,
    text: str,
    kind: type[Exception],
    status: int,
) -> None:
    @task(path="shop.give_up", sensitive=sensitive)
    def give_up(request: CloudTaskRequest, reason: str) -> None:
        raise kind(told)

    told = reason
    caplog.set_level(logging.INFO, "cloudtask")
    give_up("nothing").delay()

    assert send(queue.tasks[0]).status_code == status
    assert f"reason={text!r}" in caplog.text


def test_a_wait_that_is_no_time_is_told_where_it_is_asked_for() -> None:
    with pytest.raises(TypeError, match=r"Retry\(after=5\) must be a timedelta\."):
        Retry("later", after=5)  # type: ignore[arg-type]


def test_a_definition_keeps_its_own_attributes(queue: MemoryTransport) -> None:
    def work(request: CloudTaskRequest) -> str:
        return "worked"

    own = ("func", "path", "options", "is_async", "headers", "route", "task_id")
    for name in (*own, "retry", "aliases", "_arguments", "_route", "label"):
        setattr(work, name, "the function's")
    defined: Any = task(work)

    assert defined.func is work
    assert defined.path == f"{__name__}.{work.__qualname__}"
    assert (defined.is_async, defined.retry, defined.aliases) == (False, None, ())
    # Another decorator may have left it there.
    assert (defined.label, defined.__wrapped__, defined.__name__) == (
        "the function's",
        work,
        "work",
    )
    defined().delay()
    assert [outcome.value for outcome in queue.drain()] == ["worked"]


class Unsteady(tzinfo):
    """A time zone that fails."""

    def utcoffset(self, moment: datetime | None) -> timedelta:
        raise RuntimeError


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (SimpleLazyObject(lambda: "text"), "is a SimpleLazyObject, which"),
        (SimpleLazyObject(lambda: 5), "is a SimpleLazyObject, which"),
        (gettext_lazy("text"), "is a lazy.<locals>.__proxy__, which"),
        (datetime(2026, 1, 1, tzinfo=Unsteady()), "is a datetime that cannot be"),
        (time(1, tzinfo=Unsteady()), "is a time that cannot be"),
    ],
    ids=["lazy text", "lazy number", "translation", "datetime", "time"],
)
def test_an_argument_that_cannot_be_carried_is_told_with_its_place(
    queue: MemoryTransport, value: object, kind: str
) -> None:
    defined: Any = task(collect)
    with pytest.raises(EncodeError) as caught:
        defined(deep=[{"value": value}]).delay()

    assert str(caught.value).startswith(
        f"{__name__}.collect: kwargs['deep'][0]['value'] {kind}"
    )


class Later(datetime):
    """A datetime of another package."""

    def isoformat(self, *args: Any) -> str:
        return "later"


class Hourly(time):
    def isoformat(self, *args: Any) -> str:
        return "hourly"


def test_a_derived_value_arrives_as_the_plain_one(queue: MemoryTransport) -> None:
    defined: Any = task(collect)
    defined(at=Later(2026, 1, 31, 12, tzinfo=UTC), every=Hourly(5)).delay()
    queue.drain()

    assert ran == [{"at": datetime(2026, 1, 31, 12, tzinfo=UTC), "every": time(5)}]


EAST, WEST = timezone(timedelta(hours=14)), timezone(timedelta(hours=-12))


@pytest.mark.parametrize("zone", [EAST, UTC, WEST], ids=["east", "UTC", "west"])
def test_a_time_long_past_is_now(queue: MemoryTransport, zone: tzinfo) -> None:
    defined: Any = task(collect)
    defined(a="1").schedule(at=datetime.min.replace(tzinfo=zone))
    defined(a="2").schedule(after=timedelta.min)

    assert len(queue.drain()) == 2
    assert all(each.sent.schedule_time.year == 1970 for each in queue.tasks)


@pytest.mark.parametrize("zone", [EAST, UTC, WEST], ids=["east", "UTC", "west"])
def test_a_time_too_far_ahead_is_refused(queue: MemoryTransport, zone: tzinfo) -> None:
    defined: Any = task(collect)
    with pytest.raises(InvalidTask, match="more than 30 days ahead"):
        defined().schedule(at=datetime.max.replace(tzinfo=zone))
    with pytest.raises(InvalidTask, match="more than 30 days ahead"):
        defined().schedule(after=timedelta.max)


@pytest.mark.parametrize(
    "options",
    [
        *({name: 0} for name in ("named", "run_once", "on_commit")),
        {"priority": False},
        {"priority": True},
        {"priority": 0.0},
        {"named": 0.0},
        {"aliases": ""},
        *(
            {"headers": {name: "gzip"}}
            for name in (
                "Content-Encoding",
                "content_encoding",
                "Transfer_Encoding",
                "X_Task_Secret",
                "X_CloudTasks_TaskName",
                "Connection",
                "Expect",
                "TE",
                "Upgrade",
            )
        ),
    ],
    ids=str,
)
def test_an_option_that_would_fail_later_is_refused_at_decoration(
    options: dict[str, Any],
) -> None:
    with pytest.raises(InvalidTask, match=next(iter(options)).removesuffix("s")):
        task(**options)(collect)


def items() -> Iterator[None]:
    yield ran.append("ran")


async def aitems() -> AsyncIterator[None]:
    yield ran.append("ran")


def generate(request: CloudTaskRequest) -> Iterator[None]:
    return items()


async def agenerate(request: CloudTaskRequest) -> AsyncIterator[None]:
    return aitems()


def apply(request: CloudTaskRequest) -> Iterator[None]:
    return map(ran.append, ["ran"])


@pytest.mark.parametrize(
    ("func", "kind"),
    [(generate, "generator"), (agenerate, "generator"), (apply, "map")],
)
def test_a_generator_that_nobody_runs_is_not_a_success(
    queue: MemoryTransport, func: Callable[..., Any], kind: str
) -> None:
    defined: Any = task(func)
    defined().delay()
    with pytest.raises(TypeError, match=f"returned a {kind}, of which nothing has run"):
        queue.drain()

    assert ran == []


def test_time_may_be_frozen(queue: MemoryTransport) -> None:
    defined: Any = task(collect)
    with freeze_time("2026-01-31T12:00:00+00:00"):
        now = datetime.now(UTC)
        given = {"at": now, "day": date.today(), "hour": now.time()}  # noqa: DTZ011
        defined(**given).schedule(after=timedelta(hours=1))
        assert len(queue.drain(now + timedelta(hours=1))) == 1

    assert ran == [given]
    assert now.isoformat() == "2026-01-31T12:00:00+00:00"
