"""
Cloud Tasks does not take a task, and a reporter is shown the exception.

Django's mails to admins and its debug page have the local variables of all
frames, and so has what other reporters send.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import grpc
import pytest
from django.conf import settings as django_settings
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings
from django.urls import path
from django.utils.log import AdminEmailHandler

from cloudtask import CloudTaskRequest, task
from cloudtask.conf import GOOGLE_TRANSPORT, get_settings
from cloudtask.exceptions import ServiceUnavailable
from cloudtask.transports import get_transport
from tests.backends.samples import TASKS
from tests.leaks import values_in

with override_settings(TASKS=TASKS):
    from tests.backends.tasks import with_options

#: Put together, so that no line of this file shows them.
SECRET = "-".join(["a", "secret", "of", "the", "field", "tests"])
CARD = "-".join(["4111", "1111", "1111", "1111"])
IMMEDIATE = "cloudtask.transports.immediate.ImmediateTransport"


@task(sensitive=("card",))
def pay(request: CloudTaskRequest, card: str, note: object = None) -> None:
    raise ZeroDivisionError("in the task")


@with_options(sensitive=("card",))
def django_pay(card: str, note: object = None) -> None:
    raise ZeroDivisionError("in the task")


def enqueue_at_the_commit(**given: Any) -> None:
    with transaction.atomic():
        pay(card=CARD, **given).delay()


def send_many(**given: Any) -> None:
    """As the commit of several tasks does, and who raises what came of it."""
    transport = get_transport(get_settings())
    _, handover = pay(card=CARD, **given)._prepare(get_settings(), None, None)
    [answer, _] = transport.send_many([handover.task] * 2)
    assert isinstance(answer, Exception)
    raise answer


WAYS: dict[str, Callable[..., Any]] = {
    "delay": lambda **given: pay(card=CARD, **given).delay(),
    "adelay": lambda **given: asyncio.run(pay(card=CARD, **given).adelay()),
    "enqueue": lambda **given: django_pay.enqueue(card=CARD, **given),
    "aenqueue": lambda **given: asyncio.run(django_pay.aenqueue(card=CARD, **given)),
    "at the commit": enqueue_at_the_commit,
    "send_many": send_many,
}

#: What is set, what else is passed, and a part of what is told.
FAILURES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "the service is away": ({"EMULATOR_HOST": "127.0.0.1:1"}, {}, "UNAVAILABLE: "),
    "no client can be made": (
        {"EMULATOR_HOST": None, "CREDENTIALS": {"private_key": SECRET}},
        {},
        r"CLOUDTASK\['CREDENTIALS'\]: no client can be made: ",
    ),
    "an argument cannot be carried": ({}, {"note": object()}, "note|Unsupported"),
    "the task is too large": ({}, {"note": "x" * 2**20}, "bytes as a stored task"),
    "an argument is unknown": ({}, {"size": 1}, "'size'$|UNAVAILABLE: "),
    "the task fails in place": ({"TRANSPORT": IMMEDIATE}, {}, "in the task"),
}


@contextmanager
def configured(**changes: Any) -> Iterator[None]:
    raw = {
        **django_settings.CLOUDTASK,
        "SECRET": SECRET,
        "TRANSPORT": GOOGLE_TRANSPORT,
        "EMULATOR_HOST": "127.0.0.1:1",
        "RPC_TIMEOUT": timedelta(seconds=2),
        **changes,
    }
    with override_settings(CLOUDTASK=raw, TASKS=TASKS):
        yield
        get_transport(get_settings()).close()


#: What is refused before there is a transport.
BEFORE = ("an argument cannot be carried", "the task is too large")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("failure", "way"),
    [
        (failure, way)
        for failure in FAILURES
        for way in WAYS
        if way != "send_many" or failure not in (*BEFORE, "the task fails in place")
    ],
)
def test_no_frame_of_the_exception_holds_what_was_to_be_sent(
    failure: str, way: str
) -> None:
    changes, given, told = FAILURES[failure]
    with configured(**changes), pytest.raises(Exception) as caught:  # noqa: PT011
        WAYS[way](**given)
    assert re.search(told, str(caught.value))
    shown = "".join(values_in(caught.value))
    assert SECRET not in shown
    assert CARD not in shown


def buy(request: HttpRequest) -> HttpResponse:
    WAYS[request.GET["way"]]()
    raise AssertionError("It was sent.")


async def abuy(request: HttpRequest) -> HttpResponse:
    await pay(card=CARD).adelay()
    raise AssertionError("It was sent.")


urlpatterns = [path("buy/", buy), path("abuy/", abuy)]


class Mailbox(AdminEmailHandler):
    """Mails to the admins, in both forms."""

    def __init__(self) -> None:
        super().__init__(include_html=True)
        self.mails: list[str] = []

    def send_mail(self, subject: str, message: str, *args: Any, **kwargs: Any) -> None:
        self.mails.append(f"{subject}{message}{args}{kwargs}")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("url", [*(f"/buy/?way={way}" for way in WAYS), "/abuy/"])
def test_the_mail_to_the_admins_does_not_tell(settings: Any, url: str) -> None:
    settings.ROOT_URLCONF = __name__
    handler, logger = Mailbox(), logging.getLogger("django.request")
    logger.addHandler(handler)
    try:
        with configured():
            answer = Client(raise_request_exception=False).get(url)
    finally:
        logger.removeHandler(handler)

    assert answer.status_code == 500
    [shown] = handler.mails
    assert "UNAVAILABLE: " in shown
    assert "test_enqueueing_fails_in_a_view.py" in shown
    assert SECRET not in shown
    assert CARD not in shown


def enqueue_after_an_error() -> None:
    try:
        raise KeyError("the caller's")
    except KeyError:
        pay(card=CARD).delay()


def test_the_code_of_grpc_and_what_the_caller_handles_are_there() -> None:
    with configured(), pytest.raises(ServiceUnavailable) as caught:
        enqueue_after_an_error()
    cause = caught.value.__cause__
    assert isinstance(cause, grpc.RpcError)
    assert cause.code() is grpc.StatusCode.UNAVAILABLE
    assert isinstance(cause.__context__, KeyError)
    assert cause.__context__.__traceback__ is not None
