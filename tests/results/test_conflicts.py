"""What a database undoes for the sake of another statement is done again."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import OperationalError, transaction
from django.db.models import QuerySet

from cloudtask.exceptions import StoreUnavailable
from cloudtask.results import claims
from cloudtask.results.claims import LeaseClaim
from cloudtask.results.database.connections import TRIES
from cloudtask.results.sweeping import sweep
from cloudtask.stores import Ending, Standing
from tests.results.samples import add, ago, change, claim, payload_of, post, row
from tests.tasks import ran

pytestmark = [pytest.mark.django_db_backend, pytest.mark.django_db(transaction=True)]


def serialization_failure() -> OperationalError:
    return _caused_by("sqlstate", "40001")


def deadlock() -> OperationalError:
    return _caused_by("pgcode", "40P01")


def deadlock_of_mysql() -> OperationalError:
    return OperationalError(1213, "Deadlock found when trying to get lock")


def _caused_by(name: str, state: str) -> OperationalError:
    error = OperationalError("undone")
    error.__cause__ = Exception()
    setattr(error.__cause__, name, state)
    return error


CONFLICTS = [serialization_failure, deadlock, deadlock_of_mysql]


class Refusing:
    """Refuses so many calls of a method, and makes the others."""

    def __init__(self, patch: Any, owner: Any, name: str, *errors: Exception) -> None:
        self.errors = list(errors)
        function = getattr(owner, name)

        def call(*args: Any) -> Any:
            if self.errors:
                raise self.errors.pop()
            return function(*args)

        patch.setattr(owner, name, call)


@pytest.mark.parametrize("error", CONFLICTS)
def test_a_run_whose_end_is_undone_is_not_lost(
    monkeypatch: pytest.MonkeyPatch, error: Any
) -> None:
    enqueued = add().delay()
    Refusing(monkeypatch, LeaseClaim, "_end", *(error() for _ in range(TRIES - 1)))

    assert post(enqueued.id).status_code == 200
    assert len(ran) == 1
    assert row(enqueued.id).status == "SUCCESSFUL"


@pytest.mark.parametrize("error", CONFLICTS)
def test_a_claim_that_is_undone_is_made_again(
    monkeypatch: pytest.MonkeyPatch, error: Any
) -> None:
    enqueued = add().delay()
    Refusing(monkeypatch, claims, "claim_row", error())

    assert claim(enqueued.id).standing is Standing.FREE


def test_what_is_undone_each_time_is_answered_503(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    enqueued = add().delay()
    errors = [deadlock() for _ in range(TRIES)]
    refusing = Refusing(monkeypatch, claims, "claim_row", *errors)

    assert post(enqueued.id).status_code == 503
    assert refusing.errors == []
    assert ran == []


def test_other_errors_are_told_once_a_new_connection_has_them_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    enqueued = add().delay()
    left, cancelled = deadlock(), _caused_by("sqlstate", "57014")
    refusing = Refusing(monkeypatch, claims, "claim_row", left, cancelled, cancelled)

    with pytest.raises(StoreUnavailable):
        claim(enqueued.id)
    assert refusing.errors == [left]


def test_in_a_transaction_nothing_is_done_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The database has undone all of it."""
    wanted = payload_of(add().delay().id)
    left = deadlock()
    refusing = Refusing(monkeypatch, LeaseClaim, "_end", left, deadlock())

    with transaction.atomic():
        held = claim(wanted)
        with pytest.raises(StoreUnavailable):
            held.end(Ending(succeeded=True))
    assert refusing.errors == [left]


def test_a_sweeper_whose_mark_is_undone_makes_it_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    enqueued = add().delay()
    change(enqueued.id, send_at=ago())
    update, errors = QuerySet.update, [deadlock()]

    def undone(rows: Any, **values: Any) -> int:
        if "send_at" in values and errors:
            raise errors.pop()
        return update(rows, **values)

    monkeypatch.setattr(QuerySet, "update", undone)

    assert sweep().sent == 1
    assert errors == []
