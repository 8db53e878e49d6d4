"""Arguments of Django tasks whose values nobody is to see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cloudtask.backends.definitions import CloudTask
from cloudtask.framework import InvalidTask, task
from tests.backends import tasks
from tests.backends.samples import TAKES_OPTIONS, recorded
from tests.backends.tasks import with_options

TOKEN = "tok-12345678"


def pay(order: int, token: str) -> None: ...
def with_context(context: object, token: str) -> None: ...
def with_options_of_its_own(order: int, **options: object) -> None: ...


@pytest.mark.skipif(not TAKES_OPTIONS, reason="this @task takes no options")
def test_the_decorator_takes_names_of_arguments() -> None:
    defined = task(sensitive=("token",))(pay)

    assert type(defined) is CloudTask
    assert defined.sensitive == ("token",)
    assert tasks.add.sensitive == ()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("func", "options"),
    [
        (pay, {"sensitive": ("order", "token")}),
        (pay, {"sensitive": ["token"]}),
        (with_context, {"sensitive": ("token",), "takes_context": True}),
        (with_options_of_its_own, {"sensitive": ("token",)}),
    ],
)
def test_what_a_task_takes_may_be_sensitive(
    func: Callable[..., Any], options: dict[str, Any]
) -> None:
    defined = with_options(**options)(func)

    assert defined.sensitive == options["sensitive"]
    assert defined.using(queue_name="emails").sensitive == options["sensitive"]


@pytest.mark.parametrize(
    ("func", "options", "problem"),
    [
        (
            pay,
            {"sensitive": ("tokn",)},
            "names 'tokn', which is not an argument of it. It takes order, token.",
        ),
        (
            pay,
            {"sensitive": "token"},
            "must be a tuple of the names of arguments, not 'token'.",
        ),
        (
            pay,
            {"sensitive": None},
            "must be a tuple of the names of arguments, not None.",
        ),
        (
            with_context,
            {"sensitive": ("context",), "takes_context": True},
            "names 'context', which is not an argument of it. It takes token.",
        ),
    ],
)
def test_what_it_does_not_take_is_refused(
    func: Callable[..., Any], options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(InvalidTask) as caught:
        with_options(**options)(func)

    path = f"{__name__}.{func.__name__}"
    assert str(caught.value) == f"{path}: sensitive= {problem}"


def test_a_result_shows_no_arguments() -> None:
    with recorded() as told:
        result = tasks.keep.enqueue(TOKEN, token=TOKEN)

    assert repr(result) == (
        f"<CloudTaskResult tests.backends.tasks.keep id={result.id} status=READY>"
    )
    assert (result.args, result.kwargs) == ([TOKEN], {"token": TOKEN})
    assert TOKEN not in repr(told)
