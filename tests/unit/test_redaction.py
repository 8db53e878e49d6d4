"""Which values of arguments are hidden, and where in a text they stand."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from cloudtask import CloudTaskRequest, TaskDefinition, task
from cloudtask.enqueue import registry
from cloudtask.exceptions import InvalidTask
from cloudtask.privacy.redaction import (
    ALL_SENSITIVE,
    MASK,
    NOTHING_SENSITIVE,
    Sensitive,
)


def pay(request: object, order: int, token: str = "", *, card: object = None) -> None:
    """One of each kind that can be named."""


def positions(request: object, order: int, /, *rest: object) -> None: ...
def options(request: object, order: int, **rest: object) -> None: ...
def anything(*args: object, **kwargs: object) -> None: ...
def plain(order: int, token: str) -> None: ...


def masked(
    func: Callable[..., Any],
    names: tuple[str, ...],
    *args: object,
    **kwargs: object,
) -> tuple[list[object], dict[str, object]]:
    return Sensitive(func, names, leading=1).mask(args, kwargs)


@pytest.mark.parametrize(
    ("names", "args", "kwargs", "shown"),
    [
        # By position and by keyword alike.
        (("token",), (1, "t"), {}, ([1, MASK], {})),
        (("token",), (1,), {"token": "t"}, ([1], {"token": MASK})),
        (("token", "card"), (1,), {"card": 5}, ([1], {"card": MASK})),
        # Whatever the value is.
        (("token",), (1, None), {}, ([1, MASK], {})),
        (("card",), (1,), {"card": {"number": 4}}, ([1], {"card": MASK})),
        # What has no place in the function, or has none any more.
        (("card",), (1, "t", "c"), {}, ([1, "t", MASK], {})),
        (("card",), (1,), {"pin": 4}, ([1], {"pin": MASK})),
    ],
)
def test_the_values_of_what_is_named_are_hidden(
    names: tuple[str, ...], args: tuple[Any, ...], kwargs: dict[str, Any], shown: Any
) -> None:
    assert masked(pay, names, *args, **kwargs) == shown


def test_more_positions_and_keywords_have_the_name_of_their_parameter() -> None:
    assert masked(positions, ("rest",), 1, 2, 3) == ([1, MASK, MASK], {})
    assert masked(positions, ("order",), 1, 2, 3) == ([MASK, 2, 3], {})
    assert masked(options, ("rest",), 1, pin=2) == ([1], {"pin": MASK})
    assert masked(options, ("pin",), 1, pin=2, b=3) == ([1], {"pin": MASK, "b": 3})
    assert masked(anything, ("pin",), 1, pin=2) == ([1], {"pin": MASK})
    assert masked(anything, ("args",), 1, pin=2) == ([MASK], {"pin": 2})


def test_a_function_without_a_request_has_its_first_argument_first() -> None:
    bare = Sensitive(plain, ("order",), leading=0)

    assert bare.mask((1, "t"), {}) == ([MASK, "t"], {})


def test_all_is_hidden_or_nothing() -> None:
    assert ALL_SENSITIVE.mask((1,), {"b": 2}) == ([MASK], {"b": MASK})
    assert NOTHING_SENSITIVE.mask((1,), {"b": 2}) == ([1], {"b": 2})
    assert NOTHING_SENSITIVE.scrub("12345678", ("12345678",), {}) == "12345678"


@pytest.mark.parametrize(
    ("value", "text", "shown"),
    [
        ("tok-12345", "bad token tok-12345: tok-12345", "bad token ***: ***"),
        # As repr() writes it.
        ("tok\n'12345", repr("tok\n'12345"), '"***"'),
        ("naïve-12345", "at naïve-12345", "at ***"),
        (" tok-12345\n", "bad token 'tok-12345'", "bad token '***'"),
        ("a b/c+d=12345", "?t=a+b%2Fc%2Bd%3D12345&n=1", "?t=***&n=1"),
        ("a b/c+d=12345", "/a%20b%2Fc%2Bd%3D12345/", "/***/"),
        # Other kinds, and what is in them.
        (date(1970, 1, 2), f"{date(1970, 1, 2)} {[date(1970, 1, 2)]}", "*** [***]"),
        (4111111111111111, "card 4111111111111111 is refused", "card *** is refused"),
        (UUID(int=5), f"no {UUID(int=5)}", "no ***"),
        (Decimal("12345.678"), "of Decimal('12345.678')", "of Decimal('***')"),
        ({"number": ["41111111", 5]}, "number 41111111", "number ***"),
        (("41111111", {"42222222"}), "41111111 42222222", "*** ***"),
        # A value may begin like another.
        (["tok-1234", "tok-12345"], "tok-12345 tok-1234", "*** ***"),
        # Short ones stand there by chance, and nothing has no text.
        ("1234567", "1234567", "1234567"),
        (True, "True", "True"),
        (None, "None", "None"),
        ("", "nothing", "nothing"),
        ({}, "{}", "{}"),
    ],
)
def test_values_are_hidden_in_texts(value: object, text: str, shown: str) -> None:
    sensitive = Sensitive(pay, ("token",), leading=1)

    assert sensitive.scrub(text, (1, value), {}) == shown
    assert sensitive.scrub(text, (1,), {"token": value}) == shown
    assert sensitive.scrub(text, (1,), {"order": value}) == text


# At decoration


@pytest.fixture(autouse=True)
def _registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it."""
    monkeypatch.setattr(registry, "_definitions", dict(registry._definitions))
    monkeypatch.setattr(registry, "_conflicts", dict(registry._conflicts))


