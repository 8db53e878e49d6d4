"""What is stored of return values and errors, and what comes back."""

from __future__ import annotations

from typing import Any

import pytest

from cloudtask.conf import get_settings
from cloudtask.dispatch.outcomes import Status
from cloudtask.results.columns.texts import MAX_TEXT, clean_text
from cloudtask.results.columns.values import MAX_VALUE, dump_value, load_value
from cloudtask.stores import Ending, StoredResult, get_store
from tests.backends import tasks as django_tasks
from tests.results.samples import (
    GIFTS,
    add,
    claim,
    dispatch,
    give,
    nested,
    payload_of,
    row,
)
from tests.tasks import ran

pytestmark = [pytest.mark.django_db_backend, pytest.mark.django_db(transaction=True)]

DROPPED = list(GIFTS)[list(GIFTS).index("NUL") :]
KEPT = [name for name in GIFTS if name not in DROPPED]


def find(id: str) -> StoredResult:  # noqa: A002
    stored = get_store(get_settings()).find(id)
    assert stored is not None
    return stored


@pytest.mark.parametrize("gift", KEPT)
def test_values_come_back_as_they_were(gift: str) -> None:
    enqueued = give(gift).delay()
    assert dispatch(enqueued.id).status is Status.DONE
    stored, value = find(enqueued.id), GIFTS[gift]()

    assert (stored.status, stored.is_value_dropped) == ("SUCCESSFUL", False)
    assert stored.return_value == value
    assert type(stored.return_value) is type(value)


@pytest.mark.parametrize("gift", DROPPED)
def test_a_value_that_cannot_be_stored_is_dropped_and_the_task_is_done(
    gift: str,
) -> None:
    wanted = payload_of(give(gift).delay().id)
    assert dispatch(wanted).status is Status.DONE
    assert dispatch(wanted, attempt=2).status is Status.DUPLICATE

    assert ran == [gift]
    found = row(wanted.id)
    assert (found.status, found.is_value_dropped) == ("SUCCESSFUL", True)
    assert found.return_value is None
    with pytest.raises(ValueError, match="The task returned what cannot be stored"):
        _ = find(wanted.id).return_value


@pytest.mark.parametrize(
    ("length", "is_dropped"), [(MAX_VALUE - 2, False), (MAX_VALUE - 1, True)]
)
def test_a_value_has_a_longest_length(length: int, is_dropped: bool) -> None:
    assert dump_value("x" * length)[1] is is_dropped


@pytest.mark.parametrize("levels", [1, 31, 32, 33, 64])
def test_nested_values_never_have_a_task_run_again(levels: int) -> None:
    """Databases differ in how deep their JSON nests."""
    enqueued = add().delay()
    held = claim(enqueued.id)

    assert held.end(Ending(succeeded=True, value=nested(levels))) is True
    assert row(enqueued.id).status == "SUCCESSFUL"


def test_a_value_is_asked_of_what_succeeded_alone() -> None:
    enqueued = add().delay()
    with pytest.raises(ValueError, match="The task has not finished yet"):
        _ = find(enqueued.id).return_value
    claim(enqueued.id).end(Ending(error=ValueError("broken")))
    with pytest.raises(ValueError, match="The task has failed"):
        _ = find(enqueued.id).return_value


@pytest.mark.parametrize("gift", KEPT)
def test_what_is_storable_is_restored(gift: str) -> None:
    value = GIFTS[gift]()
    stored, is_dropped = dump_value(value)

    assert is_dropped is False
    assert load_value(stored) == value


@pytest.mark.parametrize(
    ("gift", "value"), [("pair", [1, "two"]), ("set", None), ("bytes", None)]
)
def test_values_of_django_tasks_are_what_django_makes_of_them(
    gift: str, value: Any
) -> None:
    """As Django's own backends have it, whatever JSON can be made of it."""
    result = django_tasks.give.enqueue(gift)
    dispatch(result.id)
    result.refresh()

    assert str(result.status) == "SUCCESSFUL"
    assert result.return_value == value


# Errors


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even that")


class Renamed(Exception):
    pass


Renamed.__qualname__ = "x" * 500


def error_of(error: Exception) -> Any:
    enqueued = add().delay()
    assert claim(enqueued.id).end(Ending(error=error)) is True
    assert row(enqueued.id).status == "FAILED"
    [kept] = row(enqueued.id).errors.all()
    return kept


def raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as caught:
        return caught


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        ("broken", "broken"),
        ("naïve 🎉", "naïve 🎉"),
        ("a\0b", "a\\0b"),
        ("\ud800", "\\ud800"),
        ("", ""),
    ],
)
def test_messages_are_kept(message: str, kept: str) -> None:
    error = error_of(raised(ValueError(message)))

    assert (error.type, error.message) == ("builtins.ValueError", kept)
    assert error.traceback.endswith(f"ValueError: {kept}\n" if kept else "ValueError\n")


def test_an_error_that_says_nothing_is_kept() -> None:
    error = error_of(raised(Unspeakable()))

    assert error.type == f"{__name__}.Unspeakable"
    assert error.message == "<Unspeakable>"
    assert "<exception str() failed>" in error.traceback


def test_an_error_of_a_long_name_is_kept() -> None:
    assert error_of(Renamed()).type == f"{__name__}.{'x' * 500}"[:255]


def test_an_error_of_an_odd_name_is_kept() -> None:
    class Odd(Exception):
        pass

    Odd.__qualname__ = "a\0\ud800"

    assert error_of(Odd()).type.endswith("a\\0\\ud800")


def test_long_messages_and_tracebacks_are_cut_in_the_middle() -> None:
    error = error_of(raised(ValueError("<" + "x" * 100_000 + ">")))

    assert len(error.message) <= MAX_TEXT
    assert error.message.startswith("<x")
    assert error.message.endswith("x>")
    assert "x\n...\nx" in error.message
    assert len(error.traceback) <= MAX_TEXT
    assert error.traceback.startswith("Traceback (most recent call last):\n")
    assert error.traceback.endswith("x>\n")


def test_a_text_of_the_longest_length_is_whole() -> None:
    assert clean_text("x" * MAX_TEXT) == "x" * MAX_TEXT
    assert len(clean_text("x" * (MAX_TEXT + 1))) <= MAX_TEXT
