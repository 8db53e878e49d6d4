"""Tasks that people schedule, and what tests do with their forms."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from html import unescape
from typing import TYPE_CHECKING, Any

from django.http import HttpResponse
from django.test import Client

from cloudtask import schedulable, task
from cloudtask.schedules.models import ScheduledTask
from tests.backends.tasks import with_options

if TYPE_CHECKING:
    from shop.models import Gone

LogIn = Callable[..., Client]

URL = "/admin/cloudtask_schedules/scheduledtask/"


@task(schedulable=True)
def count(request: Gone, shop: str, limit: int = 10) -> None: ...


@task(schedulable=True, sensitive=("token",))
def pay(request: Gone, order: int, token: str, note: str = "none") -> None: ...


@task(schedulable=True, sensitive=("token", "data"))
def send(request: Gone, data: dict[str, int], **options: str) -> None: ...


@task(schedulable=True)
def everything(
    request: Gone,
    number: int,
    ratio: float,
    flag: bool,
    price: Decimal,
    day: date,
    moment: datetime,
    anything: int | str,
    maybe: int | None,
    unknown: Gone,
    size: int = 3,
    *rest: int,
    option: bool | None = None,
    **options: str,
) -> None: ...


@schedulable
@with_options(sensitive=("token",))
def report(shop: str, token: str = "") -> None: ...


@task
def not_for_people(request: Gone) -> None: ...


def key(chosen: Any) -> str:
    if hasattr(chosen, "module_path"):
        return f"django:{chosen.backend}:{chosen.module_path}"
    return f"cloudtask::{chosen.path}"


def plan(**values: Any) -> dict[str, Any]:
    """What the form of a schedule is filled in with, beside arguments."""
    return {
        "name": "stock",
        "cron": "0 3 * * *",
        "time_zone": "Europe/Zurich",
        "catch_up": "1",
        "overlap": "run",
        "spread_seconds": "0",
        **values,
    }


def page(row: ScheduledTask, name: str = "change") -> str:
    return f"{URL}{row.pk}/{name}/"


def add(client: Client, chosen: Any, **values: Any) -> HttpResponse:
    return client.post(f"{URL}add/?task={key(chosen)}", plan(**values))  # type: ignore[return-value]


def errors(answer: Any) -> dict[str, list[str]]:
    return dict(answer.context["adminform"].form.errors.items())


def told(answer: Any) -> list[str]:
    return [str(message) for message in answer.context["messages"]]


def text(answer: Any, selector: str) -> str:
    """The text of the first element that has a class."""
    html = answer.content.decode()
    found = re.search(rf'<(\w+)[^>]* class="{selector}"[^>]*>(.*?)</\1>', html, re.S)
    assert found is not None, selector
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", found[2])).split())