@pytest.mark.parametrize(
    ("func", "names"),
    [
        (pay, ("order", "token", "card")),
        (pay, ["token"]),
        (positions, ("rest",)),
        # Keywords that no parameter names.
        (options, ("pin", "rest")),
        (anything, ("pin",)),
    ],
)
def test_what_a_function_takes_may_be_sensitive(
    func: Callable[..., Any], names: tuple[str, ...]
) -> None:
    defined = task(sensitive=names)(func)

    assert isinstance(defined, TaskDefinition)
    assert defined.options.sensitive == names


NAMES = "must be a tuple of the names of arguments, not"


@pytest.mark.parametrize(
    ("func", "names", "problem"),
    [
        (
            pay,
            ("tokn",),
            "names 'tokn', which is not an argument of it. "
            "It takes order, token, card.",
        ),
        # Cloud Tasks' own, and no secret.
        (
            pay,
            ("request",),
            "names 'request', which is not an argument of it. "
            "It takes order, token, card.",
        ),
        (
            positions,
            ("pin",),
            "names 'pin', which is not an argument of it. It takes order, rest.",
        ),
        (
            options,
            (5,),
            "names 5, which is not an argument of it. It takes order, rest.",
        ),
        # Each letter would be a name.
        (pay, "token", f"{NAMES} 'token'."),
        (pay, {"token": True}, f"{NAMES} {{'token': True}}."),
        (pay, None, f"{NAMES} None."),
        (pay, "", f"{NAMES} ''."),
    ],
)
def test_what_it_does_not_take_is_refused(
    func: Callable[..., Any], names: Any, problem: str
) -> None:
    path = f"{__name__}.{func.__name__}"
    with pytest.raises(InvalidTask) as caught:
        task(sensitive=names)(func)

    assert str(caught.value) == f"{path}: sensitive= {problem}"
    assert path not in {each.path for each in registry.list_definitions()}


def test_a_task_without_arguments_has_no_sensitive_ones() -> None:
    def tidy(request: CloudTaskRequest) -> None: ...

    with pytest.raises(InvalidTask) as caught:
        task(sensitive=("token",))(tidy)
    assert str(caught.value).endswith(
        "tidy: sensitive= names 'token', which is not an argument of it. It takes none."
    )


def test_what_can_be_no_task_is_told_first() -> None:
    with pytest.raises(InvalidTask, match=r"^@task decorates functions, not 5\.$"):
        task(sensitive=("token",))(5)  # type: ignore[arg-type]


def test_a_task_shows_no_arguments() -> None:
    defined: Any = task(sensitive=("token",))(pay)
    bound = defined(1, "tok-12345")

    assert repr(bound) == f"<Task {__name__}.pay>"
    assert "tok-12345" not in f"{bound!r} {defined!r} {vars(defined)!r}"
